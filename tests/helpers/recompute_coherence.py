"""Compute the report's coherence, stability and second policy again, for ``recompute_report.py``.

Input: one student on one training set as ``Recomputed``. Disagreements are added to its list.
Chains are read here with an expression and an arithmetic of their own, not the generator's.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from tests.helpers.recompute_report import Recomputed

COUNTS = ("true", "false", "unknown")
STEP = re.compile(r" ?(\d+) ?([-+*]) ?(\d+) ?(?:=|:(.*)=) (\d+) ?")
COLUMN = re.compile(r" (\d+) ([-+*]) (\d+)(?: \+ (\d+))? = (\d+) ,")
HEAD = re.compile(r"\s*\d{1,9} ?[-+*] ?\d{1,9} ?[=:]")


def compare(again: Recomputed) -> None:
    """All tables of the module."""
    again.same("coherence, n", again.doc["repeated_ngram"], 4)
    wanted = {"deviations": 7, "window": 32, "fewest": 16}
    again.same("spike", again.doc["spike"], wanted)
    _compare_texts(again)
    _compare_logs(again)
    _compare_policies(again)
    _compare_surprise(again)


def _compare_texts(again: Recomputed) -> None:
    seen = Counter((row["arm"], row["texts"], row["benchmark"]) for row in again.item["coherence"])
    grid = again.doc["grid"]
    places = [(arm, "answers", name) for arm in grid["arms"] for name in grid["benchmarks"]]
    trained = [arm for arm in grid["arms"] if (again.folder / arm / "train.parquet").exists()]
    places += [(arm, "training", None) for arm in trained]
    again.same("coherence rows", seen, Counter(places))
    for reported in again.item["coherence"]:
        arm, benchmark = reported["arm"], reported["benchmark"]
        rows = _list_training(again, arm) if benchmark is None else []
        for seed in grid["seeds"] if benchmark is not None else []:
            folder = again.folder / arm / f"seed-{seed}" / benchmark
            rows += _read(folder / "samples.parquet", "response", _read_counts(folder / "steps"))
        problems = again.dataset if benchmark is None else again.results / "benchmarks" / benchmark
        meta = pl.read_parquet(problems / "problems.parquet", columns=["meta"])["meta"].to_list()
        is_exact = isinstance(meta[0].get("steps"), list) and "result" in meta[0]["steps"][0]
        # the chain is read behind no wrong attempt
        is_exact &= benchmark is not None or not again.config["arms"][arm].get("self_correction")
        place = f"coherence {arm} {reported['texts']} {benchmark}"
        again.row(
            place, reported, {**_describe(rows, is_exact=is_exact), "texts": reported["texts"]}
        )


def _read_counts(path) -> dict[tuple, list[int]]:
    """(problem, sample) → the numbers of true, false and unknown steps."""
    rows = pl.read_parquet(path.with_suffix(".parquet")).rows(named=True)
    return {(row["problem_id"], row["sample_id"]): [row[name] for name in COUNTS] for row in rows}


def _read(path, column: str, counts: dict) -> list[tuple[str, list[int] | None]]:
    rows = pl.read_parquet(path).rows(named=True)
    return [(row[column], counts[row["problem_id"], row["sample_id"]]) for row in rows]


def _list_training(again: Recomputed, arm: str) -> list[tuple[str | None, list[int] | None]]:
    """The text of each training row and its counts of steps; (None, None) where it is cut."""
    folder = again.folder / arm
    files = {
        "teacher_trace": again.dataset / "trace_steps",
        "own_correct": again.folder / "steps",
        "own_sample": again.folder / "steps",
        "own_wrong": again.folder / "steps",
        "reflection": folder / "reflection_steps",
    }
    rows = pl.read_parquet(folder / "train.parquet").rows(named=True)
    if any(key.startswith("prefix") for key in again.config["arms"][arm].get("pack", {})):
        return [(None, None)] * len(rows)
    kinds = {row["target_kind"] for row in rows}
    counts = {kind: _read_counts(path) for kind, path in files.items() if kind in kinds}
    return [
        (
            row["completion"],
            counts[row["target_kind"]][row["problem_id"], row["sample_id"] or 0]
            if row["target_kind"] in counts
            else None,
        )
        for row in rows
    ]


def _describe(rows: list, *, is_exact: bool) -> dict:
    counts = [count for _, count in rows if count is not None]
    numbers = sorted(map(sum, counts))
    false = sum(count[1] > 0 for count in counts)
    texts = [text for text, _ in rows if text is not None]
    read = [_is_true(text) for text in texts if _is_read(text)] if is_exact else []
    repeated = [share for share in map(_repeat, texts) if share is not None]
    has_exact = is_exact and bool(texts)
    middle = len(numbers) // 2
    median = (numbers[middle] + numbers[~middle]) / 2 if numbers else None
    return {
        "count": len(rows),
        "checked": len(counts),
        "with_false_step": false,
        "share_false_step": false / len(counts) if counts else None,
        "mean_steps": sum(numbers) / len(numbers) if numbers else None,
        "median_steps": median,
        "readable": len(read) if has_exact else None,
        "wholly_true": sum(read) if has_exact else None,
        "share_wholly_true": sum(read) / len(read) if read else None,
        "with_ngram": len(repeated),
        "repeated_ngrams": sum(repeated) / len(repeated) if repeated else None,
    }


def _repeat(text: str) -> float | None:
    words = text.split()
    runs = Counter(" ".join(words[i : i + 4]) for i in range(len(words) - 3))
    return sum(count - 1 for count in runs.values()) / runs.total() if runs else None


def _list_parts(text: str) -> list[str]:
    chain = text[text.rfind("New:") + 4 :] if "New:" in text else text
    return chain.split("\\boxed")[0].split(";")


def _is_read(text: str) -> bool:
    *steps, rest = _list_parts(text)
    return any(HEAD.match(step) for step in ([*steps, rest] if rest.strip() else steps))


def _is_true(text: str) -> bool:
    """Whether each step and column holds, from the result of the step before, up to the box."""
    *steps, rest = [" ".join(part.split()) for part in _list_parts(text)]
    box = re.search(r"\\boxed\s*\{\s*(-?\d+)\s*\}", text[text.rfind("New:") + 1 :])
    if rest or not steps or box is None:
        return False
    value = None
    for step in steps:
        found = STEP.fullmatch(step)
        if found is None or (value is not None and int(found[1]) != value):
            return False
        left, operand = int(found[1]), int(found[3])
        value = {"+": left + operand, "-": left - operand, "*": left * operand}[found[2]]
        if value != int(found[5]):
            return False
        if found[4] is not None and not _hold_columns(found[4], left, found[2], operand):
            return False
    return value == int(box[1])


def _hold_columns(text: str, left: int, op: str, operand: int) -> bool:
    """Whether the columns are those of the numbers, from the ones on."""
    columns = COLUMN.findall(text)
    if "".join(match[0] for match in COLUMN.finditer(text)) + " " != text:
        return False
    width = len(str(left)) if op == "*" else max(len(str(left)), len(str(operand)))
    if len(columns) != width:
        return False
    carry = 0
    for place, (upper, sign, lower, carried, value) in enumerate(columns):
        top = int(str(left).zfill(width)[-1 - place])
        low = operand if op == "*" else int(str(operand).zfill(width)[-1 - place])
        if op == "-":
            top, carry = top - carry, int(top - carry < low)
            wanted = (top + 10 * carry, low, 0, top + 10 * carry - low)
        else:
            total = (top * low if op == "*" else top + low) + carry
            wanted, carry = (top, low, carry, total), total // 10
        if sign != op or (int(upper), int(lower), int(carried or 0), int(value)) != wanted:
            return False
    return True


def _compare_logs(again: Recomputed) -> None:
    trained = [row["arm"] for row in again.item["stability"]]
    wanted = [a for a in again.doc["grid"]["arms"] if (again.folder / a / "train.parquet").exists()]
    again.same("stability arms", trained, wanted)
    for reported in again.item["stability"]:
        runs = []
        for seed in again.doc["grid"]["seeds"]:
            path = again.folder / reported["arm"] / f"seed-{seed}" / "train_log.jsonl"
            entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            runs.append([entry for entry in entries if "loss" in entry])
        losses = [[entry["loss"] for entry in run] for run in runs]
        norms = [entry["grad_norm"] for run in runs for entry in run if "grad_norm" in entry]
        spikes = [
            sum(_is_spike(run[step], run[max(0, step - 32) : step]) for step in range(16, len(run)))
            for run in losses
        ]
        ends = [_mean(run[-max(1, round(len(run) / 10)) :]) for run in losses]
        rises = [run[i] - run[i - 1] for run in losses for i in range(1, len(run))]
        recomputed = {
            "seeds": len(runs),
            "steps": sum(len(run) for run in losses),
            "judged": sum(len(run[16:]) for run in losses),
            "spikes": sum(spikes),
            "seeds_with_spike": sum(bool(count) for count in spikes),
            "largest_rise": max(rises) if rises else None,
            "grad_norm_median": _median(norms) if norms else None,
            "grad_norm_largest": max(norms) if norms else None,
            "last_loss": _mean(ends),
            "lowest_seed": min(ends),
            "highest_seed": max(ends),
            "spread": math.sqrt(sum((e - _mean(ends)) ** 2 for e in ends) / (len(ends) - 1))
            if len(ends) > 1
            else None,
        }
        again.row(f"stability {reported['arm']}", reported, recomputed)


def _is_spike(loss: float, before: list[float]) -> bool:
    middle = _median(before)
    deviation = 1.4826 * _median([abs(each - middle) for each in before])
    return deviation > 0 and (loss - middle) / deviation > 7


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[~middle]) / 2


def _compare_policies(again: Recomputed) -> None:
    second = again.config["report"].get("second_policy")
    grid = again.doc["grid"]
    places = [(arm, name) for arm in grid["arms"] for name in grid["benchmarks"]] if second else []
    rows = again.item["second_policy"]
    again.same("second policy", [(row["arm"], row["benchmark"]) for row in rows], places)
    for reported in rows:
        arm, benchmark = reported["arm"], reported["benchmark"]
        pairs: Counter = Counter()
        for seed in grid["seeds"]:
            folder = again.folder / arm / f"seed-{seed}" / benchmark
            sides = [
                {
                    (row["problem_id"], row["sample_id"]): row["verdict"] == "correct"
                    for row in pl.read_parquet(path).rows(named=True)
                }
                for path in (folder / "verdicts.parquet", folder / "second" / "verdicts.parquet")
            ]
            assert sides[0].keys() == sides[1].keys(), folder
            pairs.update((right, sides[1][key]) for key, right in sides[0].items())
        one, other, both = pairs[True, False], pairs[False, True], pairs[True, True]
        recomputed = {
            "policy": again.config["benchmarks"][benchmark].get("policy", "math"),
            "second_policy": second,
            "answers": pairs.total(),
            "accuracy": (one + both) / pairs.total(),
            "second_accuracy": (other + both) / pairs.total(),
            "difference": (other - one) / pairs.total(),
            "disputed": one + other,
            "low": both / pairs.total(),
            "high": (one + other + both) / pairs.total(),
        }
        again.row(f"second policy {arm} {benchmark}", reported, recomputed)


def _compare_surprise(again: Recomputed) -> None:
    trained = [
        a for a in again.doc["grid"]["arms"] if (again.folder / a / "train.parquet").exists()
    ]
    is_asked = again.config["report"].get("surprise", False)
    rows = again.item["surprise"]
    again.same("surprise", [row["arm"] for row in rows], trained if is_asked else [])
    for reported in rows:
        path = again.folder / reported["arm"] / "surprise.parquet"
        documents = pl.read_parquet(path).rows(named=True)
        tokens = sum(each["tokens"] for each in documents)
        sums = {
            name: sum(each[name] * each["tokens"] for each in documents)
            for name in ("surprise", "rank")
        }
        mean = {name: _mean([each[name] for each in documents]) for name in sums}
        recomputed = {
            "trained_on": again.config["arms"][reported["arm"]]["trained_on"],
            "documents": len(documents),
            "tokens": tokens,
            "surprise": sums["surprise"] / tokens,
            "rank": sums["rank"] / tokens,
            "rank_surprise_ratio": mean["rank"] / mean["surprise"],
        }
        again.row(f"surprise {reported['arm']}", reported, recomputed)
