"""Pictures, sketches and text to tokens and back."""
