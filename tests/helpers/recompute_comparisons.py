"""The comparisons computed again: what was registered by plan.json, the tests with mpmath."""

import math

import numpy as np

from orion.experiment import statistics
from tests.helpers import uncertainty
from tests.helpers.recompute_plan import History

FAMILY = ("registered", "removed")


def compare(again) -> None:
    """Add what does not follow to ``again.wrong``; ``again`` is a ``Recomputed`` of one student."""
    history = History(again.results, *again.key)
    rows = again.item["comparisons"]
    wanted = [
        (c["arm"], c["against"], benchmark, c["kind"], status, evaluations)
        for c, benchmark, status, evaluations in history.rows()
    ]
    columns = ("arm", "against", "benchmark", "kind", "status", "evaluations")
    again.same("comparisons planned", [tuple(r[c] for c in columns) for r in rows], wanted)
    is_confirmatory = compare_plan(again, history)
    family = [row for row in rows if row["status"] in FAMILY]
    holm = dict(zip(map(id, family), holm_p_values([row["p"] for row in family]), strict=True))
    for row, (planned, *_) in zip(rows, history.rows(), strict=True):
        compare_row(again, row, planned, holm.get(id(row)), is_confirmatory)


def compare_plan(again, history: History) -> bool:
    """Compare what is said of the plan itself; whether its tests are confirmatory."""
    plan, grid = again.item["plan"], again.doc["grid"]
    recorded = history.recorded(grid["arms"], grid["seeds"])
    again.same("plan recorded", plan["recorded"], recorded)
    is_reliable = history.is_whole() and not recorded["foreign"] and not recorded["absent"]
    again.same("plan is_reliable", plan["is_reliable"], is_reliable)
    is_confirmatory = is_reliable and not history.changed_terms()
    again.same("plan reasons", not plan["reasons"], is_confirmatory)
    return is_confirmatory


def compare_row(again, row: dict, planned: dict, p_holm: float | None, confirmatory: bool) -> None:
    names = (row["arm"], row["against"], row["benchmark"])
    margin = float(planned["margin"].split()[0]) / 100 if "margin" in planned else None
    grid = again.doc["grid"]
    known = {names[0], names[1]} <= set(grid["arms"]) and names[2] in grid["benchmarks"]
    reading = "not run" if not known else "exploratory" if row["status"] == "added" else None
    p_holm = p_holm if known and row["status"] in FAMILY and row["p"] is not None else None
    recomputed = {
        "evaluations": row["evaluations"],
        "kind": planned["kind"],
        "margin": margin,
        "expect": planned.get("expect"),
        "p_holm": p_holm,
    }
    value = None
    if known:
        ours, theirs = again.accuracies(names[0], names[2]), again.accuracies(names[1], names[2])
        value = float(ours.mean() - theirs.mean())
        recomputed |= describe(again, row, ours, theirs, margin or 0.0)
    else:
        recomputed |= dict.fromkeys(row.keys() - recomputed.keys() - PLANNED)
    if reading is None:
        named = p_holm is not None and p_holm <= 1 - again.doc["confidence"]
        reading = name_verdict(row["kind"], value, margin or 0.0) if named else "unclear"
    outcome = None
    if confirmatory and row["status"] in FAMILY and planned.get("expect"):
        outcome = OUTCOMES.get((planned["expect"], reading), "open")
    recomputed |= {"reading": reading, "outcome": outcome}
    again.row(f"comparisons {names}", row, {"status": row["status"], **recomputed})


PLANNED = {"arm", "against", "benchmark", "status", "evaluations", "reading", "outcome"}
OUTCOMES = {
    ("above", "above"): "confirmed",
    ("below", "below"): "confirmed",
    ("equal", "equivalent"): "confirmed",
    ("above", "below"): "refuted",
    ("below", "above"): "refuted",
    ("equal", "different"): "refuted",
}


def name_verdict(kind: str, value: float, margin: float) -> str:
    if kind == "equivalence":
        return "equivalent" if -margin < value < margin else "different"
    if kind == "non-inferiority":
        return "not inferior" if value > -margin else "inferior"
    return "above" if value > 0 else "below"


def describe(again, row: dict, ours: np.ndarray, theirs: np.ndarray, margin: float) -> dict:
    """The columns of one test; ``ours`` and ``theirs`` ``(seeds, problems)``."""
    names = (row["arm"], row["against"], row["benchmark"])
    differences = ours.mean(axis=0) - theirs.mean(axis=0)
    pairs = np.round(differences, 9)
    of_problem = [*again.clusters(names[2]).values()]
    clusters = number_clusters(of_problem)
    interval = statistics.bootstrap_interval(
        differences, key=("difference", *again.key, *names), clusters=clusters, **again.bootstrap
    )
    flipped = np.round(uncertainty.totals(pairs, of_problem), 9)
    by_seed = ours.mean(axis=1) - theirs.mean(axis=1)
    mean = by_seed.mean()
    spread = float(((by_seed - mean) ** 2).sum() / max(1, by_seed.size - 1)) ** 0.5
    return {
        "problems": pairs.size,
        "clusters": uncertainty.count_clusters(of_problem),
        "seeds": len(by_seed),
        "difference": float(ours.mean() - theirs.mean()),
        "low": interval.low,
        "high": interval.high,
        **over_runs(again, ours.tolist(), theirs.tolist(), row, margin, of_problem),
        "lowest_seed": float(by_seed.min()),
        "highest_seed": float(by_seed.max()),
        "spread": spread if by_seed.size > 1 else None,
        "better": int((pairs > 0).sum()),
        "worse": int((pairs < 0).sum()),
        "tied": int((pairs == 0).sum()),
        "p_problems": statistics.sign_flip_p_value(flipped, key=("p", *again.key, *names)),
    }


def number_clusters(names: list) -> np.ndarray | None:
    """The number of each problem's cluster by its first appearance; None where all are apart."""
    if uncertainty.count_clusters(names) is None:
        return None
    order = [name for i, name in enumerate(names) if name not in names[:i]]
    return np.array([order.index(name) for name in names])


def over_runs(again, ours: list, theirs: list, row: dict, margin: float, of_problem: list) -> dict:
    """The columns of a comparison that are about new runs; ``row`` as reported."""
    names = ("standard_error", "degrees", "weight", "few", "low_runs", "high_runs", "p")
    parts = ("sd_problems", "sd_runs", "sd_rest")
    found = uncertainty.estimate(ours, theirs, of_problem)
    if found is None:
        return dict.fromkeys((*names, "detectable", *parts))
    value, error, *law = found  # degrees of the problems, weight and degrees of the runs
    alpha = 1 - again.doc["confidence"]
    critical = uncertainty.bound(alpha, *law)
    # the reported effect must be found with a power of 80 %, after the variance's own degrees
    degrees, weight, few = law
    free = 1 / ((1 - weight) ** 2 / degrees + weight**2 / few)
    power = uncertainty.noncentral_power(row["detectable"] / error, free, alpha, critical)
    again.same(f"power of {row['arm']}", round(power, 6), 0.8)
    # the bound at the reported p is the difference, from the margin that it lies by
    distance = abs(value) - margin if row["kind"] == "equivalence" else value + margin
    p = row.get("p")  # a student's row within a group has none
    if p is not None:
        at = uncertainty.bound(p, *law) * error
        # no number equals this one
        p = p if abs(at - abs(distance)) < 1e-6 else math.nan
    half = critical * error
    values = (error, *law, value - half, value + half, p)
    found_parts = uncertainty.components(ours, theirs, of_problem)
    found_values = (*values, row["detectable"], *found_parts)
    return dict(zip((*names, "detectable", *parts), found_values, strict=True))


def holm_p_values(values: list[float | None]) -> list[float]:
    """By the definition: the largest (m - j + 1) p_(j) over all j up to a hypothesis' own rank.

    A test without a p value counts in m.
    """
    known = [1.0 if p is None else p for p in values]
    ranked = sorted(known)
    steps = [min(1.0, (len(known) - j) * p) for j, p in enumerate(ranked)]
    return [max(steps[: ranked.index(p) + ranked.count(p)]) for p in known]
