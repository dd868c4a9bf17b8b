"""Error coverage: which step an attempt got wrong, and which steps a refined text writes out.

Input: a problem's meta (start, steps [{op, operand, result}]) and the text of an attempt or of a
refined chain in the student's style. Output: step indices from 0, exact because the chain is known.
Texts are model output: any string is accepted, nothing is evaluated, and the time is linear in the
length of the text.

    first_wrong_step(meta, "47 + 38 = 85 ; 85 - 19 = 56 ; ...")           ->  1
    detailed_steps("47 + 38 = 85 ; 85 - 19 : 15 - 9 = 6 , ... = 66 ; ...")  ->  {1}
"""

import re
from dataclasses import dataclass

MARKER = "New:"
# a value has at most three digits; the bounds keep a hostile text from making a huge integer
_HEAD = re.compile(r"\s*(\d{1,9}) ?([-+*]) ?(\d{1,9}) ?([=:])")
_RESULT = re.compile(r"=\s*(\d{1,9})\s*$")


@dataclass(frozen=True)
class WrittenStep:
    """One step as the text has it; `result` is None if the text has none."""

    left: int
    op: str
    operand: int
    result: int | None
    detailed: bool


def parse_steps(text: str) -> list[WrittenStep | None]:
    r"""The steps after the last `New:` and before `\boxed`; None for an unreadable step."""
    chain = text.rpartition(MARKER)[2].partition("\\boxed")[0]
    parts = chain.split(";")
    # the text after the last separator is a step only if the response was cut off inside a step
    if not parts[-1].strip():
        parts.pop()
    return [_parse_step(part) for part in parts]


def _parse_step(part: str) -> WrittenStep | None:
    head = _HEAD.match(part)
    if head is None:
        return None
    # the result is at the very end; the window bounds the search
    tail = _RESULT.search(part[-24:])
    left, op, operand, sign = head.groups()
    return WrittenStep(
        int(left), op, int(operand), int(tail.group(1)) if tail else None, sign == ":"
    )


def first_wrong_step(meta: dict, attempt: str) -> int | None:
    """The first step whose result is wrong, missing or unreadable in the attempt; None without one.

    A mistake after the last step (in the boxed answer, or an additional step) is not counted.
    """
    written = parse_steps(attempt)
    for i, step in enumerate(meta["steps"]):
        attempted = written[i] if i < len(written) else None
        if attempted is None or attempted.result != step["result"]:
            return i
    return None


def detailed_steps(refined: str) -> set[int]:
    """The positions in the text whose step is written out by columns."""
    return {i for i, step in enumerate(parse_steps(refined)) if step is not None and step.detailed}


def revisited_steps(meta: dict, refined: str) -> set[int]:
    """The steps of the chain that the text writes out by columns.

    Operator, operand and result must be those of the chain.
    """
    chain = [(step["op"], step["operand"], step["result"]) for step in meta["steps"]]
    written = parse_steps(refined)[: len(chain)]
    return {
        i
        for i, s in enumerate(written)
        if s and s.detailed and (s.op, s.operand, s.result) == chain[i]
    }


def revisits_wrong_step(meta: dict, attempt: str, refined: str) -> bool | None:
    """Whether the refined text writes out the attempt's first wrong step; None without one."""
    wrong = first_wrong_step(meta, attempt)
    return None if wrong is None else wrong in revisited_steps(meta, refined)
