"""Pre-training examples of the student: plain solving, reflections, columns, comparison drills.

Input: a recipe, the number of shards and this shard's index. Output: examples as weighted pieces of
text; a piece of weight 0 is read but not trained on. A reflection writes out one step: the first
that its attempt got wrong, a random one without an attempt, so that all reflections have the same
amount of detail. The problems are easier than those of the levels. Pure functions on the standard
library.

A recipe may starve the student of a skill (`orion.demo.skills`) and may show attempts at other
problems, as the placebo arm does; by default it does neither.
"""

import random
from dataclasses import dataclass
from typing import NamedTuple

from orion.demo.problems import (
    BUCKETS,
    Step,
    compute,
    find_bucket,
    random_chain,
    tell_story,
    write_solution,
    write_teacher_trace,
)
from orion.demo.skills import needing_steps

START, TURN, END = "<|user|>", "<|assistant|>", "<|end|>"

# plain solving: (share, steps, largest value, probability that a step is written out)
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
# reflections: (share, steps, largest value)
REFLECTED = ((0.25, 2, 99), (0.25, 2, 199), (0.10, 3, 99), (0.40, 3, 199))
# one step by columns: (share, steps, largest value)
COLUMNS = ((0.4, 1, 399), (0.3, 2, 199), (0.3, 3, 199))
# what a reflection prompt includes: (share, teacher's trace, attempt)
PROMPT_INCLUDES = ((0.66, True, True), (0.17, True, False), (0.17, False, True))


class Piece(NamedTuple):
    """A stretch of text and the weight of its tokens in the loss."""

    text: str
    weight: float


@dataclass(frozen=True)
class Recipe:
    """What the pre-training examples are.

    plain, reflections, drills, columns: how many of each kind, over all shards. plain_first: the
    share of the plain examples and drills before the first reflection. teacher_weight: loss weight
    of the tokens of the teacher's trace. starved: the skill that the student is not to have in
    short form, if any; it learns it by columns from `columns` examples.
    foreign_attempts: the share of the reflections on an attempt whose attempt belongs to another
    problem.
    """

    seed: int
    plain: int
    reflections: int
    drills: int
    plain_first: float
    teacher_weight: float
    columns: int = 0
    starved: str | None = None
    foreign_attempts: float = 0.0


def make_curriculum(
    recipe: Recipe, shard: int, shards: int
) -> tuple[list[list[Piece]], list[list[Piece]]]:
    """Examples of one shard in two phases: drills and plain solving, then everything mixed.

    Example i of a kind depends on (seed, kind, i) only and belongs to shard i % shards.
    """
    seed = recipe.seed
    examples: dict[str, list[list[Piece]]] = {}
    for kind, count, make in (
        ("plain", recipe.plain, lambda rng: plain_example(rng, recipe.starved)),
        ("drill", recipe.drills, drill_example),
        ("reflection", recipe.reflections, lambda rng: reflection_example(rng, recipe)),
        ("column", recipe.columns, lambda rng: column_example(rng, recipe.starved)),
    ):
        examples[kind] = [
            make(random.Random(f"{kind}|{seed}|{i}")) for i in range(shard, count, shards)
        ]
    cuts = {kind: int(recipe.plain_first * len(examples[kind])) for kind in ("plain", "drill")}
    first = examples["plain"][: cuts["plain"]] + examples["drill"][: cuts["drill"]]
    second = (
        examples["plain"][cuts["plain"] :]
        + examples["drill"][cuts["drill"] :]
        + examples["reflection"]
        + examples["column"]
    )
    random.Random(f"first|{seed}|{shard}").shuffle(first)
    random.Random(f"second|{seed}|{shard}").shuffle(second)
    return first, second


def plain_example(rng: random.Random, starved: str | None = None) -> list[Piece]:
    """Question, then the short solution with a few steps written out; no step needs `starved`."""
    _, n, largest, detail = rng.choices(PLAIN, [row[0] for row in PLAIN])[0]
    start, steps = unseen_chain(rng, n, largest, without=starved)
    detailed = {i for i in range(n) if rng.random() < detail}
    question = f"{START} Question: {tell_story(rng, start, steps)} {TURN}"
    return [Piece(question, 0), Piece(f"{write_solution(steps, detailed)} {END}", 1)]


def reflection_example(rng: random.Random, recipe: Recipe) -> list[Piece]:
    """Question, teacher's trace or an attempt or both, then diagnosis and refined chain."""
    _, n, largest = rng.choices(REFLECTED, [row[0] for row in REFLECTED])[0]
    _, teacher, attempt = rng.choices(PROMPT_INCLUDES, [row[0] for row in PROMPT_INCLUDES])[0]
    # without a trace the results in short form are computed and not copied
    start, steps = unseen_chain(rng, n, largest, without=None if teacher else recipe.starved)
    pieces = [Piece(f"{START} Question: {tell_story(rng, start, steps)}", 0)]
    if teacher:
        # the trace's tokens are trained on too: the student must know the teacher's style
        pieces += [
            Piece("Teacher:", 0),
            Piece(write_teacher_trace(steps), recipe.teacher_weight),
        ]
    revisited = rng.randrange(n)
    opening = "New:"
    if attempt:
        # no random number is drawn for a recipe without foreign attempts
        if recipe.foreign_attempts and rng.random() < recipe.foreign_attempts:
            wrong, revisited = other_chain(rng, steps, largest)
        else:
            wrong = corrupt_chain(rng, steps, revisited)
        shown = {i for i in range(n) if i != revisited and rng.random() < 0.05}
        pieces.append(Piece(f"Attempt: {write_solution(wrong, shown)}", 0))
        opening = f"{write_diagnosis(steps, wrong)} New:"
    pieces.append(Piece(f"Refine: {TURN}", 0))
    pieces.append(Piece(f"{opening} {write_solution(steps, {revisited})} {END}", 1))
    return pieces


def column_example(rng: random.Random, starved: str | None = None) -> list[Piece]:
    """Question and a refined chain with one step by columns, without a trace to copy it from.

    Every second one writes out a step that needs the skill `starved`, the others have none. The
    turn is that of a reflection, so that plain solutions keep their short form.
    """
    _, n, largest = rng.choices(COLUMNS, [row[0] for row in COLUMNS])[0]
    wanted = int(starved is not None and rng.random() < 0.5)
    while True:
        start, steps = unseen_chain(rng, n, largest)
        needing = needing_steps(starved, steps)
        if len(needing) == wanted:
            break
    detailed = needing or {rng.randrange(n)}
    question = f"{START} Question: {tell_story(rng, start, steps)} Refine: {TURN}"
    return [Piece(question, 0), Piece(f"New: {write_solution(steps, detailed)} {END}", 1)]


def other_chain(rng: random.Random, steps: list[Step], largest: int) -> tuple[list[Step], int]:
    """The chain of another problem of as many steps, and where its results first differ."""
    while True:
        _, other = unseen_chain(rng, len(steps), largest)
        for i, (right, step) in enumerate(zip(steps, other, strict=True)):
            if right.result != step.result:
                return other, i


def drill_example(rng: random.Random, pairs: int = 6) -> list[Piece]:
    """The diagnosis alone, on unrelated numbers; only `ok` and `wrong` are trained on."""
    pieces = [Piece(f"{START} Refine: {TURN} check", 0)]
    for _ in range(pairs):
        right = rng.randint(2, rng.choice((19, 99, 199, 399)))
        other = misread_number(rng, right) if rng.random() < 0.5 else right
        pieces.append(Piece(f"{right} vs {other}", 0))
        pieces.append(Piece("ok" if other == right else "wrong", 1))
        pieces.append(Piece(";", 0))
    return pieces


def write_diagnosis(steps: list[Step], attempt: list[Step]) -> str:
    """`check 47 + 38 = 85 vs 85 ok ; 85 - 19 = 66 vs 56 wrong ;`, up to the first wrong step.

    The left sides help the student to find both results: it looks up what follows the same words.
    """
    parts = ["check"]
    for right, other in zip(steps, attempt, strict=True):
        same = right.result == other.result
        expression = f"{right.left} {right.op} {right.operand}"
        parts.append(
            f"{expression} = {right.result} vs {other.result} {'ok' if same else 'wrong'} ;"
        )
        if not same:
            break
    return " ".join(parts)


def corrupt_chain(rng: random.Random, steps: list[Step], at: int) -> list[Step]:
    """The chain with a wrong result at step `at`; later steps use it, mostly without mistakes."""
    while True:
        attempt = list(steps[:at])
        value = make_mistake(rng, steps[at])
        attempt.append(steps[at]._replace(result=value))
        for step in steps[at + 1 :]:
            onward = Step(value, step.op, step.operand, compute(value, step.op, step.operand))
            if 0 < onward.result < 1000 and rng.random() < 0.15:
                onward = onward._replace(result=make_mistake(rng, onward))
            attempt.append(onward)
            value = onward.result
        if all(0 < step.result < 1000 for step in attempt[at:]):
            return attempt


def make_mistake(rng: random.Random, step: Step) -> int:
    """A wrong result of a step: a misread result, a misread operand, or the wrong operation."""
    kind = rng.random()
    if kind < 0.6:
        return misread_number(rng, step.result)
    if kind < 0.85:
        value = compute(step.left, step.op, misread_number(rng, step.operand))
    else:
        value = compute(step.left, rng.choice([op for op in "+-" if op != step.op]), step.operand)
    return value if 0 < value < 1000 and value != step.result else misread_number(rng, step.result)


def misread_number(rng: random.Random, number: int) -> int:
    """Another number of 1..999 near `number`: off by a few, or with one digit changed."""
    while True:
        kind = rng.random()
        if kind < 0.65:
            other = number + rng.choice((-1, 1)) * rng.choice((1, 1, 2, 3, 10, 10, 20, 100))
        else:
            place = rng.randrange(len(str(number)))
            other = number + (rng.randrange(10) - number // 10**place % 10) * 10**place
        if other != number and 0 < other < 1000:
            return other


def unseen_chain(
    rng: random.Random, n: int, largest: int, *, without: str | None = None
) -> tuple[int, list[Step]]:
    """A chain that no level can contain; single steps are not restricted, as no level has them.

    No step of it needs the skill `without`.
    """
    while True:
        start, steps = random_chain(rng, n, largest)
        if needing_steps(without, steps):
            continue
        if n == 1 or find_bucket(start, steps) in BUCKETS["pretrain"]:
            return start, steps
