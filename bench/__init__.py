"""Benchmarks: checking, completions, generation, packing, training, error rates."""
