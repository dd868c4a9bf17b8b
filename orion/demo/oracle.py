"""The perfect refinement of wrong attempts: the true chain, the steps they got wrong written out.

Input: a problem's meta (start, steps [{op, operand, result}]) and attempts in the student's style,
any string. Output: a chain in the same style. Standard library only.

    write_refinement(meta, ["47 + 38 = 75 ; 75 - 19 = 56 ; ..."])
        ->  "47 + 38 : 7 + 8 = 15 , 4 + 3 + 1 = 8 , = 85 ; 85 - 19 = 66 ; ..."
"""

from collections.abc import Iterable

from orion.demo.error_coverage import first_wrong_step, parse_steps
from orion.demo.problems import Step, compute, write_solution


def read_chain(meta: dict) -> list[Step]:
    """The true chain that a problem's meta records."""
    chain, value = [], meta["start"]
    for step in meta["steps"]:
        chain.append(Step(value, step["op"], step["operand"], step["result"]))
        value = step["result"]
    return chain


def find_wrong_steps(meta: dict, attempt: str) -> set[int]:
    """The steps of the chain that the attempt got wrong.

    They are the first one whose result is wrong, missing or unreadable, and later ones that
    miscalculate what the attempt itself has written. A later step that only continues from a wrong
    value is right, and one that is no step of the chain says nothing about the chain's.
    """
    first = first_wrong_step(meta, attempt)
    if first is None:
        return set()
    written, chain = parse_steps(attempt), meta["steps"]
    wrong = {first}
    for i in range(first + 1, min(len(written), len(chain))):
        before, step = written[i - 1], written[i]
        if before is None or step is None or before.result is None or step.result is None:
            continue
        continued = (before.result, chain[i]["op"], chain[i]["operand"])
        is_same = (step.left, step.op, step.operand) == continued
        if is_same and step.result != compute(step.left, step.op, step.operand):
            wrong.add(i)
    return wrong


def write_refinement(meta: dict, attempts: Iterable[str]) -> str:
    """The true chain; exactly the steps that some attempt got wrong are written out by columns."""
    wrong = {step for attempt in attempts for step in find_wrong_steps(meta, attempt)}
    return write_solution(read_chain(meta), wrong)
