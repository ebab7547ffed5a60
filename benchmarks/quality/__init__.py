"""What the models are worth on real data, with the peers beside them, a module a family."""
