"""Which step an attempt got wrong and which steps a refined text writes out: exact, since the chain is known.

Input: a problem's meta (start, steps [{op, operand, result}]) and the text of an attempt or a refinement in the
student's style. Output: step indices from 0. Texts are model output: any string is accepted, nothing is evaluated, and
the time is linear in the length of the text.

    first_wrong_step(meta, "47 + 38 = 85 ; 85 - 19 = 56 ; ...")           ->  1
    detailed_steps("47 + 38 = 85 ; 85 - 19 : 15 - 9 = 6 , ... = 66 ; ...")  ->  {1}
"""

import re
from dataclasses import dataclass

MARKER = "New:"
# a value has at most three digits; the bounds keep a hostile text from asking for a huge integer.
_HEAD = re.compile(r"\s*(\d{1,9}) ?([-+*]) ?(\d{1,9}) ?([=:])")
_RESULT = re.compile(r"=\s*(\d{1,9})\s*$")


@dataclass(frozen=True)
class WrittenStep:
    """One step as the text has it; `result` is None where the text gives none."""

    left: int
    op: str
    operand: int
    result: int | None
    detailed: bool


def parse_steps(text: str) -> list[WrittenStep | None]:
    """The steps after the last `New:` and before `\\boxed`, one for each `;`; None for an unreadable one."""
    chain = text.rpartition(MARKER)[2].partition("\\boxed")[0]
    parts = chain.split(";")
    # what follows the last separator is a step only if the text was cut off inside it.
    if not parts[-1].strip():
        parts.pop()
    return [_parse_step(part) for part in parts]


def _parse_step(part: str) -> WrittenStep | None:
    head = _HEAD.match(part)
    if head is None:
        return None
    # the window bounds the search: the result stands at the very end.
    tail = _RESULT.search(part[-24:])
    left, op, operand, sign = head.groups()
    return WrittenStep(
        int(left), op, int(operand), int(tail.group(1)) if tail else None, sign == ":"
    )


def first_wrong_step(meta: dict, attempt: str) -> int | None:
    """The first step of the chain whose result the attempt gets wrong, lacks or garbles; None if all are right.

    A mistake after the last step (in the boxed answer, or a step too many) is no step's.
    """
    written = parse_steps(attempt)
    for i, step in enumerate(meta["steps"]):
        found = written[i] if i < len(written) else None
        if found is None or found.result != step["result"]:
            return i
    return None


def detailed_steps(refined: str) -> set[int]:
    """The positions in the chain whose step is written out by columns."""
    return {i for i, step in enumerate(parse_steps(refined)) if step is not None and step.detailed}


def revisited_steps(meta: dict, refined: str) -> set[int]:
    """The steps of the chain that the text writes out by columns, with the chain's own operator, operand and result."""
    true = [(step["op"], step["operand"], step["result"]) for step in meta["steps"]]
    written = parse_steps(refined)[: len(true)]
    return {
        i
        for i, s in enumerate(written)
        if s and s.detailed and (s.op, s.operand, s.result) == true[i]
    }


def revisits_wrong_step(meta: dict, attempt: str, refined: str) -> bool | None:
    """Whether the refined text writes out the attempt's first wrong step; None if the attempt has no wrong step."""
    wrong = first_wrong_step(meta, attempt)
    return None if wrong is None else wrong in revisited_steps(meta, refined)
