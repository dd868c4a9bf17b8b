"""Benchmarks: the answer checker, the stage `check`, the completion store, generation, training."""
