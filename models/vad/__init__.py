"""Voice activity: a network of a few thousand numbers that says which 20 ms frames hold speech."""
