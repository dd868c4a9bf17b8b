"""A finished report's document, multiplied into one of a larger grid, to look at its page.

``widen(doc, arms=24, benchmarks=5, datasets=2)`` repeats the rows of the first student under other
names; numbers are moved a little, so that lines differ. Nothing of it is a result.
"""

import copy
import itertools
import random
from typing import Any

# tables with a row per arm, or per arm and benchmark
PER_ARM = ("reflections", "error_coverage", "false_steps_training", "data_tokens", "waterfall")
PER_ARM += ("selection", "stability")
PER_BENCHMARK = ("table", "false_steps", "pass_at", "answers", "cohorts", "first_false_steps")
PER_BENCHMARK += ("lengths", "levels")
NAMES = ("base", "orion", "orion_sham", "sft_rewrite", "sft_teacher_matched", "oracle", "sft_own")
LONG = "orion_with_a_rather_long_name_that_goes_on"


def name_arms(count: int) -> list[str]:
    """Names of arms, the known ones first, one of them long."""
    names = [*NAMES, LONG, *(f"ablation_{i}" for i in range(count))]
    return names[:count]


def widen(
    doc: dict[str, Any],
    *,
    arms: int = 24,
    benchmarks: int = 5,
    datasets: int = 2,
    students: int = 3,
) -> dict[str, Any]:
    """The document of a grid of so many arms, benchmarks, training sets and students."""
    doc = copy.deepcopy(doc)
    names = name_arms(arms)
    measured = [f"bench-{i}" if i else "a-longer-benchmark-name" for i in range(benchmarks)]
    sets = [f"set-{i}" for i in range(datasets)]
    models = [f"student-{i}" for i in range(students)]
    doc["models"] = [{**doc["models"][0], "name": name} for name in models]
    doc["grid"] |= {"arms": names, "benchmarks": measured, "datasets": sets}
    doc["evaluations"] = [{"benchmark": name, "num_samples": 4} for name in measured]
    doc["arms"] = [
        {"arm": name, "text": f"What {name} is trained on, and its question."} for name in names
    ]
    first = doc["results"][0]
    doc["results"] = [
        _widen_student(first, names, measured, dataset=dataset, model=model)
        for dataset, model in itertools.product(sets, models)
    ]
    pairs = [(names[1], other) for other in names if other != names[1]]
    for group in doc["groups"]:
        group |= {"dataset": sets[0], "students": students, "entries": [[name] for name in models]}
        _widen_comparisons(group, pairs, measured)
    for item in doc["results"]:
        if not doc["groups"]:
            _widen_comparisons(item, pairs, measured)
    doc["grid"]["models"] = models
    doc["arms_shown"] = max(8, 40 // len(doc["results"]))
    return doc


def _widen_student(
    item: dict[str, Any], arms: list[str], benchmarks: list[str], *, dataset: str, model: str
) -> dict[str, Any]:
    found = copy.deepcopy(item) | {"dataset": dataset, "model": model}
    rng = random.Random(f"{dataset}|{model}")
    for name in PER_ARM:
        found[name] = [
            {**row, "arm": arm} for arm in arms for row in _rows_of_one(item[name], ("arm",))
        ]
    for name in PER_BENCHMARK:
        rows = _rows_of_one(item[name], ("arm", "benchmark"))
        found[name] = [
            _move({**row, "arm": arm, "benchmark": benchmark}, rng)
            for arm in arms
            for benchmark in benchmarks
            for row in rows
        ]
    row = item["coherence"][0]
    found["coherence"] = [
        {**row, "arm": arm, "texts": texts, "benchmark": benchmark}
        for arm in arms
        for texts, benchmark in (("training", None), *(("answers", name) for name in benchmarks))
    ]
    flips = item["flips"][:1]
    found["flips"] = [
        {**row, "arm": arms[1], "against": other, "benchmark": benchmark}
        for other in arms
        for benchmark in benchmarks
        for row in flips
    ]
    for example in found["examples"]:
        one = example["reflections"][:1]
        example["reflections"] = [{**row, "arm": arm} for arm in arms for row in one]
    return found


def _rows_of_one(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows with the values of the first row for these keys."""
    return [row for row in rows if all(row[key] == rows[0][key] for key in keys)]


def _move(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    if "accuracy" in row and "lowest_seed" in row:
        by = rng.uniform(-0.2, 0.2)
        for name in ("accuracy", "low", "high", "lowest_seed", "highest_seed"):
            row[name] = round(min(1.0, max(0.0, row[name] + by)), 6)
    return row


def _widen_comparisons(
    item: dict[str, Any], pairs: list[tuple[str, str]], benchmarks: list[str]
) -> None:
    """A test of each pair on the first two benchmarks; every fifth was added after results."""
    model, rng = item["comparisons"][0], random.Random(item["dataset"])
    readings = ("unclear", "above", "below", "unclear", "not inferior")
    rows = []
    for number, (benchmark, (arm, against)) in enumerate(itertools.product(benchmarks[:2], pairs)):
        row = {**model, "arm": arm, "against": against, "benchmark": benchmark, "margin": None}
        row |= {"kind": "superiority", "reading": readings[number % 4], "status": "registered"}
        row |= {"expect": None, "outcome": None, "evaluations": None}
        if number % 7 == 0:
            row |= {"kind": "non-inferiority", "margin": 0.03, "reading": readings[4]}
        if number % 5 == 4:
            row |= {"status": "added", "reading": "exploratory", "p_holm": None, "evaluations": 12}
        by = rng.uniform(-0.25, 0.25)
        for name in ("difference", "low", "high", "low_runs", "high_runs"):
            if row[name] is not None:
                row[name] = round(row[name] + by, 6)
        rows.append(row)
    item["comparisons"] = rows
    if "alone" in item:
        one = item["alone"][: item["students"]]
        item["alone"] = [
            {**row, "test": n, "arm": test["arm"], "against": test["against"]}
            | {"benchmark": test["benchmark"]}
            for n, test in enumerate(rows)
            for row in one
        ]
