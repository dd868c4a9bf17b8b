"""Benchmarks of the answer checker, the stage `check`, the completion store and the models."""
