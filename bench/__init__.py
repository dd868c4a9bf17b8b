"""Benchmarks of the answer checker, the stage `check`, the completion store, generation, training."""
