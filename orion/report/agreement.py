"""Two results folders side by side, and whether they agree.

Input: two results folders. Output: a `Comparison`: what differs in what was run, the evaluations
that both have, what only one has, the damaged files, and one sentence on their agreement.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orion import paths
from orion.errors import InputError
from orion.experiment.comparisons import excludes_zero
from orion.report.folders import Folder, list_only, read_folder
from orion.report.reruns import Rerun, Skipped, compare_evaluations
from orion.report.run_inputs import (
    ProblemSets,
    compare_models,
    compare_plans,
    compare_problems,
)
from orion.report.settings import Settings, compare_settings

CONFIDENCE, RESAMPLES = 0.95, 2_000
IDENTICAL, EQUAL, VERDICTS, DIFFER, UNKNOWN = (
    "identical bytes",
    "equal content",
    "same verdicts",
    "differ",
    "not comparable",
)
KINDS = {"dataset": paths.PROBLEMS, "benchmark": paths.BENCHMARK_PROBLEMS}


@dataclass
class Comparison:
    """All that is said of two folders. ``skipped``: what could not be compared."""

    a: Folder
    b: Folder
    settings: Settings
    problems: list[ProblemSets] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    plans: dict[str, Any] = field(default_factory=dict)
    reruns: list[Rerun] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    only_a: dict[str, int] = field(default_factory=dict)
    only_b: dict[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> list[tuple[str, str, str]]:
        """(A or B, name of the file, what is wrong with it)."""
        sides = (("A", self.a), ("B", self.b))
        return [(side, *fault) for side, folder in sides for fault in folder.faults.items()]

    @property
    def beyond(self) -> list[Rerun]:
        """The evaluations whose interval of B - A excludes 0."""
        return [rerun for rerun in self.reruns if rerun.beyond]

    @property
    def level(self) -> str:
        """How far the folders agree."""
        whole = not (self.only_a or self.only_b or self.faults)
        contents = self.settings.contents.values()
        if whole and self.settings.identical:
            return IDENTICAL
        if whole and all(content.equal == content.both for content in contents):
            return EQUAL
        if not self.reruns:
            return UNKNOWN
        if all(r.compared == r.equal_verdicts and not r.unmatched for r in self.reruns):
            return VERDICTS
        return DIFFER

    def conclude(self) -> str:
        """One sentence on the agreement, and one on what it leaves out where there is any."""
        level = self.level
        if level == IDENTICAL:
            sentence = f"They agree: all {len(self.a.artifacts)} files are the same bytes."
        elif level == EQUAL:
            sentence = (
                f"They agree: all {len(self.a.artifacts)} files have equal content; what differs "
                "is provenance, dates of plans or paths of models."
            )
        elif level == UNKNOWN:
            sentence = "They have no evaluation in common that can be compared."
        else:
            sentence = self._say_verdicts() if level == VERDICTS else self._say_difference()
        skipped = sum(each.evaluations for each in self.skipped)
        left_out = [
            f"{count(number, 'file')} {what}"
            for number, what in (
                (sum(self.only_a.values()), "only in A"),
                (sum(self.only_b.values()), "only in B"),
                (len(self.faults), "that cannot be read"),
            )
            if number
        ]
        if skipped:
            left_out.append(f"{count(skipped, 'pair')} of evaluations")
        return sentence + (f" Left out: {', '.join(left_out)}." if left_out else "")

    def _say_verdicts(self) -> str:
        samples = sum(rerun.compared for rerun in self.reruns)
        contents = self.settings.contents.values()
        other = sum(content.compared - content.equal for content in contents)
        rest = f"{count(other, 'file')} with other content" if other else "the content is equal"
        return (
            f"They have the same verdicts: each of the {samples:,} samples that both have, in "
            f"{count(len(self.reruns), 'pair')} of evaluations; {rest}."
        )

    def _say_difference(self) -> str:
        known = [rerun for rerun in self.reruns if rerun.beyond is not None]
        interval = f"the {100 * CONFIDENCE:g} % interval of B - A"
        if not known:
            return f"They differ, and there is no {interval.removeprefix('the ')}."
        pairs = f"{count(len(known), 'pair')} of evaluations"
        these = [r for r in self.reruns if not r.beyond and excludes_zero(r.low, r.high)]
        rest = f" For these very models alone it does not: {_name(these)}." if these else ""
        if not self.beyond:
            return f"They differ, but {interval} contains 0 in all {pairs}.{rest}"
        rest = rest.replace("it does not", "it does too")
        narrow = sum(rerun.low_runs is None for rerun in self.beyond)
        about = f" {narrow} of them for these very models only." if narrow else ""
        chance = (1 - CONFIDENCE) * len(known)
        return (
            f"They differ: {interval} excludes 0 in {len(self.beyond)} of {pairs} "
            f"({_name(self.beyond)}); if nothing differed, about {chance:.1f} would by chance."
            f"{about}{rest}"
        )

    def as_json(self) -> dict[str, Any]:
        """The comparison as a JSON document."""
        settings = self.settings
        return {
            "a": {"path": str(self.a.root), "files": len(self.a.artifacts), "only": self.only_a},
            "b": {"path": str(self.b.root), "files": len(self.b.artifacts), "only": self.only_b},
            "faults": [
                {"folder": side, "file": name, "what": what} for side, name, what in self.faults
            ],
            "changes": [
                {**asdict(change), "places": list(dict.fromkeys(places)), "files": len(places)}
                for change, places in settings.changes.items()
            ],
            "contents": [
                {"stage": stage, **asdict(content), "columns": list(content.columns)}
                for stage, content in settings.contents.items()
            ],
            "starts": [asdict(start) for start in settings.starts],
            "following": settings.following,
            "unexplained": settings.unexplained,
            "plans": self.plans,
            "problems": [asdict(counts) for counts in self.problems],
            "models": self.models,
            "evaluations": [asdict(rerun) | {"beyond": rerun.beyond} for rerun in self.reruns],
            "skipped": [asdict(skipped) for skipped in self.skipped],
            "confidence": CONFIDENCE,
            "agreement": {"level": self.level, "sentence": self.conclude()},
        }


def _name(reruns: Sequence[Rerun]) -> str:
    return ", ".join(f"{r.dataset}/{r.model}/{r.arm} on {r.benchmark}" for r in reruns)


def count(number: int, noun: str) -> str:
    """Such as "1 file" and "2 files"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def compare_folders(root_a: str | Path, root_b: str | Path) -> Comparison:
    """Compare two results folders; raises InputError where one of them holds no results."""
    a, b = read_folder(root_a), read_folder(root_b)
    if a.root.resolve() == b.root.resolve():
        raise InputError(f"{root_b}: is the same folder as {root_a}; name two")
    found = Comparison(a, b, compare_settings(a, b))
    for kind, template in KINDS.items():
        for wildcards in a.list_wildcards(template):
            name = a.name_of(template, **wildcards)
            if name not in b.artifacts:
                continue
            counts = compare_problems(a, b, kind, wildcards[kind])
            if counts is None:
                found.skipped.append(Skipped(f"{name}: its problems cannot be read in both", 0))
            else:
                found.problems.append(counts[0])
    found.models, found.plans = compare_models(a, b), compare_plans(a, b)
    rows = compare_evaluations(a, b, confidence=CONFIDENCE, resamples=RESAMPLES)
    for row in rows:
        if isinstance(row, Skipped):
            found.skipped.append(row)
        else:
            found.reruns.append(row)
    found.only_a, found.only_b = list_only(a, b), list_only(b, a)
    return found
