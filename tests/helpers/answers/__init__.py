"""Shared code of the answer tests: the algebra generator and the fuzzer."""
