"""Compute the report's measures of samples, failures, levels and flips again.

For ``recompute_report.py``: one student on one training set as ``Recomputed``; disagreements are
added to its list. pass@r and maj@r are counted over all subsets, where there are few.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING

import polars as pl

from orion.answers.grouping import find_group
from tests.helpers import uncertainty

if TYPE_CHECKING:
    from tests.helpers.recompute_report import Recomputed

MAX_SUBSETS = 5_000
FIRST_WORDS = 12

# (arm, benchmark) → the samples of each seed, with their verdicts and steps
Answers = dict[tuple[str, str], list[list[dict]]]


def compare(again: Recomputed) -> None:
    """All tables of the module."""
    grid = again.doc["grid"]
    answers = {
        (arm, benchmark): _read_seeds(again, arm, benchmark)
        for arm in grid["arms"]
        for benchmark in grid["benchmarks"]
    }
    _compare_votes(again, answers)
    for (arm, benchmark), seeds in answers.items():
        rows = [row for seed in seeds for row in seed]
        _compare_answers(again, arm, benchmark, rows)
        _compare_failures(again, arm, benchmark, rows)
    _compare_levels(again, answers)
    _compare_flips(again, answers)
    _compare_data(again)


def _read_seeds(again: Recomputed, arm: str, benchmark: str) -> list[list[dict]]:
    """The samples of each seed, with their verdicts and steps."""
    seeds = []
    for seed in again.doc["grid"]["seeds"]:
        folder = again.folder / arm / f"seed-{seed}" / benchmark
        verdicts = {
            (row["problem_id"], row["sample_id"]): row
            for row in pl.read_parquet(folder / "verdicts.parquet").iter_rows(named=True)
        }
        steps = {
            (row["problem_id"], row["sample_id"]): row
            for row in pl.read_parquet(folder / "steps.parquet").iter_rows(named=True)
        }
        seeds.append(
            [
                row | verdicts[row["problem_id"], row["sample_id"]]
                | steps[row["problem_id"], row["sample_id"]]
                for row in pl.read_parquet(folder / "samples.parquet").iter_rows(named=True)
            ]
        )  # fmt: skip
    return seeds


def _by_problem(rows: list[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in sorted(rows, key=lambda row: row["problem_id"]):
        found.setdefault(row["problem_id"], []).append(row)
    return found


def _read_ballot(row: dict) -> str | None:
    if row["verdict"] == "correct":
        return "right"
    return None if row["extracted"] is None else find_group(row["extracted"])


def _count_subsets(ballots: list[str | None], r: int) -> tuple[float, float]:
    """The shares of the subsets of r ballots with a right one, and in which it wins the vote."""
    passed = won = 0.0
    for subset in itertools.combinations(ballots, r):
        passed += "right" in subset
        counts = Counter(answer for answer in subset if answer is not None)
        winners = [a for a, count in counts.items() if count == max(counts.values())]
        won += "right" in winners and 1 / len(winners)
    subsets = math.comb(len(ballots), r)
    return passed / subsets, won / subsets


def _compare_votes(again: Recomputed, answers: Answers) -> None:
    for reported in again.item["pass_at"]:
        arm, benchmark, r = reported["arm"], reported["benchmark"], reported["r"]
        seeds = [_by_problem(rows) for rows in answers[arm, benchmark]]
        samples = len(next(iter(seeds[0].values())))
        again.same(f"pass_at {arm} {benchmark} k", reported["k"], samples)
        if math.comb(samples, r) > MAX_SUBSETS:
            continue
        shares = [
            [_count_subsets([*map(_read_ballot, seed[name])], r) for seed in seeds]
            for name in seeds[0]
        ]
        clusters = [*again.clusters(benchmark).values()]
        trials = samples // r
        for number, name in enumerate(("pass_at", "maj_at")):
            sums = [sum(seed[number] for seed in problem) * trials for problem in shares]
            low, high = uncertainty.clustered_wilson(
                uncertainty.totals(sums, clusters),
                uncertainty.totals([trials * len(seeds)] * len(sums), clusters),
                again.doc["confidence"],
            )
            place = f"{name} {arm} {benchmark} {r}"
            value = sum(sums) / (trials * len(seeds) * len(sums))
            again.same(place, reported[name], value)
            again.same(f"{place} low", reported[f"{name}_low"], low)
            again.same(f"{place} high", reported[f"{name}_high"], high)


def _is_finished(row: dict) -> bool:
    return row["finish_reason"] in ("stop", "unknown")


def _compare_answers(again: Recomputed, arm: str, benchmark: str, rows: list[dict]) -> None:
    [reported] = _find(again.item["answers"], arm=arm, benchmark=benchmark)
    finished = [row for row in rows if _is_finished(row)]
    right = [row["verdict"] == "correct" for row in finished]
    clusters = again.clusters(benchmark)
    groups: dict[object, list[bool]] = {}
    for name, own in _by_problem(finished).items():
        groups.setdefault(clusters[name], []).extend(row["verdict"] == "correct" for row in own)
    low, high = (
        uncertainty.clustered_wilson(
            [sum(g) for g in groups.values()],
            [len(g) for g in groups.values()],
            again.doc["confidence"],
        )
        if finished
        else (None, None)
    )
    tokens = sum(row["completion_tokens"] for row in rows)
    finished_tokens = sum(row["completion_tokens"] for row in finished)
    correct = sum(row["verdict"] == "correct" for row in rows)
    recomputed = {
        "answers": len(rows),
        "finished": len(finished),
        "share_finished": len(finished) / len(rows),
        "accuracy_finished": sum(right) / len(right) if right else None,
        "low": low,
        "high": high,
        "tokens": tokens,
        "mean_tokens": tokens / len(rows),
        "mean_tokens_finished": finished_tokens / len(finished) if finished else None,
        "correct_per_1000_tokens": correct / tokens * 1000 if tokens else None,
    }
    again.row(f"answers {arm} {benchmark}", reported, recomputed)


def _find_cohort(row: dict) -> str:
    words = row["response"].split()
    spans = Counter(
        " ".join(words[i : i + FIRST_WORDS]) for i in range(len(words) - FIRST_WORDS + 1)
    )
    if max(spans.values(), default=0) >= 4:
        return "loop"
    if not _is_finished(row):
        return "unfinished" if row["finish_reason"] == "length" else "failed"
    if row["verdict"] != "incorrect":
        return "no_answer" if row["verdict"] == "no_answer" else "not_understood"
    return "false_step" if row["false"] else "no_false_step"


def _compare_failures(again: Recomputed, arm: str, benchmark: str, rows: list[dict]) -> None:
    wrong = [row for row in rows if row["verdict"] != "correct"]
    counts = Counter(map(_find_cohort, wrong))
    reported = _find(again.item["cohorts"], arm=arm, benchmark=benchmark)
    place = f"cohorts {arm} {benchmark}"
    again.same(f"{place} sum", sum(row["count"] for row in reported), len(wrong))
    for row in reported:
        recomputed = {
            "answers": len(rows),
            "wrong": len(wrong),
            "cohort": row["cohort"],
            "count": counts[row["cohort"]],
            "share": counts[row["cohort"]] / len(wrong) if wrong else None,
        }
        again.row(f"{place} {row['cohort']}", row, recomputed)
    places: dict[str, Counter] = {}
    for row in wrong:
        if _find_cohort(row) == "false_step":
            step = row["first_false"]
            part = int(3 * step["start"] / len(row["response"]))
            third = ("first", "middle", "last")[part]
            places.setdefault(step["rule"], Counter())[third] += 1
    found = _find(again.item["first_false_steps"], arm=arm, benchmark=benchmark)
    again.same(f"first false steps {arm} {benchmark}", {r["rule"] for r in found}, set(places))
    for row in found:
        expected = {third: places[row["rule"]][third] for third in ("first", "middle", "last")}
        expected |= {"answers": sum(expected.values()), "rule": row["rule"]}
        again.row(f"first false steps {arm} {benchmark} {row['rule']}", row, expected)


def _compare_levels(again: Recomputed, answers: Answers) -> None:
    for reported in again.item["levels"]:
        benchmark, field, value = (reported[name] for name in ("benchmark", "field", "value"))
        path = again.results / "benchmarks" / benchmark / "problems.parquet"
        metas = pl.read_parquet(path, columns=["problem_id", "meta"]).rows(named=True)
        members = {
            row["problem_id"]
            for row in metas
            if field in row["meta"] and _write(row["meta"][field]) == value
        }
        rows = [row for seed in answers[reported["arm"], benchmark] for row in seed]
        own = [row["verdict"] == "correct" for row in rows if row["problem_id"] in members]
        place = f"levels {reported['arm']} {benchmark} {field} {value}"
        if members:  # not for tags, counts of steps and what is left over
            again.same(f"{place} problems", reported["problems"], len(members))
            again.same(place, reported["accuracy"], sum(own) / len(own))


def _write(value: object) -> str:
    if value is None:
        return "(none)"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compare_flips(again: Recomputed, answers: Answers) -> None:
    for reported in again.item["flips"]:
        arm, against, benchmark = (reported[name] for name in ("arm", "against", "benchmark"))
        place = f"flips {arm} {against} {benchmark}"
        if not {(arm, benchmark), (against, benchmark)} <= answers.keys():
            again.same(place, reported["better"], None)
            continue
        one, other = (
            {
                name: [row["verdict"] == "correct" for row in rows]
                for name, rows in _by_problem(
                    [*itertools.chain(*answers[named, benchmark])]
                ).items()
            }
            for named in (arm, against)
        )
        signs = {name: sum(one[name]) * len(other[name]) - sum(other[name]) * len(one[name])
                 for name in one}  # fmt: skip
        solved = Counter((any(one[name]), any(other[name])) for name in one)
        recomputed = {
            "problems": len(one),
            "better": sum(sign > 0 for sign in signs.values()),
            "worse": sum(sign < 0 for sign in signs.values()),
            "equal": sum(sign == 0 for sign in signs.values()),
            "both": solved[True, True],
            "only_arm": solved[True, False],
            "only_against": solved[False, True],
            "neither": solved[False, False],
        }
        recomputed |= _count_between_runs(answers, arm, against, benchmark)
        again.row(place, reported, recomputed)
        listed = _find(again.item["largest_flips"], arm=arm, against=against, benchmark=benchmark)
        sizes = sorted(abs(signs[row["problem_id"]]) for row in listed if row["difference"] > 0)
        best = sorted(sign for sign in signs.values() if sign > 0)[-len(sizes) :] if sizes else []
        again.same(f"largest {place}", sizes, best)
        for row in listed:
            name = row["problem_id"]
            counts = {
                "problem_id": name,
                "right": sum(one[name]),
                "samples": len(one[name]),
                "against_right": sum(other[name]),
                "against_samples": len(other[name]),
                "difference": sum(one[name]) / len(one[name]) - sum(other[name]) / len(other[name]),
            }
            again.row(f"largest {place} {name}", row, counts)


def _count_between_runs(answers: Answers, arm: str, against: str, benchmark: str) -> dict:
    runs = {
        named: [
            {
                name: sum(r["verdict"] == "correct" for r in own)
                for name, own in _by_problem(rows).items()
            }
            for rows in answers[named, benchmark]
        ]
        for named in (arm, against)
    }

    def mean(pairs: list) -> float | None:
        counts = [sum(a[name] != b[name] for name in a) for a, b in pairs]
        return sum(counts) / len(counts) if counts else None

    within = [mean([*itertools.combinations(runs[named], 2)]) for named in (arm, against)]
    known = [value for value in within if value is not None]
    return {
        "runs_of_both": mean([*itertools.product(runs[arm], runs[against])]),
        "runs_of_one": sum(known) / len(known) if known else None,
    }


def _find(rows: list[dict], **wanted: str) -> list[dict]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _compare_data(again: Recomputed) -> None:
    for reported in again.item["data_tokens"]:
        kind = again.config["arms"][reported["arm"]]["trained_on"]
        sources = {
            "sample": again.folder / "samples.parquet",
            "reflection": again.folder / reported["arm"] / "reflections.parquet",
        }
        uses = {
            "sample": kind in ("own_correct", "own_sample", "error_pairs", "reflection", "oracle"),
            "reflection": kind == "reflection",
        }
        recomputed: dict[str, object] = {"trained_on": kind, "tokens": 0}
        for name, path in sources.items():
            found = pl.read_parquet(path)["completion_tokens"].to_list() if uses[name] else []
            recomputed |= {f"{name}s": len(found), f"{name}_tokens": sum(found)}
            recomputed["tokens"] += sum(found)
        again.row(f"data tokens {reported['arm']}", reported, recomputed)
