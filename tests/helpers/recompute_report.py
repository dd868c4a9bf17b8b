"""Compute the report's numbers again from the tables on disk, without the report's code.

``find_faults(results)`` returns one line for every number of report.json that does not follow from
the samples, verdicts, errors, reflections, train and packed tables and the training logs. Only
why a row was not packed is taken from packed/stats.json.
``report_page.py`` compares the CSV files and the page with report.json. Run both on any finished
results folder: ``python -m tests.helpers.recompute_report results``.
"""

import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from orion.demo.error_coverage import detailed_steps, first_wrong_step, revisited_steps
from orion.experiment import statistics
from tests.helpers import (
    recompute_coherence,
    recompute_comparisons,
    recompute_false_steps,
    recompute_groups,
    recompute_judge,
    recompute_measures,
    recompute_sources,
    uncertainty,
)

TOLERANCE = 1e-9
# prompts.jinja: a set of a test that extends demo
MARKERS = {"demo": "New:", "chat": "### Refined solution", "prompts.jinja": "New:"}


class Recomputed:
    """One student on one training set, read with plain polars."""

    def __init__(self, results: Path, doc: dict, item: dict):
        self.results, self.doc, self.item = results, doc, item
        self.config = json.loads(doc["provenance"]["config"]["whole"])
        self.dataset = results / "datasets" / item["dataset"]
        self.folder = self.dataset / item["model"]
        self.key = (item["dataset"], item["model"])
        self.bootstrap = {"confidence": doc["confidence"], "resamples": doc["bootstrap"]}
        self.wrong: list[str] = []

    def same(self, place: str, reported, recomputed) -> None:
        if isinstance(reported, float) or isinstance(recomputed, float):
            fits = (
                reported is not None
                and recomputed is not None
                and abs(reported - recomputed) <= TOLERANCE
            )
        else:
            fits = reported == recomputed
        if not fits:
            self.wrong.append(
                f"{'/'.join(self.key)} {place}: the report says {reported!r}, "
                f"the tables give {recomputed!r}"
            )

    def row(self, place: str, reported: dict, recomputed: dict) -> None:
        for name, value in recomputed.items():
            self.same(f"{place} {name}", reported[name], value)
        for name in (
            reported.keys()
            - recomputed.keys()
            - {"arm", "against", "benchmark", "scope", "filter", "order"}
        ):
            self.wrong.append(f"{'/'.join(self.key)} {place}: nothing recomputes {name}")

    def frames(self, arm: str, benchmark: str) -> list[pl.DataFrame]:
        folders = [
            self.folder / arm / f"seed-{seed}" / benchmark for seed in self.doc["grid"]["seeds"]
        ]
        return [_with_verdicts(f / "samples.parquet", f / "verdicts.parquet") for f in folders]

    def accuracies(self, arm: str, benchmark: str) -> np.ndarray:
        """(seeds, problems), problems sorted by id."""
        return np.stack([_accuracies(frame) for frame in self.frames(arm, benchmark)])

    def clusters(self, benchmark: str) -> dict[str, object]:
        """Problem → its cluster, or itself, sorted by problem."""
        rows = pl.read_parquet(self.results / "benchmarks" / benchmark / "problems.parquet")
        return recompute_sources.name_clusters(rows)

    def table(self) -> None:
        for reported in self.item["table"]:
            arm, benchmark = reported["arm"], reported["benchmark"]
            frames, values = self.frames(arm, benchmark), self.accuracies(arm, benchmark)
            rows = pl.concat(frames)
            k = frames[0].height // frames[0]["problem_id"].n_unique()
            told = {row["benchmark"]: row["num_samples"] for row in self.doc["evaluations"]}
            self.same(f"evaluations {benchmark}", told[benchmark], k)
            names = [*self.clusters(benchmark).values()]
            low, high = uncertainty.clustered_wilson(
                uncertainty.totals(k * values.sum(axis=0), names),
                uncertainty.totals([k * len(frames)] * values.shape[1], names),
                self.doc["confidence"],
            )
            by_seed = [(f["verdict"] == "correct").sum() / f.height for f in frames]
            any_right = [
                f.group_by("problem_id").agg((pl.col("verdict") == "correct").any())["verdict"]
                for f in frames
            ]
            recomputed = {
                "seeds": len(frames),
                "problems": frames[0]["problem_id"].n_unique(),
                "clusters": uncertainty.count_clusters(names),
                "k": k,
                "accuracy": (rows["verdict"] == "correct").sum() / rows.height,
                "low": low,
                "high": high,
                "lowest_seed": min(by_seed),
                "highest_seed": max(by_seed),
                "spread": uncertainty.deviation(by_seed),
                "pass_at_k": float(np.mean([series.sum() / series.len() for series in any_right])),
                "mean_completion_tokens": rows["completion_tokens"].sum() / rows.height,
                "unfinished": (rows["finish_reason"] == "length").sum() / rows.height,
                "failed": rows["finish_reason"].is_in(["prompt_too_long", "error"]).sum()
                / rows.height,
                "loop": sum(map(_loops, rows["response"])) / rows.height,
                **{
                    v: (rows["verdict"] == v).sum() / rows.height
                    for v in ("no_answer", "unparseable", "timeout")
                },
            }
            self.row(f"table {arm} {benchmark}", reported, {**recomputed, **self.training(arm)})

    def training(self, arm: str) -> dict:
        names = (
            "train_rows",
            "train_problems",
            "dropped_too_long",
            "rejected",
            "packed_tokens",
            "trained_tokens",
        )
        if not (self.folder / arm / "train.parquet").exists():
            return dict.fromkeys(
                (*names, "trained_tokens_per_row", "steps", "seen_trained_tokens", "passes")
            )
        train = pl.read_parquet(self.folder / arm / "train.parquet")
        packed = pl.read_parquet(self.folder / arm / "packed" / "train.parquet")
        stats = json.loads((self.folder / arm / "packed" / "stats.json").read_text("utf-8"))
        rejected = sum(stats["rejected"].values())
        documents = sum(len(lengths) for lengths in packed["seq_lengths"])
        trained = sum(label != -100 for labels in packed["labels"].to_list() for label in labels)
        last = [self.log(arm, seed)[-1] for seed in self.doc["grid"]["seeds"]]
        seen = max((e["trained_tokens"] for e in last if "trained_tokens" in e), default=None)
        return {
            "train_rows": train.height,
            "train_problems": len(set(train["problem_id"])),
            "dropped_too_long": train.height - documents - rejected,
            "rejected": rejected,
            "packed_tokens": sum(len(ids) for ids in packed["input_ids"]),
            "trained_tokens": trained,
            "trained_tokens_per_row": trained / documents,
            "steps": max(entry["step"] for entry in last),
            "seen_trained_tokens": seen,
            "passes": seen / trained if seen else None,
        }

    def log(self, arm: str, seed: int) -> list[dict]:
        path = self.folder / arm / f"seed-{seed}" / "train_log.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def comparisons(self) -> None:
        recompute_comparisons.compare(self)

    def base(self) -> None:
        rows = _with_verdicts(self.folder / "samples.parquet", self.folder / "verdicts.parquet")
        values = _accuracies(rows)
        counts = rows["problem_id"].value_counts().sort("problem_id")["count"].to_numpy()
        low, high = uncertainty.clustered_wilson(values * counts, counts, self.doc["confidence"])
        traces = pl.read_parquet(self.dataset / "problems.parquet")["teacher_trace"]
        verdicts = pl.read_parquet(self.dataset / "trace_verdicts.parquet")
        ranks: dict[str, list[int]] = {}
        for problem_id, rank, verdict in verdicts.select(
            "problem_id", "sample_id", "verdict"
        ).iter_rows():
            if verdict == "correct":
                ranks.setdefault(problem_id, []).append(rank)
        shares = Counter(rows["verdict"])
        recomputed = {
            "problems": values.size,
            "k": rows.height // values.size,
            "accuracy": shares["correct"] / rows.height,
            "low": low,
            "high": high,
            "both": sum(0 < v < 1 for v in values) / values.size,
            "all_right": sum(v == 1 for v in values) / values.size,
            "all_wrong": sum(v == 0 for v in values) / values.size,
            "incorrect": shares["incorrect"] / rows.height,
            "no_answer": shares["no_answer"] / rows.height,
            "unfinished": Counter(rows["finish_reason"])["length"] / rows.height,
            "mean_completion_tokens": rows["completion_tokens"].sum() / rows.height,
            "with_trace": traces.len() - traces.null_count(),
            "traces_correct": len(ranks),
            "trace_candidates": verdicts.height,
            "traces_not_first": sum(min(found) > 0 for found in ranks.values()),
        }
        self.row("base", self.item["base"], recomputed)

    def lengths(self) -> None:
        for reported in self.item["lengths"]:
            tokens = pl.concat(self.frames(reported["arm"], reported["benchmark"]))[
                "completion_tokens"
            ]
            recomputed = {
                "samples": tokens.len(),
                "mean": tokens.sum() / tokens.len(),
                "median": tokens.quantile(0.5, "linear"),
                "p90": tokens.quantile(0.9, "linear"),
                "longest": tokens.max(),
            }
            self.row(f"lengths {reported['arm']} {reported['benchmark']}", reported, recomputed)

    def reflected(self, arm: str) -> pl.DataFrame:
        return _with_verdicts(
            self.folder / arm / "reflections.parquet",
            self.folder / arm / "reflection_verdicts.parquet",
        )

    def refined(self, response: str) -> str:
        _, marker, after = response.rpartition(MARKERS[self.config["prompts"]])
        return after.strip() if marker else ""

    def count_false_reflections(self, arm: str) -> int:
        steps = pl.read_parquet(self.folder / arm / "reflection_steps.parquet")
        return sum(count > 0 for count in steps["false"])

    def reflections(self) -> None:
        for reported in self.item["reflections"]:
            rows = self.reflected(reported["arm"])
            correct = Counter(rows["verdict"])["correct"]
            share = statistics.wilson_interval(
                correct, rows.height, confidence=self.doc["confidence"]
            )
            recomputed = {
                "reflections": rows.height,
                "problems": len(set(rows["problem_id"])),
                "with_refined_part": sum(self.refined(text) != "" for text in rows["response"]),
                "share_refined": sum(self.refined(text) != "" for text in rows["response"])
                / rows.height,
                "correct": correct,
                "share_correct": correct / rows.height,
                "low": share.low,
                "high": share.high,
                "unfinished": Counter(rows["finish_reason"])["length"],
                "mean_completion_tokens": rows["completion_tokens"].sum() / rows.height,
            }
            self.row(f"reflections {reported['arm']}", reported, recomputed)

    def error_coverage(self) -> None:
        problems = pl.read_parquet(self.dataset / "problems.parquet")
        meta = dict(zip(problems["problem_id"], problems["meta"].to_list(), strict=True))
        samples = pl.read_parquet(self.folder / "samples.parquet").rows(named=True)
        texts = {(row["problem_id"], row["sample_id"]): row["response"] for row in samples}
        for reported in self.item["error_coverage"]:
            errors = pl.read_parquet(self.folder / reported["arm"] / "errors.parquet").rows(
                named=True
            )
            # an error of another model is none of the student's samples: what was shown of it
            own = {
                (e["problem_id"], e["rank"]): e["response"]
                if e["own_sample_id"] is None
                else texts[e["problem_id"], e["own_sample_id"]]
                for e in errors
            }
            pairs, unreadable = [], 0
            for row in self.reflected(reported["arm"]).rows(named=True):
                if reported["scope"] == "correct" and row["verdict"] != "correct":
                    continue
                for rank in row["error_ranks"]:
                    known = meta[row["problem_id"]]
                    wrong = first_wrong_step(known, own[row["problem_id"], rank])
                    refined = self.refined(row["response"])
                    steps = {s for s in detailed_steps(refined) if s < len(known["steps"])}
                    hits = revisited_steps(known, refined)
                    unreadable += wrong is None
                    if wrong is not None:
                        pairs.append((wrong in hits, len(steps), len(steps) / len(known["steps"])))
            revisited = sum(hit for hit, _, _ in pairs)
            share = (
                statistics.wilson_interval(revisited, len(pairs), confidence=self.doc["confidence"])
                if pairs
                else None
            )
            recomputed = {
                "pairs": len(pairs),
                "unreadable": unreadable,
                "revisited": revisited,
                "rate": revisited / len(pairs) if pairs else None,
                "low": share.low if share else None,
                "high": share.high if share else None,
                "chance": sum(c for _, _, c in pairs) / len(pairs) if pairs else None,
                "mean_detailed": sum(d for _, d, _ in pairs) / len(pairs) if pairs else None,
            }
            self.row(f"error coverage {reported['arm']} {reported['scope']}", reported, recomputed)

    def waterfall(self) -> None:
        """The counts that need no filter's code, the sums between the steps, the selected rows."""
        by_arm: dict[str, list[dict]] = {}
        for row in self.item["waterfall"]:
            by_arm.setdefault(row["arm"], []).append(row)
        for arm, steps in by_arm.items():
            rows = self.reflected(arm)
            known = {
                "no_refined_part": sum(self.refined(text) == "" for text in rows["response"]),
                "wrong_answer": sum(
                    self.refined(text) != "" and verdict != "correct"
                    for text, verdict in zip(rows["response"], rows["verdict"], strict=True)
                ),
                "truncated": rows.height - Counter(rows["finish_reason"])["stop"],
                "false_step": self.count_false_reflections(arm),
            }
            left = [rows.height, *(step["left"] for step in steps)]
            for step, (before, after) in zip(steps, pairwise(left), strict=True):
                place = f"waterfall {arm} {step['filter']}"
                self.same(f"{place} reflections", step["reflections"], rows.height)
                self.same(f"{place} removed", step["removed"], before - after)
                self.same(
                    f"{place} objects", step["objects"], known.get(step["filter"], step["objects"])
                )
        for reported in self.item["selection"]:
            train = pl.read_parquet(self.folder / reported["arm"] / "train.parquet")
            kinds = Counter(train["target_kind"])
            self.same(f"selection {reported['arm']} rows", reported["rows"], train.height)
            self.same(
                f"selection {reported['arm']} trained",
                reported["trained"],
                len(set(train["problem_id"])),
            )
            before = self.folder / reported["arm"] / "unmatched/train.parquet"
            removed = pl.read_parquet(before).height - train.height if before.exists() else None
            place = f"selection {reported['arm']} removed by matching"
            self.same(place, reported["removed_by_matching"], removed)
            for kind in ("solution", "teacher_trace", "own_correct", "reflection", "oracle"):
                self.same(f"selection {reported['arm']} {kind}", reported[kind], kinds[kind])


def _with_verdicts(responses: Path, verdicts: Path) -> pl.DataFrame:
    left, right = pl.read_parquet(responses), pl.read_parquet(verdicts)
    assert left.height == right.height, responses
    joined = left.join(
        right.select("problem_id", "sample_id", "verdict"),
        on=["problem_id", "sample_id"],
        how="left",
    )
    assert joined["verdict"].null_count() == 0, responses
    return joined


def _accuracies(frame: pl.DataFrame) -> np.ndarray:
    grouped = frame.group_by("problem_id").agg(
        right=(pl.col("verdict") == "correct").sum(), of=pl.len()
    )
    grouped = grouped.sort("problem_id")
    return grouped["right"].to_numpy() / grouped["of"].to_numpy()


def _loops(response: str) -> bool:
    words = response.split()
    return any(
        n >= 4
        for n in Counter(" ".join(words[i : i + 12]) for i in range(len(words) - 11)).values()
    )


def find_faults(results: str | Path) -> list[str]:
    """One line per disagreement between a results folder's report and its tables."""
    results = Path(results)
    doc = json.loads((results / "report" / "report.json").read_text(encoding="utf-8"))
    wrong = []
    for item in doc["results"]:
        again = Recomputed(results, doc, item)
        again.table()
        again.comparisons()
        again.base()
        again.lengths()
        again.reflections()
        again.error_coverage()
        recompute_false_steps.compare(again)
        recompute_measures.compare(again)
        recompute_coherence.compare(again)
        recompute_judge.compare(again)
        again.waterfall()
        wrong += again.wrong
    for item in doc["groups"]:
        again = Recomputed(results, doc, {**item, "model": ""})
        again.key = (item["dataset"], item["group"])
        recompute_groups.compare(again)
        wrong += again.wrong
    return wrong + recompute_sources.find_faults(results, doc)


if __name__ == "__main__":
    from tests.helpers import report_page

    folder = sys.argv[1] if len(sys.argv) > 1 else "results"
    lines = [*find_faults(folder), *report_page.find_faults(folder)]
    print("\n".join(lines) or "every number of the report follows from the tables")
    sys.exit(bool(lines))
