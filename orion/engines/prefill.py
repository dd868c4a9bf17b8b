"""Prefill: read the prompts of some rows into a cache, each shared beginning once.

Input: a model, token ids. Output: blocks of keys and values from which the rows continue. At most
``max_tokens`` padded tokens are read by one forward, and longer texts in pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicLayer

from orion.engines.cache import Block, merge_blocks, take_layers
from orion.engines.prefixes import Node, build_tree


@dataclass
class Trunk:
    """What all texts begin with; ``block`` has one row, and is None until it is read."""

    ids: list[int]
    block: Block | None = None

    def read(self, model: Any, max_tokens: int) -> "_Place | None":
        """Where its keys and values are, read at the first call; None where nothing is shared."""
        if self.ids and self.block is None:
            ((self.block, _),) = read_texts(model, [self.ids], max_tokens)
        return _Place(self.block, 0, self.block.offsets[0]) if self.block is not None else None


@dataclass(frozen=True)
class _Place:
    """Where a node's keys and values are: a row of a block, from ``offset`` on."""

    block: Block
    row: int
    offset: int


def read_texts(
    model: Any, texts: Sequence[Sequence[int]], max_tokens: int, trunk: Trunk | None = None
) -> list[tuple[Block, list[int]]]:
    """Blocks that hold the distinct texts, each with the indices of its rows' texts.

    Every text begins with the trunk. Padding is on the right, where causal attention never sees it.
    """
    nodes = _cut_nodes(build_tree(texts, len(trunk.ids) if trunk else 0), max_tokens)
    root = trunk.read(model, max_tokens) if trunk and texts else None
    places: dict[Node | None, _Place | None] = {None: root}
    waiting = nodes
    while waiting:
        ready = [node for node in waiting if node.parent in places]
        waiting = [node for node in waiting if node.parent not in places]
        unread = []
        for node in ready:
            place = places[node.parent]
            if node.ids or place is None:
                unread.append(node)
            else:  # a text that ends where its parent does
                places[node] = place
        unread.sort(key=lambda node: (-len(node.ids), -node.start))
        while unread:
            count = max(1, max_tokens // max(1, len(unread[0].ids)))
            chosen, unread = unread[:count], unread[count:]
            places.update(zip(chosen, _read(model, chosen, places), strict=True))
        # what no text ends in and no other node continues from gives up its memory
        parents = {node.parent for node in waiting}
        places = {n: p for n, p in places.items() if n is None or n.texts or n in parents}
    return _collect(nodes, places)


def _collect(
    nodes: list[Node], places: dict[Node | None, _Place | None]
) -> list[tuple[Block, list[int]]]:
    """The blocks where texts end, with those texts."""
    found: dict[int, tuple[Block, list[int]]] = {}
    for node in nodes:
        if not node.texts:
            continue
        place = places[node]
        assert place is not None
        # a list of its own: whoever gives up the layers of a block does not take the trunk's
        layers = list(place.block.layers)
        block, members = found.setdefault(id(place.block), (Block(layers, [], []), []))
        block.take.extend([place.row] * len(node.texts))
        block.offsets.extend([place.offset] * len(node.texts))
        members.extend(node.texts)
    return list(found.values())


def _cut_nodes(nodes: list[Node], max_tokens: int) -> list[Node]:
    """The nodes with none longer than ``max_tokens``: a longer one becomes a chain."""
    pieces: list[Node] = []
    for node in nodes:
        while len(node.ids) > max_tokens:
            first = Node(node.ids[:max_tokens], node.parent, node.start, [], node.members)
            pieces.append(first)
            node.ids, node.parent, node.start = node.ids[max_tokens:], first, first.end
        pieces.append(node)
    return pieces


@torch.inference_mode()
def _read(model: Any, nodes: list[Node], places: dict[Node | None, _Place | None]) -> list[_Place]:
    """Read the tokens of the nodes together; their parents have been read."""
    width = max(1, len(nodes[0].ids))
    padded = [(node.ids or [0]) + [(node.ids or [0])[-1]] * width for node in nodes]
    ids = torch.tensor([row[:width] for row in padded], device=model.device)  # (nodes, width)
    past = max(node.start for node in nodes)
    if past == 0:
        cache = Cache(layer_class_to_replicate=DynamicLayer)
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return _places(cache, [0] * len(nodes))
    starts = [past - node.start for node in nodes]
    parents = [places[node.parent] for node in nodes]
    blocks = [Block(p.block.layers, [p.row], [p.offset]) for p in parents if p is not None]
    assert len(blocks) == len(nodes), "a node behind others has a parent"
    cache = merge_blocks(_join(blocks), starts, past, spare=width)
    columns = torch.arange(past + width, device=model.device)
    # padding has the last token's position, so that no position exceeds the context
    positions = [
        [node.start + min(i, max(0, len(node.ids) - 1)) for i in range(width)] for node in nodes
    ]
    model(
        input_ids=ids,
        attention_mask=(columns >= torch.tensor(starts, device=model.device)[:, None]).long(),
        position_ids=torch.tensor(positions, device=model.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return _places(cache, starts)


def _places(cache: Cache, starts: list[int]) -> list[_Place]:
    block = Block(take_layers(cache), list(range(len(starts))), starts)
    return [_Place(block, row, start) for row, start in enumerate(starts)]


def _join(blocks: list[Block]) -> list[Block]:
    """Neighbouring blocks with the same layers as one."""
    joined: list[Block] = []
    for block in blocks:
        if joined and joined[-1].layers is block.layers:
            joined[-1].take.extend(block.take)
            joined[-1].offsets.extend(block.offsets)
        else:
            joined.append(block)
    return joined
