"""From stored tokens to batches (D5): what a step reads depends on the step alone."""
