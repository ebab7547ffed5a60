"""Text to telephone speech: phones, durations and a vocoder in one graph, cut into pieces that play as they come."""
