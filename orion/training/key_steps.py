"""The key steps of a training text: the tokens in which it differs from the student's attempt.

Input: token ids of the text and of wrong attempts at the same problem. Output: a mark per token.
The shortest edit turns the attempt into the text; the tokens of the text that it inserts or puts in
the place of others are the key steps (EDIT, arXiv 2405.19737).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orion.training.document_file import IGNORED

# texts longer than this together are not compared: the table of their edits has a byte for each
# pair of tokens, 16,000 tokens on either side
MAX_PAIRS = 1 << 28
SAME, PUT, INSERTED, LEFT_OUT = range(4)


def mark_key_steps(
    labels: Sequence[int], attempts: Sequence[Sequence[int]]
) -> npt.NDArray[np.bool_] | None:
    """Which labels of a document are key steps, ``(tokens,)``; None where no attempt is compared.

    ``labels``: IGNORED outside the trained text. ``attempts``: token ids of each wrong attempt;
    the text is compared with the one from which the fewest edits lead to it, the first of equals.
    """
    places = np.flatnonzero(np.array(labels) != IGNORED)
    text = np.array(labels, np.int64)[places]
    found = [each for attempt in attempts if (each := compare(text, attempt)) is not None]
    if not found:
        return None
    _, changed = min(found, key=lambda each: each[0])
    marks = np.zeros(len(labels), np.bool_)
    marks[places] = changed
    return marks


def compare(
    text: Sequence[int] | npt.NDArray[np.int64], attempt: Sequence[int]
) -> tuple[int, npt.NDArray[np.bool_]] | None:
    """The fewest edits from ``attempt`` to ``text``, and which tokens of the text they bring.

    An edit inserts a token, leaves one out, or puts one in the place of another (Levenshtein). Of
    several ways with as few edits, the one that keeps its place at the end of the two longest, and
    puts a token rather than inserting one. None where the two are too long to be compared.
    """
    after, before = np.asarray(text, np.int64), np.asarray(attempt, np.int64)
    start, end = _count_shared(after, before)
    changed = np.zeros(len(after), np.bool_)
    after, before = after[start : len(after) - end], before[start : len(before) - end]
    if len(after) * len(before) > MAX_PAIRS:
        return None
    edits, moves = _fill(after, before)
    row, column = len(after), len(before)
    while row:
        move = moves[row, column]
        if move == LEFT_OUT:
            column -= 1
            continue
        changed[start + row - 1] = move != SAME
        row -= 1
        column -= move != INSERTED
    return edits, changed


def _count_shared(after: npt.NDArray[np.int64], before: npt.NDArray[np.int64]) -> tuple[int, int]:
    """How many tokens the two share at the beginning, and how many of the rest at the end."""
    shorter = min(len(after), len(before))
    differs = np.flatnonzero(after[:shorter] != before[:shorter])
    start = int(differs[0]) if len(differs) else shorter
    rest = shorter - start
    if not rest:
        return start, 0
    differs = np.flatnonzero(after[-1 : -rest - 1 : -1] != before[-1 : -rest - 1 : -1])
    return start, int(differs[0]) if len(differs) else rest


def _fill(
    after: npt.NDArray[np.int64], before: npt.NDArray[np.int64]
) -> tuple[int, npt.NDArray[np.uint8]]:
    """The fewest edits, and the last one on the way to each pair of prefixes.

    ``(len(after) + 1, len(before) + 1)``. A row of the table follows from the one above it, but for
    tokens that are left out, which make a running minimum along the row.
    """
    columns = np.arange(len(before) + 1)
    costs = columns.copy()
    moves = np.full((len(after) + 1, len(before) + 1), LEFT_OUT, np.uint8)
    for row, token in enumerate(after, start=1):
        same = before == token
        inserted = costs + 1
        diagonal = np.concatenate([[inserted[0]], costs[:-1] + ~same])
        best = np.minimum(inserted, diagonal)
        costs = np.minimum.accumulate(best - columns) + columns
        moves[row][costs == inserted] = INSERTED
        moves[row, 1:][costs[1:] == diagonal[1:]] = PUT
        moves[row, 1:][(costs[1:] == diagonal[1:]) & same] = SAME
    return int(costs[-1]), moves
