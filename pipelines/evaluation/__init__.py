"""Judging what was generated, and telling it on one page."""
