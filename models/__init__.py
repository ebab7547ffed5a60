"""The four model families, and what their training shares: callers, channel, dataset, training, exporting."""
