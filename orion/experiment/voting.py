"""What several samples of a problem are worth: pass@r, and maj@r, the vote of r samples.

Input: of each problem how many samples are right, the sizes of its groups of equal wrong answers,
and how many have no answer. Output: expected values over all subsets of r samples, computed
exactly: nothing is drawn at random.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from orion.answers.grouping import find_group
from orion.experiment.statistics import Floats

# above it the number of subsets exceeds a float, and no vote is computed
MAX_SAMPLES = 1_000


@dataclass(frozen=True)
class Votes:
    """The samples of one problem.

    ``wrong``: the sizes of the groups of equal wrong answers, largest first. ``silent``: samples
    without an answer, which are wrong and do not vote.
    """

    right: int
    wrong: tuple[int, ...]
    silent: int

    @property
    def samples(self) -> int:
        """All samples of the problem."""
        return self.right + sum(self.wrong) + self.silent


def choose_sizes(samples: int, wanted: Sequence[int] | None) -> tuple[int, ...]:
    """The r of pass@r and maj@r, ascending: those wanted, or 1, 2, 4, … and all samples."""
    if wanted is not None:
        return tuple(sorted(set(wanted)))
    powers = {2**n for n in range(samples.bit_length()) if 2**n < samples}
    return tuple(sorted({*powers, samples}))


@lru_cache(maxsize=8_192)
def majority_at(votes: Votes, sizes: tuple[int, ...]) -> tuple[float, ...]:
    """For each r of ``sizes``, the probability that the vote of r samples is right.

    The r samples are a random subset of the problem's, each subset being equally likely. The most
    frequent answer wins. Where m answers tie, each of them counts one in m: no answer is favoured.
    A subset without any answer is wrong. Raises ValueError unless 1 <= r <= samples <= MAX_SAMPLES.
    """
    total = votes.samples
    if not (sizes and min(sizes) >= 1 and max(sizes) <= total <= MAX_SAMPLES):
        raise ValueError(f"a vote of {sizes} of {total} samples is not defined")
    won = np.zeros(max(sizes) + 1)  # (r + 1,), subsets of r samples in which the right answer wins
    for leading in range(1, min(votes.right, max(sizes)) + 1):
        for tied, others in enumerate(_count_others(votes, leading, max(sizes) - leading)):
            won[leading:] += math.comb(votes.right, leading) * others / (1 + tied)
    # rounding must not push a probability above 1
    return tuple(min(1.0, float(won[r]) / math.comb(total, r)) for r in sizes)


def _count_others(votes: Votes, leading: int, most: int) -> list[Floats]:
    """The ways to draw 0 to ``most`` of the samples that are not right, none above ``leading``.

    One array ``(most + 1,)`` by the number of wrong answers that are drawn exactly ``leading``
    times and so tie with the right one.
    """
    # a smaller group cannot reach ``leading``, so it is drawn from like the silent samples
    free = votes.silent + sum(size for size in votes.wrong if size < leading)
    ways = [_pad(_binomials(free, most), most)]
    for size in votes.wrong:
        if size < leading:
            continue
        below = _binomials(size, leading - 1)
        reached = [np.zeros(most + 1)]
        for row in ways:
            tie = np.zeros(most + 1)
            tie[leading:] = math.comb(size, leading) * row[: max(0, most + 1 - leading)]
            reached.append(tie)
        for tied, row in enumerate(ways):
            reached[tied] += np.convolve(row, below)[: most + 1]
        # more answers cannot tie than there are draws for them
        ways = reached[: most // leading + 1]
    return ways


def _binomials(n: int, most: int) -> Floats:
    """C(n, 0) to C(n, min(n, most))."""
    return np.array([math.comb(n, a) for a in range(min(n, most) + 1)], dtype=np.float64)


def _pad(values: Floats, most: int) -> Floats:
    padded = np.zeros(most + 1)
    padded[: values.size] = values
    return padded


def count_votes(rows: pl.DataFrame) -> list[Votes]:
    """The votes of each problem, in the order of problem_id.

    ``rows``: problem_id, verdict and extracted of every sample. All correct answers are one group,
    since each was found equal to the gold answer; wrong ones are grouped by
    `orion.answers.grouping.find_group`.
    """
    right = pl.col("verdict") == "correct"
    silent = ~right & pl.col("extracted").is_null()
    counts = (
        rows.group_by("problem_id")
        .agg(right=right.sum(), silent=silent.sum())
        .sort("problem_id")
        .rows()
    )
    wrong = rows.filter(~right & pl.col("extracted").is_not_null())
    keyed = wrong.select(
        "problem_id",
        key=pl.Series([find_group(text) for text in wrong["extracted"]], dtype=pl.String),
    )
    sizes: dict[str, list[int]] = {}
    for problem_id, _, size in keyed.group_by("problem_id", "key").len().iter_rows():
        sizes.setdefault(problem_id, []).append(size)
    return [
        Votes(right, tuple(sorted(sizes.get(problem_id, ()), reverse=True)), silent)
        for problem_id, right, silent in counts
    ]
