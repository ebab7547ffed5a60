"""Evidence of quality: paired comparisons, speech understanding, replies, footprint. The gate and benchmarks use it."""
