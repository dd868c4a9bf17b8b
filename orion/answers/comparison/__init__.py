"""Decide whether two parsed answers are equal: values, containers, relations, units, choices."""
