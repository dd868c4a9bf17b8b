"""What may be called registered of the tests of a student or group, by the history of the plan.

Input: the versions of plan.json and the digests that the artifacts carry. Output: the tests, each
registered, added or removed; the rows of the versions; and what keeps the tests from being
confirmatory. The registered plan is the last version before the first evaluation.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orion import paths
from orion.experiment.hypotheses import SUPERIORITY, Hypothesis, parse_margin
from orion.experiment.plan import Version, find_edits
from orion.provenance import canonical_json

REGISTERED, ADDED, REMOVED = "registered", "added", "removed"
# the rest of a plan; what changes here after results makes other tests of all of them
TERMS = {
    "measure": "the measure",
    "alpha": "the level",
    "family": "the family",
    "seeds": "the seeds",
    "num_samples": "the samples per problem",
}
# artifacts of jobs that record the digest of the plan
RECORDING = tuple(
    Path(template).name
    for template in (paths.TRAINED_MODEL, paths.EVALUATION_SAMPLES, paths.SCORES)
)


@dataclass(frozen=True)
class PlannedTest:
    """One comparison on one benchmark; of a group with its students and their entries.

    ``status``: registered, added or removed. ``evaluations``: how many of this student's existed
    when it was added or removed; None for a registered one.
    """

    arm: str
    against: str
    benchmark: str
    hypothesis: Hypothesis
    expect: str | None
    status: str
    evaluations: int | None
    students: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Subject:
    """Whom tests are about, on one training set: a student, or a group of them.

    ``models``: the student, or all entries that any version names in the group.
    """

    dataset: str
    models: tuple[str, ...]
    group: str | None = None

    def covers(self, version: Version) -> bool:
        """Whether it is in the version's grid."""
        if self.dataset not in version.plan["datasets"]:
            return False
        if self.group is None:
            return self.models[0] in version.plan["models"]
        return self.group in (version.plan.get("students") or {})

    def count_evaluations(self, version: Version) -> int:
        """Its evaluations that existed when the version was registered."""
        return sum(version.evaluations.get(f"{self.dataset}/{name}", 0) for name in self.models)

    def list_keys(self, version: Version) -> dict[str, "Key"]:
        """All that the version says of each of its tests, as a text → the test.

        The students of a group are part of it: others make another test.
        """
        found = {}
        for comparison in version.plan["comparisons"]:
            if comparison.get("group") != self.group:
                continue
            students = list_group(version, self.group)
            # a test on one benchmark is the same one whatever other benchmarks are listed with it
            said = {key: value for key, value in comparison.items() if key != "benchmarks"}
            for benchmark in comparison.get("benchmarks") or version.plan["benchmarks"]:
                said["benchmark"] = benchmark
                if self.group is not None:
                    said["students"] = [comparison.get("students"), *students]
                found[canonical_json(said)] = (comparison, benchmark, students)
        return found


# a comparison, its benchmark, and the students of its group with their entries
Key = tuple[dict[str, Any], str, tuple[tuple[str, ...], ...]]


def list_group(version: Version, group: str | None) -> tuple[tuple[str, ...], ...]:
    """The students of a group in a version, each with its entries; none without a group."""
    found = (version.plan.get("students") or {}).get(group, [])
    return tuple((each,) if isinstance(each, str) else tuple(each) for each in found)


def find_group(history: Sequence[Version], dataset: str, group: str) -> Subject:
    """The group as the subject of tests."""
    names = [name for v in history for entries in list_group(v, group) for name in entries]
    return Subject(dataset, tuple(dict.fromkeys(names)), group)


@dataclass(frozen=True)
class Registration:
    """The plan of one student, or group of students, on one training set.

    ``versions``: rows for the page. ``faults``: sentences that say why the history cannot be relied
    on; ``changes``: what of its terms has changed after results. The registered tests are
    confirmatory where there is neither. ``recorded``: files of trainings and evaluations by the
    plan whose digest they carry. ``elsewhere``: registered tests of other students.
    """

    tests: list[PlannedTest]
    versions: list[dict[str, Any]]
    faults: list[str]
    changes: list[str]
    recorded: dict[str, int]
    elsewhere: list[str]

    @property
    def reasons(self) -> list[str]:
        """Why no test is confirmatory; none where the registered ones are."""
        return [*self.faults, *self.changes]

    def as_json(self) -> dict[str, Any]:
        """What report.json says beside the tests."""
        return {
            "versions": self.versions,
            "reasons": self.reasons,
            "is_reliable": not self.faults,
            "recorded": self.recorded,
            "elsewhere": self.elsewhere,
        }


def read_registration(
    history: Sequence[Version], subject: Subject, records: Mapping[Path, Mapping[str, Any]]
) -> Registration:
    """The registration of a student or group that is in the grid of the last version.

    ``records``: path → provenance of all artifacts.
    """
    own = [version for version in history if subject.covers(version)]
    recorded = count_digests(history, find_digests(records, subject))
    return Registration(
        list_tests(own, subject),
        [describe_version(history, number, subject) for number, _ in enumerate(history)],
        [*describe_edits(history), *describe_digests(recorded)],
        describe_terms(own, subject),
        recorded,
        list_elsewhere(history),
    )


def find_base(versions: Sequence[Version], subject: Subject) -> int | None:
    """Index of the last version before the first evaluation of it; None without one."""
    base = None
    for index, version in enumerate(versions):
        if subject.count_evaluations(version):
            break
        base = index
    return base


def count_evaluations(versions: Sequence[Version], subject: Subject) -> int:
    """The most evaluations of it at any version: some may have been deleted since."""
    return max(map(subject.count_evaluations, versions))


def list_tests(versions: Sequence[Version], subject: Subject) -> list[PlannedTest]:
    """The tests of the last version, then the registered ones that it has no more.

    A test that was changed in any way is another test: the old one removed, the new one added.
    """
    base = find_base(versions, subject)
    registered = {} if base is None else subject.list_keys(versions[base])
    since: dict[str, int] = {}
    for index in range(0 if base is None else base + 1, len(versions)):
        changed = registered.keys() ^ subject.list_keys(versions[index]).keys()
        existed = count_evaluations(versions[: index + 1], subject)
        # what was put back is registered again
        since = {key: since.get(key, existed) for key in sorted(changed)}
    last = subject.list_keys(versions[-1])
    removed = {key: found for key, found in registered.items() if key not in last}
    return [
        _make_test(
            *found,
            status=REMOVED if key in removed else ADDED if key in since else REGISTERED,
            evaluations=since.get(key),
        )
        for key, found in {**last, **removed}.items()
    ]


def _make_test(
    comparison: Mapping[str, Any],
    benchmark: str,
    students: tuple[tuple[str, ...], ...],
    *,
    status: str,
    evaluations: int | None,
) -> PlannedTest:
    margin = comparison.get("margin")
    return PlannedTest(
        comparison["arm"],
        comparison["against"],
        benchmark,
        Hypothesis(
            comparison.get("kind", SUPERIORITY), 0.0 if margin is None else parse_margin(margin)
        ),
        comparison.get("expect"),
        status,
        evaluations,
        students,
    )


def describe_version(history: Sequence[Version], index: int, subject: Subject) -> dict[str, Any]:
    """A row for the page: number, digest, evaluations and tests of it, whether edited."""
    version = history[index]
    covered = subject.covers(version)
    return {
        "version": index + 1,
        "digest": version.digest,
        "evaluations": subject.count_evaluations(version) if covered else None,
        "tests": len(subject.list_keys(version)) if covered else None,
        "is_edited": index + 1 in find_edits(history),
    }


def find_digests(
    records: Mapping[Path, Mapping[str, Any]], subject: Subject
) -> Counter[str | None]:
    """The digests that its trainings and evaluations carry; None for none."""
    wanted = {(subject.dataset, model) for model in subject.models}
    found: Counter[str | None] = Counter()
    for path, record in records.items():
        is_run = any(part.startswith("seed-") for part in path.parts)
        is_own = not wanted.isdisjoint(zip(path.parts, path.parts[1:], strict=False))
        if is_run and is_own and path.name in RECORDING:
            found[record.get("plan")] += 1
    return found


def describe_edits(history: Sequence[Version]) -> list[str]:
    """A sentence on each version that is not as it was registered."""
    return [
        f"plan.json was edited: version {number} does not have the digest with which it was "
        "registered."
        for number in find_edits(history)
    ]


def count_digests(history: Sequence[Version], digests: Counter[str | None]) -> dict[str, int]:
    """Files whose digest a version has (known), none has (foreign), and without one (absent)."""
    known = {version.digest for version in history}
    return {
        "known": sum(n for digest, n in digests.items() if digest in known),
        "foreign": sum(n for digest, n in digests.items() if digest and digest not in known),
        "absent": digests[None],
    }


def describe_digests(recorded: Mapping[str, int]) -> list[str]:
    """Sentences on artifacts that no version of the history was there for."""
    lines = []
    if recorded["foreign"]:
        lines.append(
            f"{_count(recorded['foreign'], 'file')} of trainings and evaluations were made under a "
            "plan that plan.json does not hold: it was edited, or is not the one of these results."
        )
    if recorded["absent"]:
        lines.append(
            f"{_count(recorded['absent'], 'file')} of trainings and evaluations carry no digest of "
            "a plan, so they may be older than the plan."
        )
    return lines


def describe_terms(versions: Sequence[Version], subject: Subject) -> list[str]:
    """A sentence on each term that the last version has otherwise than the registered one."""
    base = find_base(versions, subject)
    if base is None:
        return []
    # a benchmark that is added or left out changes nothing for the others
    both = [
        name
        for name in versions[base].plan["benchmarks"]
        if name in versions[-1].plan["benchmarks"]
    ]
    lines = []
    for key, name in TERMS.items():
        terms = [_read_term(version, key, both) for version in versions]
        before, after = terms[base], terms[-1]
        if before == after:
            continue
        index = next(i for i in range(base, len(versions)) if terms[i] != before)
        number = count_evaluations(versions[: index + 1], subject)
        lines.append(
            f"After {_count(number, 'evaluation')} existed, {name} changed from "
            f"{_show(before)} to {_show(after)}."
        )
    return lines


def _read_term(version: Version, key: str, benchmarks: Sequence[str]) -> Any:
    """A term of the plan, what it says of single benchmarks for these alone."""
    value = version.plan.get(key)
    return {b: value.get(b) for b in benchmarks} if isinstance(value, dict) else value


def list_elsewhere(history: Sequence[Version]) -> list[str]:
    """Students and groups that had registered tests and are not in the last grid."""
    lines = {}
    for version in history:
        for dataset in version.plan["datasets"]:
            subjects = [Subject(dataset, (model,)) for model in version.plan["models"]]
            groups = [*(version.plan.get("students") or {})]
            subjects += [find_group(history, dataset, group) for group in groups]
            for subject in subjects:
                tests, name = len(subject.list_keys(version)), subject.group or subject.models[0]
                if tests and not subject.covers(history[-1]):
                    lines[subject] = f"{name} on {dataset}, {_count(tests, 'test')}"
    return [*lines.values()]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _show(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{number} on {name}" for name, number in value.items()]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
