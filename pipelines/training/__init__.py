"""Training of the transformer: DeepSpeed inside, Ray Train around it."""
