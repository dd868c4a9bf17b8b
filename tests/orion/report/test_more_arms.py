"""The report on arms of config/arms.yaml: what they are trained on, in words and in numbers."""

import csv
import re

import polars as pl
import pytest

from tests.helpers import fake_results
from tests.orion.report.conftest import REPORT, Run

ARMS = {
    "upft": {
        "trained_on": "own_sample",
        "select": {"max_per_problem": 1},
        "pack": {"prefix_tokens": 8},
    },
    "early": {"trained_on": "teacher_trace", "pack": {"prefix_share": 0.25}},
    "mixed": {"trained_on": "own_correct", "mix": {"teacher_share": 0.25}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("more")
    raw = fake_results.configuration(problems=24)
    raw["arms"] = {"base": {"trained_on": "nothing"}, **ARMS}
    raw["runs"] |= {"arms": list(raw["arms"]), "seeds": [1], "benchmarks": ["chains-test"]}
    raw["comparisons"] = [{"arm": "upft", "against": "base"}]
    with pytest.MonkeyPatch.context() as patch:
        for arm in ARMS:
            patch.setitem(fake_results.SKILL, arm, 0.5)
        fake_results.make(folder, raw)
    found = Run(folder, raw)
    found.report()
    return found


def read_rows_by_kind(page):
    """The header cells of the table of training rows, and the cells of each of its rows."""
    table = page.split("Training rows by kind")[1].split("</table>")[0]
    head, body = table.split("<tbody>")
    cells = re.compile(r"<t[hd][ >]")
    return re.findall(r"<th[^>]*>(.*?)</th>", head), [
        len(cells.findall(row)) for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL)
    ]


def test_rows_of_unchecked_samples_have_a_column_where_there_are_any(run, finished):
    head, rows = read_rows_by_kind(run.page)
    assert "own sample, unchecked" in head and set(rows) == {len(head)} and len(rows) == 3
    head, rows = read_rows_by_kind(finished.page)
    assert "own sample, unchecked" not in head and set(rows) == {len(head)}
    path = run.folder / REPORT / "selection.csv"
    found = {row["arm"]: row for row in csv.DictReader(path.open(encoding="utf-8"))}
    for arm, row in found.items():
        train = pl.read_parquet(run.results / "datasets/chains/tiny" / arm / "train.parquet")
        for kind in ("own_sample", "own_correct", "teacher_trace", "reflection"):
            assert int(row[kind]) == train.filter(pl.col("target_kind") == kind).height
    assert int(found["upft"]["own_sample"]) > 0 < int(found["mixed"]["teacher_trace"])
    columns = (finished.folder / REPORT / "selection.csv").read_text(encoding="utf-8")
    assert "own_sample" not in columns


def test_an_arm_is_described_by_its_configuration(run):
    assert "the first 25 % of the tokens of each" in run.page
    assert "25 % of the rows are teacher traces" in run.page


def test_all_samples_count_where_their_answers_do_not(run):
    rows = {row["arm"]: row for row in find_table(run.doc, "rows_checked")}
    samples = pl.read_parquet(run.results / "datasets/chains/tiny/samples.parquet")
    assert rows["upft"]["texts"] == samples.height
    assert rows["mixed"]["texts"] < samples.height
    # a false step of the whole text may stand behind the cut
    assert rows["upft"]["rows"] > rows["upft"]["rows_checked"] == 0
    made = {row["arm"]: row for row in find_table(run.doc, "sample_tokens")}
    assert made["upft"]["samples"] == samples.height


def test_rows_that_are_cut_are_not_measured(run):
    rows = run.doc["results"][0]["coherence"]
    found = {row["arm"]: row for row in rows if row["texts"] == "training"}
    for arm, row in found.items():
        train = pl.read_parquet(run.results / "datasets/chains/tiny" / arm / "train.parquet")
        assert row["count"] == train.height > 0
    for arm in ("upft", "early"):
        row = found[arm]
        assert row["checked"] == row["with_ngram"] == 0
        assert row["readable"] is row["repeated_ngrams"] is row["mean_steps"] is None
    mixed = found["mixed"]
    assert mixed["checked"] == mixed["count"] == mixed["with_ngram"] > mixed["readable"] > 0


def find_table(value, key):
    """The first list of rows with a column of this name, anywhere in the document."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and key in value[0]:
        return value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = (find_table(part, key) for part in parts)
    return next((each for each in found if each), None)
