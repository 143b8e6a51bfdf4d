"""Processes that turn artifacts into artifacts. Started by name; none imports another."""
