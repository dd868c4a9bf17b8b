"""Exact canonical forms of expressions, and certified numeric comparison with ball arithmetic."""
