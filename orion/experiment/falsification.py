r"""A right solution made wrong: the result of one step falsified, later steps continued from it.

Input: a right text in any style, its problem, a random generator. Output: texts that differ from it
in one result and in what follows from it. Only what is understood is changed: every other claim of
the text is as true as before (`orion.answers.steps`), and a number that may have come from
elsewhere is not touched.

    47 + 38 = 85 ; 85 - 19 = 66 ; \boxed{ 66 }   ->   47 + 38 = 75 ; 75 - 19 = 56 ; \boxed{ 56 }
"""

import random
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from orion.answers.steps import check_steps
from orion.answers.steps.arithmetic import NotArithmeticError, evaluate
from orion.answers.steps.budget import Budget
from orion.answers.steps.check import find_links
from orion.answers.steps.links import Link

# wrong results that are tried for a step in its turn, and turns of the steps
DRAWS, TURNS = 4, 3
# steps that may continue from a falsified one
MAX_CONTINUED = 50
MAX_DECIMALS = 6
_NUMBER = re.compile(r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\d)")
# what stands before a stated answer
_ANSWER = re.compile(r"(?:\\boxed\s*\{|####)\s*\$?\Z")
_MARK_END = ">>"


class Step(NamedTuple):
    """An equation `left = number` of a text.

    ``left``: the numbers and signs of its left side; ``computed``: the value of that, None if it is
    no plain arithmetic; ``written``: the number, which is text[start:end]; ``in_mark``: whether it
    stands behind a calculator mark, which holds the same step.
    """

    left: tuple[str, ...]
    computed: Fraction | None
    written: Fraction
    start: int
    end: int
    truth: str
    in_mark: bool


class Reading(NamedTuple):
    """The steps of a text in the order of their numbers; how many of its claims are unknown."""

    steps: list[Step]
    unknown: int


def falsify(
    text: str, problem: str, rng: random.Random, *, timeout_s: float = 2.5
) -> Iterator[str]:
    """Texts with one step falsified, in a random order of the steps; some may be equal.

    Each step that can be falsified is as likely as the others to come first. Its wrong result
    differs from the right one in one digit. No text where one of the given text's claims is false.
    """
    found = read_steps(text, timeout_s)
    if found is None or any(step.truth == "false" for step in found.steps):
        return
    steps = [step for step in found.steps if step.computed == step.written and not step.in_mark]
    rng.shuffle(steps)
    for _ in range(TURNS):
        for step in steps:
            for _ in range(DRAWS):
                wrong = change_digit(rng, text[step.start : step.end])
                made = _replace_result(text, step, wrong, problem, timeout_s=timeout_s)
                if made is not None and made[1] == found.unknown:
                    yield made[0]
                    break


def change_digit(rng: random.Random, number: str) -> str:
    """The number as it is written, with another digit in one place; no leading zero is made."""
    places = [i for i, sign in enumerate(number) if sign.isdigit()]
    while True:
        place, digit = rng.choice(places), rng.choice("0123456789")
        leads = place == 0 and number[1:2].isdigit()
        if digit != number[place] and not (leads and digit == "0"):
            return number[:place] + digit + number[place + 1 :]


def read_steps(text: str, timeout_s: float) -> Reading | None:
    """The steps of a text; None if it has a false claim that is no such step."""
    claims = check_steps(text, timeout_s=timeout_s)
    truths = {(claim.start, claim.end): claim.truth for claim in claims}
    links, _ = find_links(text, Budget(timeout_s))
    read = (_read_step(link, text, truths.get((link.start, link.end))) for link in links)
    # a calculator mark comes before the number behind it
    steps = sorted((step for step in read if step is not None), key=lambda step: step.start)
    counts = Counter(claim.truth for claim in claims)
    all_read = sum(step.truth == "false" for step in steps) == counts["false"]
    return Reading(steps, counts["unknown"]) if all_read else None


def _replace_result(
    text: str, step: Step, wrong: str, problem: str, *, timeout_s: float
) -> tuple[str, int] | None:
    """The text with another result of a step, continued, and its number of unknown claims.

    A later step that uses a changed value gets its new result, and so on to the end. None where
    that is not understood.
    """

    def is_falsified(other: Step) -> bool:
        same = other.left == step.left or (other.in_mark and other.computed == step.computed)
        return same and other.written == _read_number(wrong)

    made, at = _put(text, step, wrong, problem), step.start
    for _ in range(MAX_CONTINUED):
        found = read_steps(made, timeout_s) if made is not None else None
        if made is None or found is None:
            return None
        false = [each for each in found.steps if each.truth == "false"]
        others = [each for each in false if not is_falsified(each)]
        if not others:
            everywhere = all(each in false for each in found.steps if each.left == step.left)
            return (made, found.unknown) if everywhere else None
        following = others[0]
        result = _write_number(following.computed, like=made[following.start : following.end])
        if result is None or following.start <= at:
            return None
        made, at = _put(made, following, result, problem), following.start
    return None


def _read_step(link: Link, text: str, truth: str | None) -> Step | None:
    numbers = list(_NUMBER.finditer(text, link.right.start, link.right.end))
    in_mark = "<<" in text[link.right.start : link.right.end]
    is_step = link.operator == "=" and link.left.literal is None and link.right.literal is not None
    if truth is None or not is_step or not numbers or (len(numbers) > 1 and not in_mark):
        return None
    # behind a calculator mark, which holds the same step, the number is repeated
    number = numbers[-1]
    # a sign without blanks around it is doubled there; units say nothing of the value
    left = tuple(sign[:1] if kind != "n" else sign for kind, sign in link.left.items if kind != "u")
    try:
        computed = evaluate(link.left.items)
    except NotArithmeticError:
        computed = None
    written = _read_number(number.group())
    return Step(left, computed, written, *number.span(), truth, in_mark)


def _put(text: str, step: Step, number: str, problem: str) -> str | None:
    """The text with another number as the step's result, there and wherever it is used later.

    None where the old number also stands in the problem or earlier in the text: what is written
    later may then be that one. What stands behind the step's own mark and the stated answer are
    always taken for the result.
    """
    head, tail = text[: step.start], text[step.end :]
    uses = _find(step.written, tail)
    is_doubtful = any(
        tail[: use.start()].strip(" $") != _MARK_END
        and not _ANSWER.search(tail, max(0, use.start() - 40), use.start())
        for use in uses
    )
    if is_doubtful and (_find(step.written, problem) or _find(step.written, head)):
        return None
    at, parts = 0, [head, number]
    for use in uses:
        beside = tail[max(0, use.start() - 1) : use.start()] + tail[use.end() : use.end() + 1]
        if any(sign.isalpha() for sign in beside):
            return None
        parts += [tail[at : use.start()], number]
        at = use.end()
    return "".join([*parts, tail[at:]])


def _find(value: Fraction, text: str) -> list[re.Match[str]]:
    return [found for found in _NUMBER.finditer(text) if _read_number(found.group()) == value]


def _read_number(written: str) -> Fraction:
    return Fraction(written.replace(",", ""))


def _write_number(value: Fraction | None, *, like: str) -> str | None:
    """A value of 0 or more as a decimal number, in groups of three digits if another number is.

    None for a value that has no short form.
    """
    if value is None or value < 0 or (10**MAX_DECIMALS * value).denominator != 1:
        return None
    whole, rest = divmod(int(10**MAX_DECIMALS * value), 10**MAX_DECIMALS)
    decimals = f".{rest:0{MAX_DECIMALS}d}".rstrip("0").rstrip(".")
    return (f"{whole:,}" if "," in like else f"{whole}") + decimals
