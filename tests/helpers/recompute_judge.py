"""Compute the report's table of the judge again, for ``recompute_report.py``.

Input: one student on one training set as ``Recomputed``. Disagreements are added to its list.
Verdicts are read from the replies themselves, by the letters of their last lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from tests.helpers import uncertainty

if TYPE_CHECKING:
    from tests.helpers.recompute_report import Recomputed

LETTERS = ("[[A]]", "[[B]]", "[[tie]]")


def compare(again: Recomputed) -> None:
    """The rows of the judge, and what the page says of how it was asked."""
    judge = again.config["report"].get("judge")
    asked = again.doc["judge"]
    again.same("judge", asked, judge)
    rows = again.item["judge"]
    places = [(row["arm"], row["against"], row["benchmark"]) for row in rows]
    tested = [
        (each["arm"], each["against"], benchmark)
        for each in again.config["comparisons"] if judge
        for benchmark in each.get("benchmarks") or again.doc["grid"]["benchmarks"]
        if each.get("group") is None or each["group"] in again.item["groups"]
    ]  # fmt: skip
    again.same("judged pairs", places, [*dict.fromkeys(tested)])
    for reported in rows:
        place = f"judge {reported['arm']} {reported['against']} {reported['benchmark']}"
        again.row(place, reported, _measure(again, reported))


def _read(row: dict) -> str:
    """What the last line of a reply says: first, second, tie or nothing."""
    last = row["response"].strip().split("\n")[-1] if row["response"].strip() else ""
    said = [letter for letter in LETTERS if letter in last]
    if len(said) != 1 or row["finish_reason"] == "length":
        return "nothing"
    return {"[[A]]": "first", "[[B]]": "second", "[[tie]]": "tie"}[said[0]]


def _settle(said: list[str]) -> str:
    """The verdict of one order by its replies."""
    counts = {word: said.count(word) for word in ("first", "second", "tie")}
    most = max(counts.values())
    if most == 0:
        return "nothing"
    winners = [word for word, count in counts.items() if count == most]
    return winners[0] if len(winners) == 1 else "tie"


def _measure(again: Recomputed, row: dict) -> dict:
    arm, against, benchmark = row["arm"], row["against"], row["benchmark"]
    folder = again.folder / arm / "judged" / against / benchmark
    replies: dict[str, dict[str, list[str]]] = {}
    for reply in pl.read_parquet(folder / "judgements.parquet").rows(named=True):
        by_order = replies.setdefault(reply["problem_id"], {})
        by_order.setdefault(reply["order"], []).append(_read(reply))
    seed = again.doc["grid"]["seeds"][0]
    false = []
    for name in (arm, against):
        steps = pl.read_parquet(again.folder / name / f"seed-{seed}" / benchmark / "steps.parquet")
        own = [each for each in steps.rows(named=True) if each["sample_id"] == 0]
        false.append({each["problem_id"]: each["false"] > 0 for each in own})
    points, outcomes, words = {}, {}, []
    for problem, by_order in sorted(replies.items()):
        own, other = (_settle(by_order[order]) for order in ("arm_first", "against_first"))
        words += [word for said in by_order.values() for word in said]
        # the second order shows the other text first
        other = {"first": "second", "second": "first"}.get(other, other)
        if "nothing" in (own, other):
            outcomes[problem] = "nothing"
            continue
        outcomes[problem] = own if own == other else "differ"
        points[problem] = {"first": 2, "second": 0}.get(outcomes[problem], 1)
    names = again.clusters(benchmark)
    groups = [names[problem] for problem in points]
    low, high = uncertainty.clustered_wilson(
        uncertainty.totals(points.values(), groups),
        uncertainty.totals([2] * len(points), groups),
        again.doc["confidence"],
    )
    count = [*outcomes.values()].count
    decided = [word for word in words if word in ("first", "second")]
    repeats = [
        said[i] == said[j]
        for by_order in replies.values()
        for said in by_order.values()
        for i in range(len(said))
        for j in range(i)
        if "nothing" not in (said[i], said[j])
    ]
    clear = [problem for problem in outcomes if false[0][problem] != false[1][problem]]
    right = [
        (outcomes[problem] == "first") == false[1][problem]
        for problem in clear
        if outcomes[problem] in ("first", "second")
    ]
    return {
        "win_rate": sum(points.values()) / (2 * len(points)),
        "low": low,
        "high": high,
        "pairs": len(outcomes),
        "wins": count("first"),
        "losses": count("second"),
        "ties": count("tie"),
        "inconsistent": count("differ"),
        "unreadable": count("nothing"),
        "replies": len(words),
        "unreadable_replies": words.count("nothing"),
        "position_bias": decided.count("first") / len(decided) if decided else None,
        "self_agreement": sum(repeats) / len(repeats) if repeats else None,
        "swap_agreement": 1 - count("differ") / len(points),
        "step_pairs": len(clear),
        "step_decided": len(right),
        "step_agreement": sum(right) / len(right) if right else None,
    }
