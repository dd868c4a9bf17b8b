"""Causal attention within the documents of a packed row, in torch and in Triton."""
