r"""Generated word problems: a chain of additions, subtractions and multiplications told as a story.

Input: a level, a number of problems and a seed. Output: problems, each with its answer, a short
solution in the student's own style, a long trace in the teacher's style, and the exact chain of
steps.

    Sam has 47 pens , buys 38 more , loses 19 , then has 3 times as many . how many pens now ?

The student's style is `47 + 38 = 85 ; 85 - 19 = 66 ; ... ; \boxed{ 198 }`. A step may also be
written out by columns: `47 + 38 : 7 + 8 = 15 , 4 + 3 + 1 = 8 , = 85 ;`. The teacher explains every
column of every step. Pure functions on the standard library: `generate("train", 400, seed=1)`.
"""

import random
import zlib
from dataclasses import dataclass
from typing import NamedTuple

NAMES = ("Sam", "Ana", "Ben", "Eva", "Tom", "Mia", "Leo", "Zoe", "Max", "Ida", "Kim", "Raj")
ITEMS = (
    "pens",
    "books",
    "coins",
    "cards",
    "shells",
    "stamps",
    "apples",
    "eggs",
    "keys",
    "rings",
    "plums",
    "beads",
)
EVENTS = {
    "+": ("buys {} more", "finds {} more", "gets {} more", "makes {} more"),
    "-": ("loses {}", "sells {}", "gives away {}", "drops {}"),
    "*": ("then has {} times as many", "ends with {} times as many"),
}
PLACES = ("ones", "tens", "hundreds", "thousands")
SPOKEN = {"+": "plus", "-": "minus", "*": "times"}
INVERSE = {"+": "-", "-": "+", "*": "/"}

# Every chain of two or more steps belongs to one of ten buckets by its numbers. Pre-training, the
# training level and the benchmarks use different buckets, so that no two of them share a chain.
BUCKETS = {"pretrain": range(0, 7), "train": range(7, 8), "benchmark": range(8, 10)}


class Step(NamedTuple):
    """One step as it was written: `left op operand = result`; the result may be wrong."""

    left: int
    op: str
    operand: int
    result: int


@dataclass(frozen=True)
class Level:
    """The problems of a level: `steps` per chain, no value above `largest`, one above `above`."""

    steps: int
    largest: int
    above: int
    split: str


LEVELS = {
    "train": Level(steps=3, largest=299, above=0, split="train"),
    "test": Level(steps=3, largest=299, above=0, split="benchmark"),
    "hard": Level(steps=3, largest=399, above=299, split="benchmark"),
    "easy": Level(steps=2, largest=199, above=0, split="benchmark"),
}


@dataclass(frozen=True)
class Problem:
    """A word problem; `meta`: family, level, start and the true steps [{op, operand, result}]."""

    problem: str
    answer: str
    solution: str
    teacher_trace: str
    meta: dict


def generate(level: str, n: int, seed: int) -> list[Problem]:
    """`n` distinct problems of a level; the first m of them equal `generate(level, m, seed)`.

    Two levels share no text, whatever their seeds. Raises KeyError for an unknown level.
    """
    spec = LEVELS[level]
    problems: dict[str, Problem] = {}
    key = 0
    while len(problems) < n:
        rng = random.Random(f"{level}|{seed}|{key}")
        key += 1
        start, steps = level_chain(rng, spec)
        text = tell_story(rng, start, steps)
        if text not in problems:
            problems[text] = make_problem(text, level, start, steps)
    return list(problems.values())


def level_chain(rng: random.Random, spec: Level) -> tuple[int, list[Step]]:
    """A chain (start, steps) that satisfies the level and is in its split's buckets."""
    while True:
        start, steps = random_chain(rng, spec.steps, spec.largest)
        if (
            max(start, *(s.result for s in steps)) > spec.above
            and find_bucket(start, steps) in BUCKETS[spec.split]
        ):
            return start, steps


def random_chain(rng: random.Random, n: int, largest: int) -> tuple[int, list[Step]]:
    """A true chain of `n` steps with values in 2..largest; a product's operand is in 2..9."""
    value = start = rng.randint(2, largest)
    steps = []
    for _ in range(n):
        highest = {"+": largest - value, "-": value - 2, "*": min(9, largest // value)}
        op = rng.choice([o for o, most in highest.items() if most >= 2])
        operand = rng.randint(2, highest[op])
        steps.append(Step(value, op, operand, compute(value, op, operand)))
        value = steps[-1].result
    return start, steps


def compute(left: int, op: str, operand: int) -> int:
    """The true result of one step."""
    return left + operand if op == "+" else left - operand if op == "-" else left * operand


def find_bucket(start: int, steps: list[Step]) -> int:
    """0..9, from the numbers of the chain alone; names and wording do not matter."""
    numbers = f"{start} " + " ".join(f"{s.op} {s.operand}" for s in steps)
    return zlib.crc32(numbers.encode()) % 10


def tell_story(rng: random.Random, start: int, steps: list[Step]) -> str:
    """The chain as a story."""
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    events = " , ".join(rng.choice(EVENTS[s.op]).format(s.operand) for s in steps)
    return f"{name} has {start} {item} , {events} . how many {item} now ?"


def make_problem(text: str, level: str, start: int, steps: list[Step]) -> Problem:
    """The problem of a story (`text`) and its chain."""
    meta = {
        "family": "chain",
        "level": level,
        "start": start,
        "steps": [{"op": s.op, "operand": s.operand, "result": s.result} for s in steps],
    }
    return Problem(
        text, str(steps[-1].result), write_solution(steps), write_teacher_trace(steps), meta
    )


def split_columns(left: int, op: str, operand: int) -> list[tuple[int, int, int, int]]:
    """Column arithmetic from the ones: (upper digit, lower digit, carry in, value) by column.

    In a subtraction the borrow is already in the upper digit (which may exceed 9), so the carry is
    always 0. The last column's value is written whole; of the other columns only the last digit.
    """
    width = max(len(str(left)), len(str(operand))) if op != "*" else len(str(left))
    rows = []
    carry = 0
    for place in range(width):
        upper = left // 10**place % 10
        lower = operand if op == "*" else operand // 10**place % 10
        if op == "-":
            upper -= carry
            carry = int(upper < lower)
            upper += 10 * carry
            rows.append((upper, lower, 0, upper - lower))
        else:
            value = compute(upper, op, lower) + carry
            rows.append((upper, lower, carry, value))
            carry = value // 10
    return rows


def write_step(step: Step, detailed: bool = False) -> str:
    """A step in the student's style; the result written is the step's own, right or wrong."""
    left, op, operand, result = step
    if not detailed:
        return f"{left} {op} {operand} = {result} ;"
    parts = []
    for upper, lower, carry, value in split_columns(left, op, operand):
        parts.append(f"{upper} {op} {lower}" + (f" + {carry}" if carry else "") + f" = {value} ,")
    return f"{left} {op} {operand} : {' '.join(parts)} = {result} ;"


def write_solution(steps: list[Step], detailed: frozenset[int] | set[int] = frozenset()) -> str:
    """The chain in the student's style; the steps in `detailed` (from 0) are written by columns."""
    written = [write_step(step, i in detailed) for i, step in enumerate(steps)]
    return f"{' '.join(written)} \\boxed{{ {steps[-1].result} }}"


def write_teacher_trace(steps: list[Step]) -> str:
    """The chain in the teacher's style: every column of every step, and a check of the last one."""
    sentences = []
    for i, (left, op, operand, result) in enumerate(steps):
        sentences.append(f"{'okay first' if i == 0 else 'next'} we need {left} {op} {operand} .")
        rows = split_columns(left, op, operand)
        for place, (upper, lower, carry, value) in enumerate(rows):
            borrow = f"borrow so {upper}" if upper > 9 else f"{upper}"
            carried = f" plus {carry}" if carry else ""
            written = (
                f" write {value % 10} carry {value // 10}"
                if value > 9 and place + 1 < len(rows)
                else ""
            )
            sentences.append(
                f"{PLACES[place]} : {borrow} {SPOKEN[op]} {lower}{carried} is {value}{written} ."
            )
        sentences.append(f"so {left} {op} {operand} = {result} .")
    left, op, operand, result = steps[-1]
    sentences.append(f"wait , let me check : {result} {INVERSE[op]} {operand} = {left} right .")
    sentences.append(f"the answer is \\boxed{{ {result} }}")
    return " ".join(sentences)


def list_vocabulary() -> list[str]:
    """Every word, digit and sign that a generated text can hold, sorted."""
    trace = write_teacher_trace(
        [Step(11, "+", 99, 110), Step(110, "-", 11, 99), Step(999, "*", 9, 8991)]
    )
    words = {
        "has",
        ",",
        ".",
        "how",
        "many",
        "now",
        "?",
        "thousands",
        *NAMES,
        *ITEMS,
        *"0123456789",
        *":;=+-*/",
    }
    for phrases in EVENTS.values():
        words.update(" ".join(phrases).replace("{}", " ").split())
    words.update(word for word in trace.split() if not word.isdigit())
    return sorted(words)
