"""Compute the report's numbers again from the tables on disk, without the report's code, and compare.

``faults(results)`` returns one line for every number of report.json that does not follow from the samples, verdicts, errors,
reflections, train and packed tables and training logs. ``shown.py`` compares the CSV files and the page with report.json.
Run both on any finished results folder: ``python tests/orion/report/recompute.py results``.
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

TOLERANCE = 1e-9
MARKERS = {"demo": "New:", "chat": "### Refined solution"}


class Recomputed:
    """One student on one training set, read with plain polars."""

    def __init__(self, results: Path, doc: dict, street: dict):
        self.results, self.doc, self.street = results, doc, street
        self.config = json.loads(doc["provenance"]["config"]["whole"])
        self.folder = results / street["dataset"] / street["model"]
        self.key = (street["dataset"], street["model"])
        self.drawn = {"confidence": doc["confidence"], "resamples": doc["bootstrap"]}
        self.wrong: list[str] = []

    def same(self, place: str, told, found) -> None:
        if isinstance(told, float) or isinstance(found, float):
            fits = told is not None and found is not None and abs(told - found) <= TOLERANCE
        else:
            fits = told == found
        if not fits:
            self.wrong.append(
                f"{'/'.join(self.key)} {place}: the report says {told!r}, the tables give {found!r}"
            )

    def row(self, place: str, told: dict, found: dict) -> None:
        for name, value in found.items():
            self.same(f"{place} {name}", told[name], value)
        for name in (
            told.keys() - found.keys() - {"arm", "against", "benchmark", "scope", "filter", "order"}
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

    def table(self) -> None:
        for told in self.street["table"]:
            arm, benchmark = told["arm"], told["benchmark"]
            frames, values = self.frames(arm, benchmark), self.accuracies(arm, benchmark)
            rows = pl.concat(frames)
            interval = statistics.bootstrap_interval(
                values.mean(axis=0),
                key=("accuracy", *self.key, arm, benchmark),
                proportion=True,
                **self.drawn,
            )
            by_seed = [(f["verdict"] == "correct").sum() / f.height for f in frames]
            any_right = [
                f.group_by("problem_id").agg((pl.col("verdict") == "correct").any())["verdict"]
                for f in frames
            ]
            found = {
                "seeds": len(frames),
                "problems": frames[0]["problem_id"].n_unique(),
                "k": frames[0].height // frames[0]["problem_id"].n_unique(),
                "accuracy": (rows["verdict"] == "correct").sum() / rows.height,
                "low": interval.low,
                "high": interval.high,
                "lowest_seed": min(by_seed),
                "highest_seed": max(by_seed),
                "spread": _deviation(by_seed),
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
            self.row(f"table {arm} {benchmark}", told, {**found, **self.training(arm)})

    def training(self, arm: str) -> dict:
        names = (
            "train_rows",
            "train_problems",
            "dropped_too_long",
            "packed_tokens",
            "trained_tokens",
        )
        if not (self.folder / arm / "train.parquet").exists():
            return dict.fromkeys(
                (*names, "trained_tokens_per_row", "steps", "seen_trained_tokens", "passes")
            )
        train = pl.read_parquet(self.folder / arm / "train.parquet")
        packed = pl.read_parquet(self.folder / arm / "packed" / "train.parquet")
        documents = sum(len(lengths) for lengths in packed["seq_lengths"])
        trained = sum(label != -100 for labels in packed["labels"].to_list() for label in labels)
        last = [self.log(arm, seed)[-1] for seed in self.doc["grid"]["seeds"]]
        seen = max((e["trained_tokens"] for e in last if "trained_tokens" in e), default=None)
        return {
            "train_rows": train.height,
            "train_problems": len(set(train["problem_id"])),
            "dropped_too_long": train.height - documents,
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
        listed = [(c["arm"], c["against"]) for c in self.config["comparisons"]]
        wanted = [
            (*pair, benchmark) for pair in listed for benchmark in self.doc["grid"]["benchmarks"]
        ]
        told = [
            (row["arm"], row["against"], row["benchmark"]) for row in self.street["comparisons"]
        ]
        self.same("comparisons listed", told, wanted)
        tested = [row for row in self.street["comparisons"] if row["reading"] != "not run"]
        holm = _holm([row["p"] for row in tested])
        for row, adjusted in zip(tested, holm, strict=True):
            names = (row["arm"], row["against"], row["benchmark"])
            ours, theirs = self.accuracies(names[0], names[2]), self.accuracies(names[1], names[2])
            pairs = np.round(ours.mean(axis=0) - theirs.mean(axis=0), 9)
            interval = statistics.paired_difference(
                ours, theirs, key=("difference", *self.key, *names), **self.drawn
            )
            by_seed = ours.mean(axis=1) - theirs.mean(axis=1)
            agreed = (
                (row["low"] > 0 or row["high"] < 0)
                and row["low_seeds"] is not None
                and (row["low_seeds"] > 0 or row["high_seeds"] < 0)
                and adjusted <= 1 - self.doc["confidence"]
            )
            found = {
                "problems": pairs.size,
                "seeds": len(by_seed),
                "difference": float(ours.mean() - theirs.mean()),
                **{
                    name: getattr(interval, name)
                    for name in ("low", "high", "low_seeds", "high_seeds")
                },
                "lowest_seed": float(by_seed.min()),
                "highest_seed": float(by_seed.max()),
                "spread": _deviation(by_seed),
                "better": int((pairs > 0).sum()),
                "worse": int((pairs < 0).sum()),
                "tied": int((pairs == 0).sum()),
                "p": statistics.sign_flip(
                    ours.mean(axis=0) - theirs.mean(axis=0), key=("p", *self.key, *names)
                ),
                "p_holm": adjusted,
                "reading": ("above" if ours.mean() > theirs.mean() else "below")
                if agreed
                else "unclear",
            }
            self.row(f"comparisons {names}", row, found)

    def base(self) -> None:
        rows = _with_verdicts(self.folder / "samples.parquet", self.folder / "verdicts.parquet")
        values = _accuracies(rows)
        interval = statistics.bootstrap_interval(
            values, key=("base", *self.key), proportion=True, **self.drawn
        )
        dataset = self.results / self.street["dataset"]
        traces = pl.read_parquet(dataset / "problems.parquet")["teacher_trace"]
        shares = Counter(rows["verdict"])
        found = {
            "problems": values.size,
            "k": rows.height // values.size,
            "accuracy": shares["correct"] / rows.height,
            "low": interval.low,
            "high": interval.high,
            "both": sum(0 < v < 1 for v in values) / values.size,
            "all_right": sum(v == 1 for v in values) / values.size,
            "all_wrong": sum(v == 0 for v in values) / values.size,
            "incorrect": shares["incorrect"] / rows.height,
            "no_answer": shares["no_answer"] / rows.height,
            "unfinished": Counter(rows["finish_reason"])["length"] / rows.height,
            "mean_completion_tokens": rows["completion_tokens"].sum() / rows.height,
            "with_trace": traces.len() - traces.null_count(),
            "traces_correct": Counter(
                pl.read_parquet(dataset / "trace_verdicts.parquet")["verdict"]
            )["correct"],
        }
        self.row("base", self.street["base"], found)

    def lengths(self) -> None:
        for told in self.street["lengths"]:
            tokens = pl.concat(self.frames(told["arm"], told["benchmark"]))["completion_tokens"]
            found = {
                "samples": tokens.len(),
                "mean": tokens.sum() / tokens.len(),
                "median": tokens.quantile(0.5, "linear"),
                "p90": tokens.quantile(0.9, "linear"),
                "longest": tokens.max(),
            }
            self.row(f"lengths {told['arm']} {told['benchmark']}", told, found)

    def reflected(self, arm: str) -> pl.DataFrame:
        return _with_verdicts(
            self.folder / arm / "reflections.parquet",
            self.folder / arm / "reflection_verdicts.parquet",
        )

    def refined(self, response: str) -> str:
        before, marker, after = response.rpartition(MARKERS[self.config["prompts"]])
        return after.strip() if marker else ""

    def reflections(self) -> None:
        for told in self.street["reflections"]:
            rows = self.reflected(told["arm"])
            correct = Counter(rows["verdict"])["correct"]
            share = statistics.wilson(correct, rows.height, confidence=self.doc["confidence"])
            found = {
                "reflections": rows.height,
                "problems": len(set(rows["problem_id"])),
                "with_refined_part": sum(self.refined(text) != "" for text in rows["response"]),
                "correct": correct,
                "share_correct": correct / rows.height,
                "low": share.low,
                "high": share.high,
                "unfinished": Counter(rows["finish_reason"])["length"],
                "mean_completion_tokens": rows["completion_tokens"].sum() / rows.height,
            }
            self.row(f"reflections {told['arm']}", told, found)

    def treatment(self) -> None:
        problems = pl.read_parquet(self.results / self.street["dataset"] / "problems.parquet")
        meta = dict(zip(problems["problem_id"], problems["meta"].to_list(), strict=True))
        samples = pl.read_parquet(self.folder / "samples.parquet").rows(named=True)
        texts = {(row["problem_id"], row["sample_id"]): row["response"] for row in samples}
        for told in self.street["treatment"]:
            errors = pl.read_parquet(self.folder / told["arm"] / "errors.parquet").rows(named=True)
            own = {
                (e["problem_id"], str(e["rank"])): texts[e["problem_id"], e["own_sample_id"]]
                for e in errors
            }
            seen, unreadable = [], 0
            for row in self.reflected(told["arm"]).rows(named=True):
                if told["scope"] == "correct" and row["verdict"] != "correct":
                    continue
                for rank in filter(None, row["prompt_id"].split(":")[1].split("+")):
                    known = meta[row["problem_id"]]
                    wrong = first_wrong_step(known, own[row["problem_id"], rank])
                    refined = self.refined(row["response"])
                    steps = {s for s in detailed_steps(refined) if s < len(known["steps"])}
                    hits = revisited_steps(known, refined)
                    unreadable += wrong is None
                    if wrong is not None:
                        seen.append((wrong in hits, len(steps), len(steps) / len(known["steps"])))
            treated = sum(hit for hit, _, _ in seen)
            share = (
                statistics.wilson(treated, len(seen), confidence=self.doc["confidence"])
                if seen
                else None
            )
            found = {
                "pairs": len(seen),
                "unreadable": unreadable,
                "treated": treated,
                "rate": treated / len(seen) if seen else None,
                "low": share.low if share else None,
                "high": share.high if share else None,
                "chance": sum(c for _, _, c in seen) / len(seen) if seen else None,
                "mean_detailed": sum(d for _, d, _ in seen) / len(seen) if seen else None,
            }
            self.row(f"treatment {told['arm']} {told['scope']}", told, found)

    def waterfall(self) -> None:
        """The counts that need no filter's code, the bookkeeping between the steps, and the rows that came out."""
        by_arm: dict[str, list[dict]] = {}
        for row in self.street["waterfall"]:
            by_arm.setdefault(row["arm"], []).append(row)
        for arm, steps in by_arm.items():
            rows = self.reflected(arm)
            known = {
                "no_refined_part": sum(self.refined(text) == "" for text in rows["response"]),
                "wrong_answer": rows.height - Counter(rows["verdict"])["correct"],
                "truncated": rows.height - Counter(rows["finish_reason"])["stop"],
            }
            left = [rows.height, *(step["left"] for step in steps)]
            for step, (before, after) in zip(steps, pairwise(left), strict=True):
                place = f"waterfall {arm} {step['filter']}"
                self.same(f"{place} reflections", step["reflections"], rows.height)
                self.same(f"{place} removed", step["removed"], before - after)
                self.same(
                    f"{place} objects", step["objects"], known.get(step["filter"], step["objects"])
                )
        for told in self.street["selection"]:
            train = pl.read_parquet(self.folder / told["arm"] / "train.parquet")
            kinds = Counter(train["target_kind"])
            self.same(f"selection {told['arm']} rows", told["rows"], train.height)
            self.same(
                f"selection {told['arm']} trained", told["trained"], len(set(train["problem_id"]))
            )
            for kind in ("solution", "teacher_trace", "own_correct", "reflection"):
                self.same(f"selection {told['arm']} {kind}", told[kind], kinds[kind])


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


def _deviation(values) -> float | None:
    values = list(values)
    mean = sum(values) / len(values)
    return (
        (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        if len(values) > 1
        else None
    )


def _loops(response: str) -> bool:
    words = response.split()
    return any(
        n >= 4
        for n in Counter(" ".join(words[i : i + 12]) for i in range(len(words) - 11)).values()
    )


def _holm(values: list[float]) -> list[float]:
    """By the definition: the largest (m - j + 1) p_(j) over all j up to an hypothesis' own place."""
    ranked = sorted(values)
    steps = [min(1.0, (len(values) - j) * p) for j, p in enumerate(ranked)]
    return [max(steps[: ranked.index(p) + ranked.count(p)]) for p in values]


def faults(results: str | Path) -> list[str]:
    """Every disagreement between a results folder's report and its tables, one line each; empty if there is none."""
    results = Path(results)
    doc = json.loads((results / "report" / "report.json").read_text(encoding="utf-8"))
    wrong = []
    for street in doc["streets"]:
        again = Recomputed(results, doc, street)
        for check in (
            "table",
            "comparisons",
            "base",
            "lengths",
            "reflections",
            "treatment",
            "waterfall",
        ):
            getattr(again, check)()
        wrong += again.wrong
    for source in doc["sources"]:
        folder = (
            results / "benchmarks" / source["name"]
            if source["kind"] == "benchmark"
            else results / source["name"]
        )
        told = [source[name] for name in ("problems", "rejected", "unparseable")]
        tables = [
            pl.read_parquet(folder / f"{name}.parquet").height for name in ("problems", "rejected")
        ]
        lint = len(json.loads((folder / "lint.json").read_text(encoding="utf-8"))["unparseable"])
        if told != [*tables, lint]:
            wrong.append(
                f"sources {source['name']}: the report says {told}, the tables give {[*tables, lint]}"
            )
    return wrong


if __name__ == "__main__":
    import shown

    folder = sys.argv[1] if len(sys.argv) > 1 else "results"
    found = [*faults(folder), *shown.faults(folder)]
    print("\n".join(found) or "every number of the report follows from the tables")
    sys.exit(bool(found))
