"""What an arm's training rows are chosen from: the tables that `orion.stages.select` reads.

Input: the tables by the names of the stage's options. Output: samples and reflections with what was
found when they were checked, and the problems with the trace that is used.
"""

from dataclasses import dataclass

import polars as pl

from orion import tables
from orion.experiment.candidates import FIRST, KEY, join_checks
from orion.experiment.surprise import PREFERENCES, SURPRISALS, with_surprisal
from orion.experiment.traces import list_traces, with_correct_traces


@dataclass(frozen=True)
class Inputs:
    """What the stage reads; samples and reflections are joined with their verdict and false steps.

    ``problems``: with the first trace that checks, null without one. ``false_traces``: the problems
    whose chosen trace has a false step.
    """

    problems: pl.DataFrame
    samples: pl.DataFrame
    errors: pl.DataFrame
    reflections: pl.DataFrame
    false_traces: list[str]


# the options that name an input, and its table; the second group is for arms whose student answers
REQUIRED = {
    "problems": tables.PROBLEMS,
    "trace_verdicts": tables.VERDICTS,
    "trace_steps": tables.STEPS,
}
OPTIONAL = {
    "samples": tables.SAMPLES,
    "verdicts": tables.VERDICTS,
    "steps": tables.STEPS,
    "errors": tables.ERRORS,
    "reflections": tables.REFLECTIONS,
    "reflection_verdicts": tables.VERDICTS,
    "reflection_steps": tables.STEPS,
    "sample_surprisal": SURPRISALS,
    "reflection_surprisal": SURPRISALS,
}
# of each kind of table, the columns that the stage needs; all where it has no row here
_TEXT = [*KEY, "template", "response", "finish_reason", "completion_tokens"]
COLUMNS = {
    "samples": _TEXT,
    "reflections": [*_TEXT, "error_ranks"],
    "verdicts": [*KEY, "verdict"],
    "steps": [*KEY, "true", "false"],
    "errors": ["problem_id", "rank", "sample_id", "own_sample_id"],
}


def read_inputs(files: dict[str, str], *, true_traces: bool = False, prefer: str = FIRST) -> Inputs:
    """The tables by the name of their option; an optional one that is not given is empty.

    ``true_traces``: a trace without a false step is taken before one with it. ``prefer``: for one
    of `orion.experiment.surprise`, samples and reflections have the column that it goes by.

    Raises InputError where a sample, a reflection or a trace has no verdict or no steps.
    """
    found = {
        name: tables.read(files[name], table, COLUMNS.get(table.name))
        if name in files
        else tables.empty(table)
        for name, table in {**REQUIRED, **OPTIONAL}.items()
    }

    # an error of another model has no sample of the student behind it
    is_own = pl.col("own_sample_id").is_not_null()
    found["errors"] = found["errors"].with_columns(pl.when(is_own).then("sample_id"))

    def join(texts: pl.DataFrame, verdicts: str, steps: str) -> pl.DataFrame:
        named = [files.get(name, name) for name in (verdicts, steps)]
        return join_checks(texts, found[verdicts], found[steps], files=named)

    for name in ("sample", "reflection") if prefer in PREFERENCES else ():
        by = found[f"{name}_surprisal"]
        found[f"{name}s"] = with_surprisal(found[f"{name}s"], by, prefer)

    traces = list_traces(found["problems"]).drop("response")
    checked = join(traces, "trace_verdicts", "trace_steps")
    steps = found["trace_steps"] if true_traces else None
    problems = with_correct_traces(found["problems"], found["trace_verdicts"], steps)
    chosen = problems.select("problem_id", sample_id="trace_rank").drop_nulls()
    false = checked.join(chosen, on=["problem_id", "sample_id"]).filter(pl.col("false_steps") > 0)
    return Inputs(
        problems,
        join(found["samples"], "verdicts", "steps"),
        found["errors"],
        join(found["reflections"], "reflection_verdicts", "reflection_steps"),
        false["problem_id"].sort().to_list(),
    )
