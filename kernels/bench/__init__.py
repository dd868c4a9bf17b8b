"""Benchmarks of both operators. Run from the repository root: python -m kernels.bench.NAME."""
