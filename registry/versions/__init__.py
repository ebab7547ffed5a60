"""Versions: building, checking, signing and describing them."""
