"""NÜWA: one transformer with 3D nearby attention for images and videos, as plain PyTorch."""
