"""Texts that share a beginning, as a tree: what a model has to read, each shared part once.

Input: token ids of distinct texts. Output: nodes, each with the ids that it adds to its parent's;
and an order of the texts in which those of one family are neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint32]
# a shared part becomes a node of its own if it is this long, and saves reading this many tokens
MIN_SHARED = 16
MIN_SAVED = 64


@dataclass(eq=False)
class Node:
    """A part of one or more texts.

    ``ids``: the tokens it adds. ``start``: how many tokens precede them. ``texts``: indices of the
    texts that end with it. ``members``: how many texts run through it, those included.
    """

    ids: list[int]
    parent: "Node | None"
    start: int
    texts: list[int]
    members: int

    @property
    def end(self) -> int:
        """How many tokens a text has that ends here."""
        return self.start + len(self.ids)


def _sortable(ids: Ids) -> bytes:
    # bytes that sort as the ids do; comparing lists would be slow where beginnings are long
    return ids.astype(">u4").tobytes()


def _as_arrays(texts: Sequence[Sequence[int]]) -> list[Ids]:
    return [np.asarray(text, dtype=np.uint32) for text in texts]


def _common_length(first: Ids, second: Ids) -> int:
    """How many tokens both begin with."""
    n = min(len(first), len(second))
    differ = first[:n] != second[:n]
    return int(differ.argmax()) if differ.any() else n


def shared_beginning(texts: Sequence[Sequence[int]]) -> list[int]:
    """What all texts begin with, if it is worth a node; else nothing."""
    if len(texts) < 2:
        return []
    first, *others = _as_arrays(texts)
    common = min(_common_length(first, other) for other in others)
    return list(texts[0][:common]) if _is_worthwhile(common, len(texts)) else []


def _is_worthwhile(length: int, members: int) -> bool:
    return length >= MIN_SHARED and length * (members - 1) >= MIN_SAVED


def build_tree(texts: Sequence[Sequence[int]], start: int = 0) -> list[Node]:
    """The nodes of distinct texts, parents before children; the first ``start`` ids are common.

    Every text ends at exactly one node. A text with no more than ``start`` ids ends at a node
    without ids.
    """
    arrays = _as_arrays(texts)
    order = sorted(range(len(texts)), key=lambda i: _sortable(arrays[i]))
    nodes: list[Node] = []
    # (first, last + 1) in the order, how many ids are in nodes, and the node that holds them
    waiting: list[tuple[int, int, int, Node | None]] = [(0, len(order), start, None)]
    while waiting:
        low, high, done, parent = waiting.pop()
        if low == high:
            continue
        first = texts[order[low]]
        common = _common_length(arrays[order[low]], arrays[order[high - 1]])
        members = high - low
        if members == 1 or _is_worthwhile(common - done, members):
            parent = Node(list(first[done:common]), parent, done, [], members)
            nodes.append(parent)
            done = common
        if members == 1:
            parent.texts.append(order[low])  # type: ignore[union-attr]
            continue
        for begin, end in _split(texts, order, low, high, common):
            if end - begin == 1 and len(texts[order[begin]]) == done and parent is not None:
                parent.texts.append(order[begin])
            else:
                waiting.append((begin, end, done, parent))
    return nodes


def _split(
    texts: Sequence[Sequence[int]], order: list[int], low: int, high: int, place: int
) -> list[tuple[int, int]]:
    """Ranges of the order whose texts have the same token at the place."""
    tokens = [texts[i][place] if len(texts[i]) > place else -1 for i in order[low:high]]
    cuts = [i for i in range(1, len(tokens)) if tokens[i] != tokens[i - 1]]
    bounds = [low, *(low + cut for cut in cuts), high]
    return list(pairwise(bounds))


def family_order(texts: Sequence[Sequence[int]], largest: int) -> list[int]:
    """Indices of distinct texts: the longest first, members of a family as neighbours.

    A family shares a node and has at most ``largest`` texts; it stands where its longest text
    would.
    """
    nodes = build_tree(texts)
    longest = dict.fromkeys(nodes, 0)
    for node in reversed(nodes):
        own = max((len(texts[i]) for i in node.texts), default=0)
        longest[node] = max(longest[node], own)
        if node.parent is not None:
            longest[node.parent] = max(longest[node.parent], longest[node])
    path: dict[Node, tuple[int, ...]] = {}
    place: list[tuple[int, ...]] = [()] * len(texts)
    for number, node in enumerate(nodes):
        path[node] = path[node.parent] if node.parent is not None else ()
        if 1 < node.members <= largest:
            path[node] = (*path[node], -longest[node], number)
        for i in node.texts:
            place[i] = (*path[node], -len(texts[i]))
    return sorted(range(len(texts)), key=lambda i: (place[i], texts[i]))
