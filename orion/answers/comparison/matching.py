"""Bipartite matching of the items of two unordered answers.

Input: which items may be partners. Output: whether every item has its own partner.
"""

from __future__ import annotations

from collections.abc import Sequence


def has_perfect_matching(edges: Sequence[Sequence[int]]) -> bool:
    """Whether every row i can get its own column out of `edges[i]` (augmenting paths)."""
    taken: dict[int, int] = {}

    def place(i: int, tried: set[int]) -> bool:
        for j in edges[i]:
            if j not in tried:
                tried.add(j)
                if j not in taken or place(taken[j], tried):
                    taken[j] = i
                    return True
        return False

    return all(place(i, set()) for i in range(len(edges)))
