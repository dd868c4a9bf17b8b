"""Teacher traces of a problem: its candidates in order, and the first of them that checks."""

import polars as pl


def list_traces(problems: pl.DataFrame) -> pl.DataFrame:
    """problem_id, sample_id (the trace's rank among its problem's candidates) and response."""
    traces = pl.concat_list("teacher_trace", *_further(problems)).list.drop_nulls()
    listed = problems.select("problem_id", response=traces).explode("response").drop_nulls()
    rank = pl.int_range(pl.len()).over("problem_id").cast(pl.Int64)
    return listed.select("problem_id", rank.alias("sample_id"), "response")


def _further(problems: pl.DataFrame) -> list[pl.Expr]:
    """The column further_traces without nulls, where the frame has it."""
    empty_list = pl.lit([], pl.List(pl.String))
    has = "further_traces" in problems.columns
    return [pl.col("further_traces").fill_null(empty_list)] if has else []


def with_correct_traces(
    problems: pl.DataFrame, trace_verdicts: pl.DataFrame, trace_steps: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The problems with the first candidate that checks as ``teacher_trace``, null without one.

    A candidate checks whose answer is correct. With ``trace_steps`` one without a false step comes
    before one with it. ``trace_rank`` is the rank of the chosen one, ``trace_candidates`` their
    number.
    """
    right = trace_verdicts.filter(pl.col("verdict") == "correct").select("problem_id", "sample_id")
    order = ["sample_id"]
    if trace_steps is not None:
        false = trace_steps.select("problem_id", "sample_id", is_false=pl.col("false") > 0)
        right = right.join(false, on=["problem_id", "sample_id"], how="left")
        order = ["is_false", "sample_id"]
    first = right.sort("problem_id", *order).unique("problem_id", keep="first")
    chosen = first.select("problem_id", trace_rank="sample_id")
    traces = pl.concat_list("teacher_trace", *_further(problems)).list.drop_nulls()
    found = problems.join(
        chosen, on="problem_id", how="left", validate="1:1", maintain_order="left"
    ).with_columns(trace_candidates=traces.list.len(), teacher_trace=traces.list.get("trace_rank"))
    return found.drop("further_traces", "trace_sources", strict=False)
