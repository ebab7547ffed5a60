"""Releases: which versions and which dialogue answer together, and the names that point to them."""
