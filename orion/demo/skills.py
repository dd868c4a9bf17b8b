"""Skills of arithmetic that a student may be starved of, so that its errors have a system.

Input: the name of a skill and a step. Output: whether the step needs the skill. In pre-training, a
starved student never computes such a step in short form: it only sees it written out by columns
(`curriculum.column_example`), or copied from a trace. So it tends to get these steps wrong, and
writing them out is the cure.
"""

from collections.abc import Callable, Sequence

from orion.demo.problems import Step, split_columns


def needs_borrow(step: Step) -> bool:
    """Whether a subtraction borrows in some column: 52 - 17, but not 57 - 12."""
    # split_columns adds ten to the upper digit where it borrows
    return step.op == "-" and any(
        upper > 9 for upper, *_ in split_columns(step.left, step.op, step.operand)
    )


def needs_carry(step: Step) -> bool:
    """Whether an addition carries in some column: 47 + 38, but not 41 + 38."""
    return step.op == "+" and any(
        value > 9 for *_, value in split_columns(step.left, step.op, step.operand)
    )


def is_product(step: Step) -> bool:
    """Whether the step is a multiplication."""
    return step.op == "*"


SKILLS: dict[str, Callable[[Step], bool]] = {
    "borrow": needs_borrow,
    "carry": needs_carry,
    "product": is_product,
}


def needing_steps(skill: str | None, steps: Sequence[Step]) -> set[int]:
    """The positions of the steps that need the skill; none without a skill.

    Raises KeyError for an unknown skill.
    """
    return set() if skill is None else {i for i, step in enumerate(steps) if SKILLS[skill](step)}
