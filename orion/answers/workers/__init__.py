"""Killable worker processes; only they import sympy and Math-Verify."""
