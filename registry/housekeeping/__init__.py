"""Keeping house: collecting, archives, and the repository that sites share."""
