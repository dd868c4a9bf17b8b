"""``orion why DATASET/MODEL/ARM/PROBLEM``: how a problem became training rows, or did not.

Inputs: the tables of a run; what made them is in their provenance. Outputs: text on standard
output: question, trace, samples, exposed errors, prompts, candidates, training rows, packed rows,
each with its file and the number of its row there, from 0. Nothing is generated. BENCHMARK:PROBLEM
in the place of PROBLEM tells how the arm answered a problem of a benchmark.
Run: ``orion why --help``.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from orion import paths, prompts, tables
from orion.cli.why_evaluated import BenchmarkHistory
from orion.cli.why_rows import LINE, NO_FILE, ProblemRows, join_found, say_check, show
from orion.errors import InputError
from orion.experiment.candidates import TRUNCATED, Candidates, Rows
from orion.experiment.pairs import ERROR_PAIRS
from orion.experiment.reflected import Reflections
from orion.experiment.selected import UNCHECKED
from orion.experiment.traces import list_traces, with_correct_traces
from orion.models.document import read_document
from orion.models.training_documents import RejectedRowError
from orion.stages import command, pack, reflect, select
from orion.training.document_file import IGNORED
from orion.training.row_encoding import COLUMNS, is_held_out, make_encoder
from orion.training.table_slices import read_slices

# packed rows that are in memory at a time
SLICE_ROWS = 64


def add(commands: Any) -> None:
    """Add the command ``why`` to the subparsers of the console script."""
    parser = commands.add_parser(
        "why",
        help="how one problem became training rows of an arm, or why it did not; how an arm "
        "answered a problem of a benchmark",
    )
    parser.add_argument("place", metavar="DATASET/MODEL/ARM/[BENCHMARK:]PROBLEM")
    parser.add_argument("--results", default="results", metavar="DIR")
    parser.add_argument("--full", action="store_true", help="whole texts, not their first words")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    place = args.place.split("/", 3)
    if len(place) < 4 or not all(place):
        raise InputError(
            f"{args.place}: name DATASET/MODEL/ARM/PROBLEM, as in chains/tiny/orion/p1, or "
            "DATASET/MODEL/ARM/BENCHMARK:PROBLEM"
        )
    width = None if args.full else shutil.get_terminal_size((100, 24)).columns
    for line in find_history(Path(args.results), *place).tell(width):
        print(line)


def find_history(
    results: Path, dataset: str, model: str, arm: str, problem: str
) -> "History | BenchmarkHistory":
    """Of a problem of the dataset, or of BENCHMARK:PROBLEM where the results have the benchmark.

    Raises InputError where neither is there. The id of a problem may hold colons itself.
    """
    benchmark, colon, rest = problem.partition(":")
    benchmarks = paths.artifact(results, paths.BENCHMARK_PROBLEMS, benchmark=benchmark)
    try:
        return History(results, dataset, model, arm, problem)
    except InputError:
        if not colon or not benchmarks.is_file():
            raise
    return BenchmarkHistory(results, dataset, model, arm, benchmark, rest)


class History(ProblemRows):
    """What the tables of a run say about one problem in one arm.

    Raises InputError where the problem, the student or the arm is not in the results.
    """

    def __init__(self, results: Path, dataset: str, model: str, arm: str, problem_id: str):
        super().__init__(results, problem_id, dataset=dataset, model=model, arm=arm)
        traced = self.path(paths.PROBLEMS_WITH_TRACES)
        self.problems_file = traced if traced.is_file() else self.path(paths.PROBLEMS)
        if not self.problems_file.is_file():
            raise InputError(
                f"{self.problems_file}: {NO_FILE}; run the pipeline, or give --results"
            )
        self.problem = self.rows_of(self.problems_file, tables.PROBLEMS)
        if self.problem.is_empty():
            raise InputError(self.explain_absence(self.problems_file, paths.REJECTED))
        self.train_file = self.path(paths.TRAIN)
        if not self.train_file.parent.is_dir():
            known = sorted(p.name for p in self.train_file.parent.parent.glob("*") if p.is_dir())
            there = f"there are {', '.join(known)}" if known else "it has no arms"
            raise InputError(f"{self.train_file.parent}: no such arm has been made; {there}")
        self.settings = None
        # of an arm that is matched, the rows before it hold what chose them
        unmatched = self.path(paths.UNMATCHED_TRAIN)
        self.selected_file = unmatched if unmatched.is_file() else self.train_file
        if self.selected_file.is_file():
            keys = tables.read_provenance(self.selected_file)["config"]
            self.settings = command.read_config(select.SelectConfig, keys, str(self.selected_file))

    def tell(self, width: int | None) -> Iterator[str]:
        """The lines to print."""
        for title, file, lines in self._sections(width):
            yield f"{title:<12}{file}"
            yield from lines
        yield f"{'so':<12}{self._conclude()}"

    def _sections(self, width: int | None) -> Iterator[tuple[str, str, list[str]]]:
        row = self.problem.row(0, named=True)
        lines = [*show(row["problem"], width), *show(f"answer: {row['answer']}", width)]
        yield "question", f"{self.problems_file}, row {row[LINE]}", lines
        yield "traces", str(self.path(paths.TRACE_VERDICTS)), list(self._tell_traces(width))
        yield "samples", str(self.path(paths.SAMPLES)), list(self._tell_samples(width))
        errors = self.read(paths.ERRORS, tables.ERRORS)
        if errors is not None:
            file = str(self.path(paths.ERRORS))
            other = tables.read_provenance(file)["config"].get("model")
            yield "errors", file, list(_tell_errors(errors, width, other))
        reflections = self.read(paths.REFLECTIONS, tables.REFLECTIONS)
        if reflections is not None and errors is not None:
            file = str(self.path(paths.REFLECTIONS))
            yield "prompts", f"as {file} records them", list(self._tell_prompts(errors, width))
            yield "candidates", file, list(self._tell_reflections(reflections, errors, width))
        if self.selected_file != self.train_file:
            before = self.rows_of(self.selected_file, tables.TRAIN)
            lines = list(_tell_training(before, width))
            yield "unmatched", str(self.selected_file), lines
        trained = self.read(paths.TRAIN, tables.TRAIN)
        lines = [f"    {NO_FILE}"] if trained is None else list(_tell_training(trained, width))
        yield "trained on", str(self.train_file), lines
        if trained is not None and trained.height:
            yield "packed", str(self.path(paths.PACKED)), list(self._tell_packed(trained))

    def _tell_traces(self, width: int | None) -> Iterator[str]:
        traces = list_traces(self.problem)
        verdicts = self.read(paths.TRACE_VERDICTS, tables.VERDICTS)
        steps = self.read(paths.TRACE_STEPS, tables.STEPS)
        if traces.is_empty():
            yield "    the problem has no trace"
        elif verdicts is None or steps is None:
            yield f"    {NO_FILE}"
        else:
            checked = join_found(traces, verdicts, steps)
            for row in checked.iter_rows(named=True):
                yield f"  row {row[LINE]}: candidate {row['sample_id']}, {say_check(row)}"
                yield from show(row["response"], width)

    def _tell_samples(self, width: int | None) -> Iterator[str]:
        samples = self.read(paths.SAMPLES, tables.SAMPLES)
        verdicts = self.read(paths.VERDICTS, tables.VERDICTS)
        steps = self.read(paths.STEPS, tables.STEPS)
        if samples is None or verdicts is None or steps is None:
            yield f"    {NO_FILE}"
            return
        checked = join_found(samples, verdicts, steps)
        objections: Sequence[tuple[str, ...]] = [()] * samples.height
        is_checked = not checked["verdict"].null_count() and not checked["true_steps"].null_count()
        own = self.settings is not None and self.settings.trained_on in select.OWN_TEXTS
        if self.settings is not None and own and is_checked:
            candidates = Candidates(
                self.problem,
                checked,
                names=self.settings.filters,
                limits=self.settings.limits,
                max_per_problem=self.settings.max_per_problem,
                unchecked=self.settings.trained_on == UNCHECKED,
            )
            objections = candidates.objections
            if self.settings.trained_on == ERROR_PAIRS:
                # a wrong sample is there to be preferred, if it ended by itself
                wrong = checked["verdict"] == "incorrect"
                objections = [
                    tuple(name for name in found if name == TRUNCATED or not is_wrong)
                    for found, is_wrong in zip(objections, wrong, strict=True)
                ]
        for row, found in zip(checked.iter_rows(named=True), objections, strict=True):
            removed = f"; removed by {', '.join(found)}" if found else ""
            yield f"  row {row[LINE]}: sample {row['sample_id']}, {say_check(row)}{removed}"
            yield from show(row["response"], width)

    def _choose_trace(self, settings: Any) -> pl.DataFrame:
        """The problem with the trace that the prompts and the arm on traces have."""
        verdicts = self.read(paths.TRACE_VERDICTS, tables.VERDICTS)
        steps = self.read(paths.TRACE_STEPS, tables.STEPS)
        assert verdicts is not None, "reflections are made behind the check of the traces"
        return with_correct_traces(
            self.problem, verdicts, steps if settings.drop_false_traces else None
        )

    def _tell_prompts(self, errors: pl.DataFrame, width: int | None) -> Iterator[str]:
        file = self.path(paths.REFLECTIONS)
        keys = tables.read_provenance(file)["config"]
        settings = command.read_config(reflect.ReflectConfig, keys, str(file))
        planned = reflect.plan_prompts(
            self._choose_trace(settings),
            errors,
            prompt_includes=settings.prompt_includes,
            rewrite=settings.rewrite,
            errors_per_prompt=settings.errors_per_prompt,
        )
        for item in planned:
            shown = [f"{len(item.errors)} attempt" + "s" * (len(item.errors) != 1)]
            shown += ["the trace"] if item.teacher is not None else []
            shown += ["the answer"] if item.answer is not None else []
            yield f"  {item.template}, {_say_ranks(item.error_ranks)}: shows {' and '.join(shown)}"
            turns = prompts.reflect_messages(
                settings.prompts,
                self.problem["problem"][0],
                teacher=item.teacher,
                errors=item.errors,
                answer=item.answer,
                task=settings.task,
            )
            yield from show("\n\n".join(turn["content"] for turn in turns), width)
        if not planned:
            yield "    none: no error is exposed, or no trace checks"

    def _tell_reflections(
        self, reflections: pl.DataFrame, errors: pl.DataFrame, width: int | None
    ) -> Iterator[str]:
        verdicts = self.read(paths.REFLECTION_VERDICTS, tables.VERDICTS)
        steps = self.read(paths.REFLECTION_STEPS, tables.STEPS)
        if verdicts is None or steps is None or self.settings is None:
            yield f"    not checked or not selected yet: {reflections.height} reflections"
            return
        problems = Rows(self._choose_trace(self.settings), "problem_id")
        checked = join_found(reflections, verdicts, steps)
        if checked["verdict"].null_count() or checked["true_steps"].null_count():
            yield "    some were never checked; delete their verdicts and steps, and run again"
            return
        found = Reflections(
            checked,
            errors,
            problems,
            names=self.settings.filters,
            limits=self.settings.limits,
        ).objections
        taken = self._list_taken()
        first: dict[str | None, int] = {}
        for row, objections in zip(checked.iter_rows(named=True), found, strict=True):
            removed = f"removed by {', '.join(objections)}" if objections else "passes"
            if not objections:
                text = prompts.extract_refined(self.settings.prompts, row["response"])
                same = first.setdefault(text, row["sample_id"])
                if same != row["sample_id"] and row["sample_id"] not in taken:
                    removed += f", with the text of reflection {same}"
                elif row["sample_id"] not in taken:
                    cut = self.settings.self_correction is not None
                    why = "its attempt has no false step, or " if cut else ""
                    removed += f", and is not taken: {why}the problem has other rows"
            yield (
                f"  row {row[LINE]}: reflection {row['sample_id']} ({row['template']}, "
                f"{_say_ranks(row['error_ranks'])}), {say_check(row)}; {removed}"
            )
            yield from show(row["response"], width)

    def _list_taken(self) -> set[int]:
        """The reflections that are training rows, before the arm is matched with others."""
        assert self.settings is not None, "asked where something is selected"
        rows = self.rows_of(self.selected_file, tables.TRAIN)
        return set(rows.filter(pl.col("target_kind") == "reflection")["sample_id"])

    def _tell_packed(self, trained: pl.DataFrame) -> Iterator[str]:
        file, model = self.path(paths.PACKED), self.path(paths.MODEL)
        if not file.is_file() or not model.is_file():
            yield f"    {NO_FILE}"
            return
        keys = tables.read_provenance(file)["config"]
        settings = command.read_config(pack.PackConfig, keys, str(file))
        try:
            encoder = make_encoder(settings, read_document(model))
        except InputError as error:
            yield f"    not looked up: {error}"
            return
        # rows that are cut to a prefix may have the same tokens
        wanted: dict[tuple[int, ...], list[int]] = {}
        for _, number, prompt, text, kind in trained.select(COLUMNS).iter_rows():
            try:
                tokens, _ = settings.encode(encoder, prompt, text, kind)
            except RejectedRowError as error:
                yield f"    training row {number}: rejected, {error.reason}: {error}"
                continue
            if len(tokens) > settings.max_length:
                limit = f"pack.max_length = {settings.max_length}"
                yield f"    training row {number}: dropped, {len(tokens)} tokens, and {limit}"
                continue
            wanted.setdefault(tuple(tokens), []).append(number)
        fraction = settings.validation_fraction
        held_out = fraction is not None and is_held_out(self.problem_id, fraction)
        where = find_documents(file, set(wanted))
        for ids, numbers in wanted.items():
            number = ", ".join(map(str, numbers))
            if ids not in where:
                reason = "its pair is too long, or " if settings.pairs else "so "
                yield f"    training row {number}: not in the file, {reason}that had other rows"
                continue
            row, place, documents, labels = where[ids]
            yield (
                f"  row {row}: training row {number} is document {place} of {documents}, "
                f"{len(ids)} tokens, {labels} trained on"
                + ("; held out for validation" if held_out else "")
            )

    def _conclude(self) -> str:
        """One line on what came of the problem."""
        trained = self.read(paths.TRAIN, tables.TRAIN)
        if trained is None or self.settings is None:
            return "no training rows: the arm is not trained, or nothing is selected yet"
        wanted = self.settings.trained_on
        if trained.height:
            kinds = trained["target_kind"].unique(maintain_order=True).to_list()
            rows = f"{trained.height} training row" + "s" * (trained.height != 1)
            mixed = self.settings.mix is not None and kinds == ["teacher_trace"]
            other = (
                f", by {'mix' if mixed else 'a fallback, since the arm is trained on ' + wanted}"
            )
            is_usual = wanted in kinds or wanted == ERROR_PAIRS
            return f"{rows}: {', '.join(kinds)}{'' if is_usual else other}"
        if self.selected_file != self.train_file:
            before = self.rows_of(self.selected_file, tables.TRAIN)
            if before.height:
                return f"no training row: matching removed all {before.height}"
        if self.settings.mix is not None:
            return f"no training row: the problem has no usable {wanted}, or mix left it out"
        if wanted not in select.ON_ERRORS:
            return f"no training row: the problem has no usable {wanted}"
        verdicts = self.read(paths.VERDICTS, tables.VERDICTS)
        wrong = verdicts is not None and "incorrect" in verdicts["verdict"]
        case = "fallback_all_filtered" if wrong else "fallback_no_error"
        passes = "no candidate passes"
        if self.settings.self_correction is not None:
            passes += ", or no attempt behind one has a false step"
        reason = passes if wrong else "the student has no wrong sample"
        return f"no training row: {reason}, and select.{case} is {getattr(self.settings, case)}"


def _say_ranks(ranks: Sequence[int]) -> str:
    return f"error {', '.join(map(str, ranks))}" if ranks else "no error"


def _tell_errors(errors: pl.DataFrame, width: int | None, model: str | None) -> Iterator[str]:
    for row in errors.iter_rows(named=True):
        source = row["source"].replace("_", " ")
        if row["sample_id"] is not None:
            other = "" if row["own_sample_id"] is not None else f" of the model {model}"
            source += f", sample {row['sample_id']}{other} of {row['source_problem_id']}"
        yield f"  row {row[LINE]}: error {row['rank']}, {source}"
        yield from show(row["response"], width)
    if errors.is_empty():
        yield "    none"


def _tell_training(rows: pl.DataFrame, width: int | None) -> Iterator[str]:
    for row in rows.iter_rows(named=True):
        of = "" if row["sample_id"] is None else f" {row['sample_id']}"
        errors = row["error_sample_ids"]
        shown = f", with sample {', '.join(map(str, errors))} in view" if errors else ""
        yield f"  row {row[LINE]}: training row {row['row']}, {row['target_kind']}{of}{shown}"
        yield from show(row["completion"], width)
    if rows.is_empty():
        yield "    none"


def find_documents(
    path: Path, wanted: set[tuple[int, ...]]
) -> dict[tuple[int, ...], tuple[int, int, int, int]]:
    """Where documents of these token ids stand in a packed table.

    Token ids → row, number of the document in it from 0, documents in the row, trained tokens.
    """
    columns = ["row", "input_ids", "labels", "seq_lengths"]
    lengths = {len(ids) for ids in wanted}
    found: dict[tuple[int, ...], tuple[int, int, int, int]] = {}
    for frame in read_slices(path, tables.PACKED, columns, rows=SLICE_ROWS):
        for row, ids, labels, parts in frame.iter_rows():
            start = 0
            for place, length in enumerate(parts):
                here = slice(start, start + length)
                document = tuple(ids[here]) if length in lengths else ()
                if document in wanted and document not in found:
                    trained = sum(label != IGNORED for label in labels[here])
                    found[document] = (row, place, len(parts), trained)
                start += length
    return found
