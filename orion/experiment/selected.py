"""Write what an arm is trained on: its rows, the summary in filters.json, a preview for reading.

Input: training rows (table train) and the summary of how they were chosen. Output: three files.
"""

import json
from collections import Counter
from dataclasses import replace

import polars as pl

from orion import tables
from orion.experiment.candidates import Objections, Row
from orion.experiment.pairs import ERROR_PAIRS, OWN_WRONG
from orion.paths import AtomicFile

PREVIEW_ROWS = 50
# own samples that nobody checked, or that are wrong, came later; a change of `orion.tables` would
# rerun every stage
UNCHECKED = "own_sample"
KINDS = (*tables.TRAIN.allowed["target_kind"], UNCHECKED, OWN_WRONG)
# kinds that only arms trained on this have
KINDS_OF_ARMS = {UNCHECKED: UNCHECKED, OWN_WRONG: ERROR_PAIRS}
TRAIN_TABLE = replace(tables.TRAIN, allowed={"target_kind": KINDS})


def waterfall(objections: Objections, names: list[str]) -> tuple[list[Row], dict[str, int]]:
    """How many texts each filter removes in its turn; how many it objects to in any order."""
    left = len(objections)
    first = Counter(found[0] for found in objections if found)
    steps = []
    for name in names:
        left -= first[name]
        steps.append({"filter": name, "removed": first[name], "left": left})
    return steps, dict(Counter(name for found in objections for name in found))


def count_rows(train: pl.DataFrame) -> Row:
    """The part of the summary that counts the training rows."""
    return {
        "rows": train.height,
        "rows_by_kind": dict(sorted(Counter(train["target_kind"]).items())),
        "problems_trained": train["problem_id"].n_unique(),
    }


def write_selected(
    train: pl.DataFrame, summary: Row, record: Row, *, output: str, filters: str, preview: str
) -> None:
    """Publish the summary, the preview and, last, the training rows."""
    tables.write_json(summary, filters, record)
    with AtomicFile(preview) as partial:
        lines = [
            json.dumps(row, ensure_ascii=False)
            for row in train.head(PREVIEW_ROWS).iter_rows(named=True)
        ]
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tables.write(train, output, TRAIN_TABLE, record)


def explain_too_few(summary: Row, kind: str) -> str:
    """The counts behind too few training rows, and the cures that this kind of row has."""
    cure = "or lower select.min_rows"
    if kind == "reflection":
        found = (
            f"{summary['reflections']} reflections, waterfall {json.dumps(summary['waterfall'])}."
        )
        if "self_correction" in summary:
            found += f" self_correction: {json.dumps(summary['self_correction'])}."
        return f"{found} Relax select.filters, choose another fallback_all_filtered, {cure}"
    usable = summary["problems_trained"]
    why = f"{usable} of the {summary['problems']} problems have a usable {kind}."
    if kind == "own_correct":
        return f"{why} {json.dumps(summary['own_samples'])}. Relax select.filters, {cure}"
    if kind == ERROR_PAIRS:
        return (
            f"{json.dumps(summary['pairs'])} of {summary['problems']} problems, two rows for each "
            f"pair; {json.dumps(summary['own_samples'])}. Raise sample.num_samples or "
            f"sample.max_tokens, relax select.filters, {cure}"
        )
    if kind == "own_sample":
        return f"{why} Raise sample.max_tokens, so that more samples end by themselves, {cure}"
    if kind == "teacher_trace":
        return (
            f"{why} {json.dumps(summary['teacher_traces'])}. Map fields.teacher_trace, name traces "
            f"or a teacher, see trace_verdicts.parquet for traces that do not check, {cure}"
        )
    return f"{why} Map fields.solution, or see lint.json for golds that are no answers; {cure}"
