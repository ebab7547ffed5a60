"""NLU: what a caller said, to intent and slots. One small network, words in, two heads out."""
