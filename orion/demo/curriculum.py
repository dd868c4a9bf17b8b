"""What the student is pre-trained on: plain solving, reflections on easier problems, comparison drills.

Input: a seed, the number of shards and this shard's index, counts. Output: examples as weighted pieces of text, where a
weight of 0 means that the piece is read but not trained on. Nothing here looks like the placebo arm (an attempt at
another problem), and a reflection without an attempt writes out one random step, as much detail as the others.
Pure functions on the standard library.
"""

import random
from dataclasses import dataclass
from typing import NamedTuple

from orion.demo.problems import (
    BUCKETS,
    Step,
    apply,
    bucket,
    random_chain,
    solution,
    teacher_trace,
    tell,
)

START, TURN, END = "<|user|>", "<|assistant|>", "<|end|>"

# (share, steps, largest value, probability that a step is written out)
PLAIN = (
    (0.14, 1, 99, 0.5),
    (0.18, 1, 399, 0.5),
    (0.10, 2, 99, 0.1),
    (0.15, 2, 199, 0.1),
    (0.11, 2, 399, 0.1),
    (0.08, 3, 99, 0.1),
    (0.14, 3, 199, 0.1),
    (0.10, 3, 299, 0.1),
)
REFLECTED = ((0.25, 2, 99), (0.25, 2, 199), (0.10, 3, 99), (0.40, 3, 199))
# what the prompt shows: (share, teacher's trace, attempt)
SHOWN = ((0.66, True, True), (0.17, True, False), (0.17, False, True))


class Piece(NamedTuple):
    """A stretch of text and the weight of its tokens in the loss."""

    text: str
    weight: float


@dataclass(frozen=True)
class Counts:
    """How many examples of each kind, over all shards."""

    plain: int
    reflections: int
    drills: int


def curriculum(
    seed: int, shard: int, shards: int, counts: Counts, *, plain_first: float, teacher_weight: float
) -> tuple[list[list[Piece]], list[list[Piece]]]:
    """This shard's examples in two phases: drills and plain solving, then everything mixed.

    `plain_first` is the share of the plain examples and drills that belongs to the first phase. Example i of a kind
    depends on (seed, kind, i) only and belongs to shard i % shards.
    """
    made: dict[str, list[list[Piece]]] = {}
    for kind, count, make in (
        ("plain", counts.plain, plain_example),
        ("drill", counts.drills, drill_example),
        ("reflection", counts.reflections, lambda rng: reflection_example(rng, teacher_weight)),
    ):
        made[kind] = [
            make(random.Random(f"{kind}|{seed}|{i}")) for i in range(shard, count, shards)
        ]
    cuts = {kind: int(plain_first * len(made[kind])) for kind in ("plain", "drill")}
    first = made["plain"][: cuts["plain"]] + made["drill"][: cuts["drill"]]
    second = made["plain"][cuts["plain"] :] + made["drill"][cuts["drill"] :] + made["reflection"]
    random.Random(f"first|{seed}|{shard}").shuffle(first)
    random.Random(f"second|{seed}|{shard}").shuffle(second)
    return first, second


def plain_example(rng: random.Random) -> list[Piece]:
    """Question, then the short solution with a few steps written out."""
    _, n, largest, detail = rng.choices(PLAIN, [row[0] for row in PLAIN])[0]
    start, steps = unseen_chain(rng, n, largest)
    detailed = {i for i in range(n) if rng.random() < detail}
    question = f"{START} Question: {tell(rng, start, steps)} {TURN}"
    return [Piece(question, 0), Piece(f"{solution(steps, detailed)} {END}", 1)]


def reflection_example(rng: random.Random, teacher_weight: float) -> list[Piece]:
    """Question, teacher's trace and a wrong attempt (either may be absent), then diagnosis and refined chain."""
    _, n, largest = rng.choices(REFLECTED, [row[0] for row in REFLECTED])[0]
    _, teacher, attempt = rng.choices(SHOWN, [row[0] for row in SHOWN])[0]
    start, steps = unseen_chain(rng, n, largest)
    pieces = [Piece(f"{START} Question: {tell(rng, start, steps)}", 0)]
    if teacher:
        # the trace's own tokens are trained on too, so that the teacher's style is no foreign language to the student.
        pieces += [Piece("Teacher:", 0), Piece(teacher_trace(steps), teacher_weight)]
    treated = rng.randrange(n)
    said = "New:"
    if attempt:
        wrong = corrupt(rng, steps, treated)
        shown = {i for i in range(n) if i != treated and rng.random() < 0.05}
        pieces.append(Piece(f"Attempt: {solution(wrong, shown)}", 0))
        said = f"{diagnosis(steps, wrong)} New:"
    pieces.append(Piece(f"Refine: {TURN}", 0))
    pieces.append(Piece(f"{said} {solution(steps, {treated})} {END}", 1))
    return pieces


def drill_example(rng: random.Random, pairs: int = 6) -> list[Piece]:
    """The diagnosis line alone, on unrelated numbers; only the judgements are trained on."""
    pieces = [Piece(f"{START} Refine: {TURN} check", 0)]
    for _ in range(pairs):
        right = rng.randint(2, rng.choice((19, 99, 199, 399)))
        other = misread(rng, right) if rng.random() < 0.5 else right
        pieces.append(Piece(f"{right} vs {other}", 0))
        pieces.append(Piece("ok" if other == right else "wrong", 1))
        pieces.append(Piece(";", 0))
    return pieces


def diagnosis(steps: list[Step], attempt: list[Step]) -> str:
    """`check 47 + 38 = 85 vs 85 ok ; 85 - 19 = 66 vs 56 wrong ;`, up to the first step whose result differs.

    The left sides are what the student finds the two results by: it looks up what follows the same words.
    """
    said = ["check"]
    for right, other in zip(steps, attempt, strict=True):
        same = right.result == other.result
        expression = f"{right.left} {right.op} {right.operand}"
        said.append(
            f"{expression} = {right.result} vs {other.result} {'ok' if same else 'wrong'} ;"
        )
        if not same:
            break
    return " ".join(said)


def corrupt(rng: random.Random, steps: list[Step], at: int) -> list[Step]:
    """The chain with a wrong result at step `at`; later steps go on from it, mostly without further mistakes."""
    while True:
        attempt = list(steps[:at])
        value = slip(rng, steps[at])
        attempt.append(steps[at]._replace(result=value))
        for step in steps[at + 1 :]:
            onward = Step(value, step.op, step.operand, apply(value, step.op, step.operand))
            if 0 < onward.result < 1000 and rng.random() < 0.15:
                onward = onward._replace(result=slip(rng, onward))
            attempt.append(onward)
            value = onward.result
        if all(0 < step.result < 1000 for step in attempt[at:]):
            return attempt


def slip(rng: random.Random, step: Step) -> int:
    """A wrong result for a step: a misread result, a misread operand, or the wrong operation."""
    kind = rng.random()
    if kind < 0.6:
        return misread(rng, step.result)
    if kind < 0.85:
        value = apply(step.left, step.op, misread(rng, step.operand))
    else:
        value = apply(step.left, rng.choice([op for op in "+-" if op != step.op]), step.operand)
    return value if 0 < value < 1000 and value != step.result else misread(rng, step.result)


def misread(rng: random.Random, number: int) -> int:
    """A number of 1..999 near `number` of 1..999, never equal to it: off by a few, or one digit changed."""
    while True:
        kind = rng.random()
        if kind < 0.65:
            other = number + rng.choice((-1, 1)) * rng.choice((1, 1, 2, 3, 10, 10, 20, 100))
        else:
            place = rng.randrange(len(str(number)))
            other = number + (rng.randrange(10) - number // 10**place % 10) * 10**place
        if other != number and 0 < other < 1000:
            return other


def unseen_chain(rng: random.Random, n: int, largest: int) -> tuple[int, list[Step]]:
    """A chain that no level can hold; single steps are no level's and are not restricted."""
    while True:
        start, steps = random_chain(rng, n, largest)
        if n == 1 or bucket(start, steps) in BUCKETS["pretrain"]:
            return start, steps
