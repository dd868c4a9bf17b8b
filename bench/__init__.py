"""Benchmarks of the answer checker, the completion store and generation."""
