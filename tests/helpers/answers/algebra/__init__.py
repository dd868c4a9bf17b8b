"""Pairs of answers that are equal, or really different, by algebra that owes nothing to the checker.

`nodes` (expressions and the numeric oracle), `grow` (random expressions), `rewrites` and `roots` (what keeps the value),
`changes` (what does not), `printing` (LaTeX, plain, Unicode), `rows`, `shapes`, `relations` (pairs of a response and a gold).
"""
