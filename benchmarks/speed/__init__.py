"""Precision, size and speed of the graphs behind a call."""
