"""The tests over groups of students computed again, from the verdicts and with mpmath."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from orion.experiment import statistics
from tests.helpers import recompute_comparisons as single
from tests.helpers import uncertainty
from tests.helpers.recompute_plan import History

if TYPE_CHECKING:
    from tests.helpers.recompute_report import Recomputed


def stack(again: Recomputed, entries: list[str], arm: str, benchmark: str) -> np.ndarray:
    """(draws, seeds, problems) of one student."""
    found = []
    for name in entries:
        again.folder = again.dataset / name
        found.append(again.accuracies(arm, benchmark))
    return np.stack(found)


def compare(again: Recomputed) -> None:
    """Add what does not follow to ``again.wrong``; ``again`` is of one group."""
    item = again.item
    history = History(again.results, item["dataset"], "", item["group"])
    planned = history.rows()
    columns = ("arm", "against", "benchmark", "kind", "status", "evaluations")
    wanted = [(c["arm"], c["against"], b, c["kind"], s, n) for c, b, s, n in planned]
    rows = item["comparisons"]
    again.same("comparisons planned", [tuple(r[c] for c in columns) for r in rows], wanted)
    is_confirmatory = single.compare_plan(again, history)
    family = [row for row in rows if row["status"] in single.FAMILY]
    holm = single.holm_p_values([row["p"] for row in family])
    corrected = dict(zip(map(id, family), holm, strict=True))
    alone = iter(item["alone"])
    for test, (row, (comparison, *_)) in enumerate(zip(rows, planned, strict=True)):
        if row["reading"] == "not run":
            continue
        compare_row(again, row, comparison, corrected.get(id(row)), is_confirmatory)
        for entries in comparison["entries"]:
            place = (test, row["benchmark"])
            compare_student(again, next(alone), comparison, place, entries)


def read_margin(comparison: dict) -> float:
    return float(comparison["margin"].split()[0]) / 100 if "margin" in comparison else 0.0


def compare_row(again, row, comparison, p_holm, is_confirmatory) -> None:
    names = (comparison["arm"], comparison["against"], row["benchmark"])
    ours, theirs = (
        [stack(again, entries, arm, names[2]) for entries in comparison["entries"]]
        for arm in names[:2]
    )
    margin = read_margin(comparison)
    found = describe(again, row, ours, theirs, (*again.key, *names), margin)
    p_holm = p_holm if row["p"] is not None else None
    named = p_holm is not None and p_holm <= 1 - again.doc["confidence"]
    reading = single.name_verdict(row["kind"], found["difference"], margin) if named else "unclear"
    reading = "exploratory" if row["status"] == "added" else reading
    outcome = None
    if is_confirmatory and row["status"] in single.FAMILY and comparison.get("expect"):
        outcome = single.OUTCOMES.get((comparison["expect"], reading), "open")
    again.row(
        f"group {names}",
        row,
        {
            "status": row["status"],
            "evaluations": row["evaluations"],
            "kind": comparison["kind"],
            "margin": margin or None,
            "expect": comparison.get("expect"),
            "outcome": outcome,
            "p_holm": p_holm,
            "reading": reading,
            **found,
        },
    )


def compare_student(again, row, comparison, place, entries) -> None:
    """A row of one student: over its draws if it has several, else over its seeds."""
    test, benchmark = place
    names = (comparison["arm"], comparison["against"], benchmark)
    ours, theirs = (stack(again, entries, arm, benchmark) for arm in names[:2])
    key = (*again.key, *names, entries[0])
    if len(entries) > 1:
        found = describe(again, row, [ours], [theirs], key, read_margin(comparison))
    else:
        pairs = ours[0].mean(axis=0) - theirs[0].mean(axis=0)
        of_problem = [*again.clusters(benchmark).values()]
        over = {**row, "kind": comparison["kind"]}
        found = single.over_runs(
            again, ours[0].tolist(), theirs[0].tolist(), over, read_margin(comparison), of_problem
        )
        found |= {"problems": pairs.size, "seeds": len(ours[0]), "difference": pairs.mean()}
        found |= resample(again, pairs, of_problem, key)
    named = f"group {names} {entries[0]}"
    columns = ("problems", "seeds", "difference", "low", "high", "low_runs", "high_runs")
    recomputed = {name: found[name] for name in (*columns, "detectable")}
    again.row(
        named,
        row,
        {
            **recomputed,
            "test": test,
            "student": entries[0],
            "draws": len(entries),
            "kind": comparison["kind"],
        },
    )


def resample(again, pairs, of_problem, key) -> dict:
    clusters = single.number_clusters(of_problem)
    interval = statistics.bootstrap_interval(
        pairs, key=("difference", *key), clusters=clusters, **again.bootstrap
    )
    return {"low": interval.low, "high": interval.high}


def describe(again, row, ours, theirs, key, margin) -> dict:
    """The columns of a test over students, or over the draws of one; (draws, seeds, problems)."""
    of_problem = [*again.clusters(key[4]).values()]
    by_entry = [(a - b).mean(axis=1) for a, b in zip(ours, theirs, strict=True)]
    by_student = np.stack([each.mean(axis=0) for each in by_entry])
    table = by_student if len(by_student) > 1 else by_entry[0]
    pairs = by_student.mean(axis=0)
    by_seed = np.mean(
        [(a - b).mean(axis=(0, 2)) for a, b in zip(ours, theirs, strict=True)], axis=0
    )
    rounded = np.round(pairs, 9)
    flipped = np.round(uncertainty.totals(rounded, of_problem), 9)
    draws = [each.mean(axis=1) for each in by_entry]
    free = sum(len(each) - 1 for each in draws)
    squares = sum(uncertainty.sum_of_squares(each) for each in draws)
    return {
        "problems": pairs.size,
        "clusters": uncertainty.count_clusters(of_problem),
        "seeds": len(by_seed),
        "difference": float(pairs.mean()),
        **resample(again, pairs, of_problem, key),
        "lowest_seed": float(by_seed.min()),
        "highest_seed": float(by_seed.max()),
        "spread": uncertainty.deviation(by_seed),
        "better": int((rounded > 0).sum()),
        "worse": int((rounded < 0).sum()),
        "tied": int((rounded == 0).sum()),
        "p_problems": statistics.sign_flip_p_value(flipped, key=("p", *key)),
        "students": len(ours),
        "draws": min(map(len, ours)),
        "few": len(table) - 1,
        "floor": math.sqrt(squares / free) if free else None,
        **components(ours, theirs, by_entry, by_student, of_problem),
        **over_rows(again, row, table, of_problem, margin),
    }


def components(ours, theirs, by_entry, by_student, of_problem) -> dict:
    """Each level's variance between rows less what the levels below leave in it."""
    names = of_problem if uncertainty.count_clusters(of_problem) else None
    n, seeds = ours[0].shape[2], ours[0].shape[1]

    def between(tables) -> float | None:
        several = [(t, len(t) - 1) for t in tables if len(t) > 1]
        if not several:
            return None
        parts = [(uncertainty.anova(t.tolist(), names), free) for t, free in several]
        total = sum(free * (run - rest) / n for (run, rest), free in parts)
        return total / sum(free for _, free in parts)

    def root(value: float | None, below: float = 0.0) -> float | None:
        return None if value is None else math.sqrt(max(0.0, value - below))

    of_seed = root(between([table for tables in (ours, theirs) for s in tables for table in s]))
    noise = 2 * (of_seed or 0.0) ** 2 / seeds
    of_draw = root(between(by_entry), noise)
    share = sum(1 / len(each) for each in by_entry) / len(by_entry)
    of_student = root(between([by_student]), (noise + (of_draw or 0.0) ** 2) * share)
    return {"sd_students": of_student, "sd_draws": of_draw, "sd_runs": of_seed}


def over_rows(again, row, table, of_problem, margin) -> dict:
    """The columns that are about new rows, and the components of problems and the rest."""
    value, error, weight, degrees = uncertainty.estimate_paired(table.tolist(), of_problem)
    few, alpha = len(table) - 1, 1 - again.doc["confidence"]
    critical = uncertainty.mixed_quantile(alpha, degrees, few, weight)
    names = of_problem if uncertainty.count_clusters(of_problem) else None
    _, rest = uncertainty.anova(table.tolist(), names)
    of_problems = uncertainty.variance_of(table.mean(axis=0).tolist(), names)
    found = {
        "standard_error": error,
        "degrees": float(degrees),
        "weight": weight,
        "low_runs": value - critical * error,
        "high_runs": value + critical * error,
        "detectable": row["detectable"],
        "sd_problems": math.sqrt(max(0.0, of_problems - rest / len(table))),
        "sd_rest": math.sqrt(rest),
    }
    if "p" in row:
        # the quantile of the reported p is the difference, from the margin that it lies by
        kind = row["kind"]
        distance = abs(value) - margin if kind == "equivalence" else value + margin
        quantile = uncertainty.mixed_quantile(row["p"], degrees, few, weight)
        fits = abs(quantile * error - abs(distance)) < 1e-6
        found["p"] = row["p"] if fits else f"of a difference of {quantile * error}"
    # found with a power of 80 %, after Satterthwaite's degrees of the variance
    free = 1 / ((1 - weight) ** 2 / degrees + weight**2 / few)
    power = uncertainty.noncentral_power(row["detectable"] / error, free, alpha, critical)
    again.same("power over students", round(power, 6), 0.8)
    return found
