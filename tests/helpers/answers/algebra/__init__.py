"""Pairs of answers that are equal or different, made by algebra that is independent of the checker.

`nodes`: expressions and the numeric oracle. `grow`: random expressions. `rewrites`, `roots`: steps
that keep the value. `changes`: steps that do not. `printing`: LaTeX, plain text, Unicode. `rows`,
`shapes`, `relations`: pairs of a response and a gold.
"""
