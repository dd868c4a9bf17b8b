"""``orion compare RESULTS_A RESULTS_B``: two results folders of this pipeline side by side.

Inputs: two results folders, whole or not; no configuration is needed. Outputs: text on standard
output: what differs in what was run and where it begins, accuracies with the difference B - A, what
only one folder has, and whether the two agree; with ``--json`` the same as a document.
Run: ``orion compare --help``.
"""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orion.cli.why import show
from orion.errors import InputError
from orion.paths import AtomicFile
from orion.report.agreement import (
    CONFIDENCE,
    EQUAL,
    IDENTICAL,
    Comparison,
    compare_folders,
    count,
)
from orion.report.reruns import Rerun
from orion.report.settings import CODE, INPUT, PACKAGE, Change, Start

POINTS = 100
# places that are named before the others are counted, and characters of a value and of a line
MAX_PLACES, MAX_VALUE, MAX_LINE = 3, 60, 800
WHAT_COUNTS = """\
exit status 1 unless both have the same tables and documents with equal content. What counts: every
row and column of the tables; the JSON documents beside them; the weights, by the digests in
model.json. What does not: provenance (configuration, code, package versions), dates of plans, paths
of models, logs, previews, the completion store, and the report.
"""
WHAT_INTERVALS = """\
lost, won: problems with more than half of their samples right in one folder and fewer than half in
the other. same: answers that are equal byte for byte, of those that both have. {level} % intervals
of B - A, in points. These models: over problems, for these very models and answers. New runs: over
problems and runs (the seeds), for new seeds of the student at hand; takes two seeds that both have,
and answers that differ. Without it the row is about these very models only. No correction for the
number of comparisons is made. Seeds that only one folder has are left out, unless none is in both.
"""
OTHER_STUDENT = """\
* the untrained models differ, or one is unknown: the difference contains that of the two students,
  whose spread no interval here covers.
"""


def add(commands: Any) -> None:
    """Add the command ``compare`` to the subparsers of the console script."""
    parser = commands.add_parser(
        "compare",
        help="two results folders: what was run otherwise, and what came of it",
        description="What differs in what was run and where it begins, accuracies with the "
        "difference B - A over the problems that both have, what only one folder has, and whether "
        "they agree. Exit status: 0 once compared, 2 for bad input.",
    )
    parser.add_argument("a", metavar="RESULTS_A")
    parser.add_argument("b", metavar="RESULTS_B")
    parser.add_argument("--json", metavar="FILE", help="write the comparison as JSON too")
    parser.add_argument("--expect-equal", action="store_true", help=WHAT_COUNTS)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    output = None if args.json is None else Path(args.json)
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise InputError(f"--json {output}: name a file in a folder that exists")
    found = compare_folders(args.a, args.b)
    if output is not None:
        text = json.dumps(found.as_json(), indent=1, ensure_ascii=False, sort_keys=True)
        try:
            with AtomicFile(output) as partial:
                partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise InputError(f"--json {output}: cannot be written ({error.strerror})") from None
    width = shutil.get_terminal_size((100, 24)).columns
    for line in _tell(found, width):
        print(line)
    if args.expect_equal and found.level not in (IDENTICAL, EQUAL):
        sys.stdout.flush()
        sys.exit(1)


def _tell(found: Comparison, width: int) -> Iterator[str]:
    for side, folder in (("A", found.a), ("B", found.b)):
        yield _clean(f"{side}  {folder.root}, {len(folder.artifacts)} files", width)
    for title, lines in (
        ("Files that cannot be read", _tell_faults(found)),
        ("What was run", _tell_changes(found)),
        ("Where it begins to differ", _tell_starts(found)),
        ("Equal content, in files that both have", _tell_contents(found)),
        ("Problems", _tell_problems(found)),
        ("Models", _tell_models(found)),
    ):
        texts = [line for text in lines for line in _wrap(text, width)]
        yield from ("", title, *texts) if texts else ()
    yield from _tell_accuracies(found)
    for title, lines in (
        ("Not compared", _tell_skipped(found)),
        ("Only in one of them", _tell_only(found)),
    ):
        texts = [line for text in lines for line in _wrap(text, width)]
        yield from ("", title, *texts) if texts else ()
    yield ""
    yield from textwrap.wrap(_clean(found.conclude(), None), max(width, 40))


def _clean(text: str, width: int | None) -> str:
    """One line of the text, without what a terminal would act on."""
    return next(show(text, 10**9 if width is None else width, ""), "")


def _wrap(text: str, width: int) -> list[str]:
    """The text in lines of this width."""
    return textwrap.wrap(
        _clean(text, MAX_LINE),
        max(width, 40),
        initial_indent="  ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )


def _tell_faults(found: Comparison) -> Iterator[str]:
    for side, name, what in found.faults:
        yield f"{side}: {name}: {what}"


def _tell_changes(found: Comparison) -> Iterator[str]:
    changes = found.settings.changes
    if not changes:
        yield "configuration, code, inputs and package versions are equal in all files of both"
    total = sum(content.both for content in found.settings.contents.values())
    for change, places in changes.items():
        if change.kind != PACKAGE:
            of = found.settings.contents[change.stage].both
            yield f"{change.stage}: {_say_change(change)} in {_say_places(places, of)}"
    for change, places in changes.items():
        if change.kind == PACKAGE:
            yield f"package {_say_change(change)} in {len(places)} of {total} files"
    yield _say_plans(found.plans)
    for row in found.plans["changes"]:
        yield f"plan: {row['key']}: {_say_values(row['a'], row['b'])}"
    for side in ("a", "b"):
        if found.plans["edited"][side]:
            numbers = ", ".join(map(str, found.plans["edited"][side]))
            yield f"plan of {side.upper()}: edited after it was registered, version {numbers}"


def _say_plans(plans: dict[str, Any]) -> str:
    versions = plans["versions"]
    if None in versions.values() or 0 in versions.values():
        absent = " and ".join(side.upper() for side in versions if not versions[side])
        return f"plan: none that can be read in {absent}"
    same = "the same"
    if plans["digests"]["a"] != plans["digests"]["b"]:
        # the digest covers the history too
        same = "other last plans" if plans["changes"] else "the same plan after another history"
    return f"plan: {same}; versions: {versions['a']} in A, {versions['b']} in B"


def _say_change(change: Change) -> str:
    if change.kind == CODE:
        return f"other code of {change.key}"
    if change.kind == INPUT:
        kinds = {(True, True): "another", (True, False): "no longer the", (False, True): "a new"}
        return f"{kinds[change.a is not None, change.b is not None]} input {change.key}"
    return f"{change.key}: {_say_values(change.a, change.b)}"


def _say_values(a: str | None, b: str | None) -> str:
    return " → ".join("not set" if value is None else _shorten(value) for value in (a, b))


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _say_places(places: Sequence[str], total: int) -> str:
    """How many files, and where the first of them are; a stage may write several in one place."""
    names = list(dict.fromkeys(place for place in places if place))
    number = f"{len(places)} of {count(total, 'file')}"
    shown = ", ".join(names[:MAX_PLACES])
    more = f" and {len(names) - MAX_PLACES} more places" if len(names) > MAX_PLACES else ""
    return f"{number}: {shown}{more}" if shown else number


def _tell_starts(found: Comparison) -> Iterator[str]:
    groups: dict[tuple[Any, ...], list[Start]] = {}
    for start in found.settings.starts:
        groups.setdefault((start.stage, start.changes), []).append(start)
    # what changed nothing comes last
    ordered = sorted(groups.values(), key=lambda starts: not any(s.columns for s in starts))
    for number, starts in enumerate(ordered):
        first = starts[0]
        of = found.settings.contents[first.stage].both
        why = ", ".join(map(_say_change, first.changes)) or _say_unrecorded(found)
        columns = list(dict.fromkeys(c for start in starts for c in start.columns))
        what = f"differs in {', '.join(columns)}" if columns else "has equal content all the same"
        label = "first, " if not number and columns else "" if not number else "also, "
        yield f"{label}{first.stage} {what}, {_say_places([s.place for s in starts], of)}"
        yield f"because of {why}" if first.changes else why
    if found.settings.following:
        files = count(found.settings.following, "file")
        yield f"made from those, and different because of it: {files} more"
    if found.settings.unexplained:
        files = count(found.settings.unexplained, "file")
        yield f"cannot be said of {files} that differ: what they are made from is damaged"


def _say_unrecorded(found: Comparison) -> str:
    names = [change.key for change in found.settings.changes if change.kind == PACKAGE]
    rest = f" but package versions ({', '.join(names)})" if names else ""
    return (
        f"its configuration, code and inputs are equal; nothing recorded differs{rest}. Another "
        "machine, or arithmetic in another order, can do that"
    )


def _tell_contents(found: Comparison) -> Iterator[str]:
    contents = found.settings.contents
    whole = [stage for stage, content in contents.items() if content.equal == content.both]
    if whole:
        number = sum(contents[stage].both for stage in whole)
        yield f"all {number} of {', '.join(whole)}"
    for stage, content in contents.items():
        if stage not in whole:
            missing = content.both - content.compared
            unread = f"; {missing} cannot be read" if missing else ""
            columns = f"; others differ in {', '.join(content.columns)}" if content.columns else ""
            yield f"{content.equal} of {content.both} of {stage}{columns}{unread}"


def _tell_problems(found: Comparison) -> Iterator[str]:
    for counts in found.problems:
        other = f" ({counts.other_text} ids with another question)" if counts.other_text else ""
        yield (
            f"{counts.kind} {counts.name}: {counts.both} in both, {counts.only_a} only in A, "
            f"{counts.only_b} only in B{other}; {counts.equal_answers} of {counts.both} answers "
            "are equal"
        )


def _tell_models(found: Comparison) -> Iterator[str]:
    for row in found.models:
        same = {True: "the same digest", False: "another digest", None: "cannot be read"}
        digests = " and ".join(str(row[side])[:12] for side in ("a", "b") if row[side])
        digests = str(row["a"])[:12] if row["equal"] else digests
        yield (
            f"{row['model']}: {same[row['equal']]} ({digests or 'none'}); of "
            f"{count(row['trained'], 'training')} in both, {row['trained_equal']} gave the same"
        )


def _tell_accuracies(found: Comparison) -> Iterator[str]:
    """The table; one block per student and training set."""
    reruns = sorted(found.reruns, key=lambda r: (r.dataset, r.model))
    if not reruns:
        return
    names = max(_width(r.arm) for r in reruns), max(_width(r.benchmark) for r in reruns)
    names = max(names[0], 3), max(names[1], 9)
    student = None
    for rerun in reruns:
        if student != (rerun.dataset, rerun.model):
            student = (rerun.dataset, rerun.model)
            yield ""
            yield _clean(f"Accuracy, %, {'/'.join(student)}", None)
            yield (
                f"  {'arm':<{names[0]}}  {'benchmark':<{names[1]}}  problems  seeds"
                f"      A      B  B - A      these models          new runs  lost  won       same"
            )
        yield _write_row(rerun, names)
    yield ""
    yield from WHAT_INTERVALS.format(level=f"{POINTS * CONFIDENCE:g}").splitlines()
    if any(rerun.same_student is not True for rerun in reruns):
        yield from OTHER_STUDENT.splitlines()
    golds = {r.benchmark: r.other_gold for r in reruns if r.other_gold}
    for name, number in golds.items():
        yield _clean(f"{name}: {number} of the common problems have another reference answer", None)


def _width(name: str) -> int:
    return min(28, len(_clean(name, 28)))


def _write_row(rerun: Rerun, names: tuple[int, int]) -> str:
    arm, benchmark = (_clean(text, 28) for text in (rerun.arm, rerun.benchmark))
    seeds = f"{len(rerun.seeds_a)}/{len(rerun.seeds_b)}"
    share = "-"
    if rerun.compared_answers:
        share = f"{rerun.equal_answers}/{rerun.compared_answers}"
    row = (
        f"  {arm:<{names[0]}}  {benchmark:<{names[1]}}  {rerun.problems:>8}  {seeds:>5}"
        f"  {POINTS * rerun.accuracy_a:5.1f}  {POINTS * rerun.accuracy_b:5.1f}"
        f"  {POINTS * rerun.difference:+5.1f}  {_write_interval(rerun.low, rerun.high):>16}"
        f"  {_write_interval(rerun.low_runs, rerun.high_runs):>16}"
        f"  {rerun.lost:>4}  {rerun.won:>3}  {share:>9}"
    )
    return row + ("" if rerun.same_student else " *")


def _write_interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "-"
    # with few runs the t interval leaves what a difference can be
    low, high = max(low, -1.0), min(high, 1.0)
    return f"{POINTS * low:+.1f} to {POINTS * high:+.1f}"


def _tell_skipped(found: Comparison) -> Iterator[str]:
    for skipped in found.skipped:
        number = skipped.evaluations
        yield skipped.what + (f" ({count(number, 'pair')} of evaluations)" if number > 1 else "")


def _tell_only(found: Comparison) -> Iterator[str]:
    for side, only in (("A", found.only_a), ("B", found.only_b)):
        for name, number in only.items():
            yield f"{side}: {name}" + (f" ({count(number, 'file')})" if name.endswith("/") else "")
