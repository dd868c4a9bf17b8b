"""A model's opinion on pairs of texts: the draw of problems, the reading of replies, the measures.

Input: the replies of a judge that was shown two texts on one problem, in both orders, and which of
the texts have a false step. Output: the verdict of each reply and pair; counts and shares of a
comparison. `orion.stages.judge` asks for the replies.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import polars as pl

from orion import tables
from orion.provenance import digest_text

# what a reply or a pair prefers: a text of the arm, or of the arm that it is compared with
ARM, AGAINST, TIE, UNREADABLE = "arm", "against", "tie", "unreadable"
# what stands first in the prompt; the text that stands first is A
ARM_FIRST, AGAINST_FIRST = "arm_first", "against_first"
ORDERS = (ARM_FIRST, AGAINST_FIRST)
# of a pair whose two orders disagree
INCONSISTENT = "inconsistent"
# letter of a mark → place of the text that it prefers
_PLACES = {"a": 0, "b": 1, "tie": None}
# ASCII, as another script's i would pass for the one of tie
_FLAGS = re.IGNORECASE | re.ASCII
_MARK = re.compile(r"\[\[(A|B|tie)\]\]", _FLAGS)
# also with more brackets, of which some would be left
_ANY_MARK = re.compile(r"\[{2,}(A|B|tie)\]{2,}", _FLAGS)
# a reply that its limit of tokens has cut off has no end
_CUT = "length"

# one row per reply; sample_id counts the replies to one order of a pair
JUDGEMENTS = tables.Table(
    "judgements",
    ("problem_id", "order", "sample_id"),
    {
        "problem_id": pl.String,
        "order": pl.String,
        "sample_id": pl.Int64,
        "verdict": pl.String,
        "response": pl.String,
        "finish_reason": pl.String,
        "prompt_tokens": pl.Int64,
        "completion_tokens": pl.Int64,
        "completion": pl.String,
    },
    allowed={"order": ORDERS, "verdict": (ARM, AGAINST, TIE, UNREADABLE)},
    patterns={"finish_reason": tables.FINISH_REASON},
)


def draw_problems(problem_ids: Iterable[str], count: int, seed: int) -> list[str]:
    """At most ``count`` of the problems, sorted; more of them keep the first ones."""
    ranked = sorted(problem_ids, key=lambda name: (digest_text(f"judge\x1f{seed}\x1f{name}"), name))
    return sorted(ranked[:count])


def disarm(text: str) -> str:
    """The text without the marks of a verdict, so that a reply that quotes it gives none."""
    return _ANY_MARK.sub(r"[\1]", text)


def read_reply(reply: str, finish_reason: str, order: str) -> str:
    """The verdict of one reply: ``arm``, ``against``, ``tie`` or ``unreadable``.

    The last line that is not blank must hold a mark: [[A]], [[B]] or [[tie]]. Several that differ,
    none, or a reply that was cut off, is unreadable.
    """
    lines = reply.strip().splitlines()
    marks = {mark.lower() for mark in _MARK.findall(lines[-1])} if lines else set()
    if len(marks) != 1 or finish_reason == _CUT:
        return UNREADABLE
    place = _PLACES[marks.pop()]
    if place is None:
        return TIE
    return ((ARM, AGAINST) if order == ARM_FIRST else (AGAINST, ARM))[place]


def name_majority(verdicts: Iterable[str]) -> str:
    """The verdict of the replies to one order: that of most of those that can be read.

    Where two verdicts are equally frequent it is a tie; without a readable reply, ``unreadable``.
    """
    counts = Counter(verdict for verdict in verdicts if verdict != UNREADABLE).most_common()
    if not counts:
        return UNREADABLE
    is_split = len(counts) > 1 and counts[0][1] == counts[1][1]
    return TIE if is_split else counts[0][0]


def name_pair(by_order: dict[str, str]) -> str:
    """The verdict of a pair by those of its two orders.

    Orders that differ are ``inconsistent``; a pair of which an order cannot be read is unreadable,
    since the other one alone may follow the position.
    """
    found = {by_order.get(order, UNREADABLE) for order in ORDERS}
    if UNREADABLE in found:
        return UNREADABLE
    return found.pop() if len(found) == 1 else INCONSISTENT


def judge_pairs(judgements: pl.DataFrame) -> dict[str, str]:
    """problem_id → the verdict of its pair, sorted by problem_id."""
    verdicts: dict[str, dict[str, list[str]]] = {}
    columns = judgements.select("problem_id", "order", "verdict").sort("problem_id")
    for problem_id, order, verdict in columns.iter_rows():
        verdicts.setdefault(problem_id, {}).setdefault(order, []).append(verdict)
    return {
        problem_id: name_pair({order: name_majority(found) for order, found in orders.items()})
        for problem_id, orders in verdicts.items()
    }


@dataclass(frozen=True)
class Agreement:
    """Counts and shares of one comparison; a share without anything to divide by is None.

    ``pairs`` are ``wins`` of the arm, ``losses``, ``ties`` of both orders, ``inconsistent`` and
    ``unreadable``. ``replies``: of them ``unreadable_replies``. ``position_bias``: of the replies
    that prefer a text, the share that prefers the first one. ``self_agreement``: of the pairs of
    readable replies to one order, the share with one verdict. ``swap_agreement``: of the readable
    pairs, the share whose orders agree. ``step_pairs``: pairs of which exactly one text has a false
    step; ``step_decided``: of these, with a win or a loss; ``step_agreement``: of these, the share
    that prefers the text without it.
    """

    pairs: int
    wins: int
    losses: int
    ties: int
    inconsistent: int
    unreadable: int
    replies: int
    unreadable_replies: int
    position_bias: float | None
    self_agreement: float | None
    swap_agreement: float | None
    step_pairs: int
    step_decided: int
    step_agreement: float | None


def measure_agreement(
    judgements: pl.DataFrame, false_steps: dict[str, tuple[int, int]]
) -> Agreement:
    """The measures of one comparison from its table ``judgements``.

    ``false_steps``: problem_id → false steps of the arm's text, and of the other's.
    """
    pairs = judge_pairs(judgements)
    counts = Counter(pairs.values())
    replies = judgements.select("order", "verdict").rows()
    preferring = [(order, verdict) for order, verdict in replies if verdict in (ARM, AGAINST)]
    first = sum((order == ARM_FIRST) == (verdict == ARM) for order, verdict in preferring)
    readable = len(pairs) - counts[UNREADABLE]
    favoured = {
        problem_id: ARM if other else AGAINST
        for problem_id, (own, other) in false_steps.items()
        if problem_id in pairs and bool(own) != bool(other)
    }
    decided = [name for name in favoured if pairs[name] in (ARM, AGAINST)]
    right = sum(pairs[name] == favoured[name] for name in decided)
    return Agreement(
        pairs=len(pairs),
        wins=counts[ARM],
        losses=counts[AGAINST],
        ties=counts[TIE],
        inconsistent=counts[INCONSISTENT],
        unreadable=counts[UNREADABLE],
        replies=len(replies),
        unreadable_replies=sum(verdict == UNREADABLE for _, verdict in replies),
        position_bias=_divide(first, len(preferring)),
        self_agreement=_find_self_agreement(judgements),
        swap_agreement=_divide(readable - counts[INCONSISTENT], readable),
        step_pairs=len(favoured),
        step_decided=len(decided),
        step_agreement=_divide(right, len(decided)),
    )


def _divide(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _find_self_agreement(judgements: pl.DataFrame) -> float | None:
    """The share of pairs of readable replies to one order that agree; None without such a pair."""
    readable = judgements.filter(pl.col("verdict") != UNREADABLE)
    agreeing = asked = 0
    for _, group in readable.group_by("problem_id", "order"):
        for one, other in combinations(group["verdict"], 2):
            asked += 1
            agreeing += one == other
    return _divide(agreeing, asked)


def score_pairs(pairs: dict[str, str]) -> dict[str, int]:
    """problem_id → points of the arm out of 2 in each readable pair: 2 a win, 1 a tie, 0 a loss.

    A pair whose orders disagree is a tie.
    """
    points = {ARM: 2, TIE: 1, INCONSISTENT: 1, AGAINST: 0}
    return {name: points[verdict] for name, verdict in pairs.items() if verdict != UNREADABLE}
