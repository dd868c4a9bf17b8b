r"""Exact check: whether a chain in the embedded student's style is true in every step and column.

Input: a text, or a results folder. Output: True or False, or a table of the training rows per arm.
Independent of `orion.answers.steps`, which the filter `false_step` uses: every written step is
compared with the text that the generator writes for the same numbers.
Run: ``python -m orion.demo.exact_check results``.
"""

import argparse
import re

import polars as pl

from orion.demo.error_coverage import MARKER, parse_steps
from orion.demo.problems import Step, compute, write_step
from orion.paths import TRAIN, artifact

_BOX = re.compile(r"\\boxed\s*\{\s*(-?\d{1,9})\s*\}")
_SPACES = re.compile(r"\s+")


def is_wholly_true(text: str) -> bool:
    """Whether every step of a chain is as the generator writes it, and the box holds its result.

    True results, columns, carries and borrows, each step from the result of the step before.
    """
    chain = text.rpartition(MARKER)[2]
    steps = parse_steps(text)
    box = _BOX.search(chain)
    if box is None or not steps:
        return False
    written = [_SPACES.sub(" ", part).strip() for part in chain[: box.start()].split(";")]
    value = None
    for step, found in zip(steps, written, strict=False):
        if step is None or (value is not None and step.left != value):
            return False
        value = compute(step.left, step.op, step.operand)
        exact = Step(step.left, step.op, step.operand, value)
        if f"{found} ;" != write_step(exact, step.detailed):
            return False
    return value == int(box[1])


def reads_step(text: str) -> bool:
    """Whether any step of a text is in the student's style, the only one that is checked here."""
    return any(step is not None for step in parse_steps(text))


def records_steps(problems: pl.DataFrame) -> bool:
    """Whether the problems' meta holds their steps, with the result of each."""
    meta: list[pl.Field] = problems.schema["meta"].fields  # type: ignore[attr-defined]
    types = {field.name: field.dtype for field in meta}
    step = getattr(types.get("steps"), "inner", None)
    return isinstance(step, pl.Struct) and "result" in {field.name for field in step.fields}


def share_of_true_rows(results: str) -> pl.DataFrame:
    """Per dataset, model and arm: training rows by kind, and the share that is wholly true."""
    rows = []
    for path in sorted(artifact(results, "").glob(TRAIN.format(dataset="*", model="*", arm="*"))):
        dataset, model, arm = path.parts[-4:-1]
        table = pl.read_parquet(path, columns=["completion", "target_kind"])
        for kind, part in table.group_by("target_kind", maintain_order=True):
            # traces are in another style, and a reference solution may hold the answer alone
            if kind[0] in ("teacher_trace", "solution"):
                continue
            true = sum(map(is_wholly_true, part["completion"]))
            rows.append((dataset, model, arm, kind[0], part.height, true, true / part.height))
    columns = ["dataset", "model", "arm", "target_kind", "rows", "wholly_true", "share"]
    return pl.DataFrame(rows, columns, orient="row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", help="the results folder of a run of the embedded default")
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True):
        print(share_of_true_rows(parser.parse_args().results))


if __name__ == "__main__":
    main()
