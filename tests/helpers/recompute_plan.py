"""What plan.json says of each test of a student, worked out again without the report's code.

``History`` gives the expected status and evaluations of each test, and whether the file is whole.
Versions are taken apart in another order than in the report: each test is followed through them.
"""

import hashlib
import json
from pathlib import Path

import polars as pl

ORDER = ("measure", "alpha", "family", "seeds", "num_samples")


def digest(version: dict) -> str:
    """The seal, by its definition: the canonical JSON of plan, counts and the digest before."""
    parts = [version[key] for key in ("plan", "evaluations", "recorded")]
    text = json.dumps(
        [*parts, version["previous"] or ""],
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


class History:
    """The versions of plan.json that have the student, or the group, in their grid."""

    def __init__(self, results: Path, dataset: str, model: str, group: str | None = None):
        self.all = json.loads((results / "plan.json").read_text(encoding="utf-8"))["versions"]
        self.group = group
        key, name = ("models", model) if group is None else ("students", group)
        self.versions = [
            v
            for v in self.all
            if dataset in v["plan"]["datasets"] and name in (v["plan"].get(key) or [])
        ]
        models = {model} if group is None else set()
        for version in self.versions if group is not None else []:
            models |= {e for entries in self.students(version) for e in entries}
        self.folders = [results / "datasets" / dataset / name for name in sorted(models)]
        counts = [
            sum(v["evaluations"].get(f"{dataset}/{name}", 0) for name in models)
            for v in self.versions
        ]
        # the most at any version up to this one: deleted tables were seen too
        self.existed = [max(counts[: i + 1]) for i in range(len(counts))]

    def students(self, version: dict) -> list[list[str]]:
        """The entries of each student of the group."""
        found = version["plan"]["students"].get(self.group, [])
        return [[each] if isinstance(each, str) else each for each in found]

    def tests(self, index: int) -> list[tuple[str, str]]:
        """(the comparison as a text, benchmark) of one version; a group's with its students."""
        version = self.versions[index]
        plan = version["plan"]
        more = {} if self.group is None else {"entries": self.students(version)}
        return [
            (json.dumps(c | more, sort_keys=True), b)
            for c in plan["comparisons"]
            if c.get("group") == self.group
            for b in plan["benchmarks"]
        ]

    def status(self, test: tuple[str, str]) -> tuple[str, int | None] | None:
        """(status, evaluations) of a test; None if it is on no page."""
        held = [test in self.tests(i) for i in range(len(self.versions))]
        fresh = [i for i, n in enumerate(self.existed) if n == 0]
        was_registered = bool(fresh) and held[fresh[-1]]
        if held[-1] and was_registered:
            return "registered", None
        if not held[-1] and not was_registered:
            return None
        # the last change of the test's presence
        i = len(held) - 1
        while i > 0 and held[i - 1] == held[-1]:
            i -= 1
        i = i if i not in fresh else len(fresh)
        return ("added" if held[-1] else "removed"), self.existed[i]

    def rows(self) -> list[tuple[dict, str, str, int | None]]:
        """(comparison, benchmark, status, evaluations), the last version's tests first."""
        tests = self.tests(len(self.versions) - 1)
        for index in range(len(self.versions)):
            tests += [test for test in self.tests(index) if test not in tests]
        found = [(json.loads(test[0]), test[1], self.status(test)) for test in tests]
        return [(c, b, *status) for c, b, status in found if status is not None]

    def is_whole(self) -> bool:
        """Whether each version has its seal and the digest of the one before it."""
        before = [None, *(v["digest"] for v in self.all)]
        return all(
            v["digest"] == digest(v) and v["previous"] == previous
            for v, previous in zip(self.all, before, strict=False)
        )

    def recorded(self, arms: list[str], seeds: list[int]) -> dict[str, int]:
        """Files of the student's trainings and evaluations by whether they carry a known digest."""
        known = {v["digest"] for v in self.all}
        records = [
            json.loads(path.read_text(encoding="utf-8"))["provenance"]
            for name in ("model.json", "*/scores.json")
            for path in self.find(arms, seeds, name)
        ]
        records += [
            json.loads(pl.read_parquet_metadata(path)["orion"])
            for path in self.find(arms, seeds, "*/samples.parquet")
        ]
        found = [record.get("plan") for record in records]
        return {
            "known": sum(digest in known for digest in found),
            "foreign": sum(digest not in known and digest is not None for digest in found),
            "absent": found.count(None),
        }

    def find(self, arms: list[str], seeds: list[int], name: str) -> list[Path]:
        folders = [f / arm / f"seed-{seed}" for f in self.folders for arm in arms for seed in seeds]
        return [path for folder in folders for path in folder.glob(name)]

    def changed_terms(self) -> list[str]:
        """The terms that are not those of the registered plan."""
        fresh = [i for i, n in enumerate(self.existed) if n == 0]
        if not fresh:
            return []
        before, after = self.versions[fresh[-1]]["plan"], self.versions[-1]["plan"]
        changed = [key for key in ORDER[:-1] if before[key] != after[key]]
        pairs = {
            (before["num_samples"][b], after["num_samples"][b])
            for b in before["benchmarks"]
            if b in after["benchmarks"]
        }
        return changed + [ORDER[-1]] * any(old != new for old, new in pairs)
