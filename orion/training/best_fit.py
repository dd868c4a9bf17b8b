"""Which documents share a packed sequence: best fit, over their lengths alone."""

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """``members``: the documents' indices, bin after bin; ``sizes``: how many each bin has."""

    members: Integers
    sizes: Integers

    def __len__(self) -> int:
        return len(self.sizes)


def best_fit_bins(lengths: Integers, capacity: int) -> Bins:
    """Best-fit-decreasing bins, whose lengths sum to at most ``capacity``; no length is above it.

    Deterministic: of equal lengths the lower index is placed first, and of bins with equal room the
    lower one is filled. Takes about 20 bytes per document, and a heap operation.
    """
    order = np.argsort(-lengths, kind="stable")
    chosen = np.empty(len(lengths), np.int32)
    heaps: dict[int, list[int]] = {}  # tokens that are free → the bins with so many
    free = 0  # bit n is set where heaps[n] has a bin
    count = 0
    # .data gives one int after the other, a list would hold them all
    for place, length in enumerate(lengths[order].data):
        fitting = free >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            number = heapq.heappop(heaps[room])
            if not heaps[room]:
                free ^= 1 << room
        else:
            room, number = capacity, count
            count += 1
        chosen[place] = number
        left = room - length
        heapq.heappush(heaps.setdefault(left, []), number)
        free |= 1 << left
    members = order[np.argsort(chosen, kind="stable")]
    return Bins(members, np.bincount(chosen, minlength=count).astype(np.int64))
