"""Keys and values of a transformers model: buffers that grow, and blocks that are merged.

Input: caches that a forward has filled. Output: caches for the next forward, of other rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicLayer

# free places for new tokens in the buffers of a cache
SPARE_TOKENS = 64
Layers = list[tuple[torch.Tensor, ...]]


def take_layers(cache: Cache) -> Layers:
    """Keys and values of each layer, removed from the cache."""
    layers = [(layer.keys, layer.values) for layer in cache.layers]  # type: ignore[union-attr]
    cache.layers.clear()
    return layers  # type: ignore[return-value]


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values in buffers with free places, so that a new token copies no old ones.

    ``keys`` and ``values``: (rows, heads, capacity, width), of which ``length`` places are in use.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, length: int):
        super().__init__()  # type: ignore[no-untyped-call]
        self.buffers = [keys, values]
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._set_length(length)

    def _set_length(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new tokens' keys and values; returns all, as the library's layers do."""
        past = self.get_seq_length()
        length = past + key_states.shape[-2]
        if length > self.buffers[0].shape[-2]:
            more = SPARE_TOKENS + length // 4
            self.buffers = [
                torch.nn.functional.pad(buffer, (0, 0, 0, more)) for buffer in self.buffers
            ]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, past:length] = states
        self._set_length(length)
        return self.keys, self.values  # type: ignore[return-value]


@dataclass
class Block:
    """Cached keys and values, and the places where some rows continue from them.

    ``layers``: keys and values, each (cache rows, heads, length, width). Row ``i`` continues from
    cache row ``take[i]``, whose tokens begin at place ``offsets[i]``.
    """

    layers: Layers
    take: list[int]
    offsets: list[int]


def merge_blocks(
    blocks: Sequence[Block],
    starts: Sequence[int],
    length: int,
    *,
    spare: int = SPARE_TOKENS,
    free: bool = False,
) -> Cache:
    """A cache with the rows of all blocks, aligned at their right end, place ``length``.

    ``starts``: the place where each row begins. ``spare``: free places behind. ``free``: the
    blocks' memory is given up layer by layer, so that the old and the new cache are never in memory
    whole.
    """
    layers: list[Any] = []
    for i in range(len(blocks[0].layers)):
        sides = [_merge_side(blocks, i, side, starts, length, spare) for side in (0, 1)]
        layers.append(GrowingLayer(sides[0], sides[1], length))
        for block in blocks if free else ():
            block.layers[i] = ()
    return Cache(layers=layers)


def _merge_side(
    blocks: Sequence[Block], layer: int, side: int, starts: Sequence[int], length: int, spare: int
) -> torch.Tensor:
    first = blocks[0].layers[layer][side]
    buffer = first.new_zeros(len(starts), first.shape[1], length + spare, first.shape[3])
    done = 0
    for block in blocks:
        source = block.layers[layer][side]
        end = done + len(block.take)
        shift = torch.tensor(block.offsets) - torch.tensor(starts[done:end])
        # places before a row's start get any finite value; the mask hides them
        places = (
            (torch.arange(length) + shift[:, None]).clamp(0, source.shape[2] - 1).to(source.device)
        )
        take = torch.tensor(block.take, device=source.device)[:, None]
        buffer[done:end, :, :length] = source[take, :, places].transpose(1, 2)
        done = end
    return buffer
