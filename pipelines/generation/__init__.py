"""From an export to a sample set: what is asked for, and how samples lie on disk."""
