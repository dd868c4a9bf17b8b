"""The stage match on tables: what is kept, what filters.json says, what is refused."""

import json

import polars as pl
import pytest

from orion import tables
from orion.demo.tokenizer import build_tokenizer
from orion.errors import InputError
from orion.models.training_documents import DocumentEncoder
from orion.stages import match
from orion.training.row_encoding import RowEncoding, count_trained_tokens
from tests.helpers.counted_model import write_model

ARMS = {"orion": {"a": 2, "b": 1, "c": 2}, "other": {"a": 1, "b": 2}, "third": {"b": 2, "a": 2}}


def make_train(counts) -> pl.DataFrame:
    return tables.from_rows(
        (
            {
                "problem_id": p,
                "row": i,
                "prompt": "Question: 1 + 1 ?",
                # of other lengths from row to row
                "completion": "1 + 1 = 2 ; " * (i + 1) + "\\boxed{ 2 }",
                "target_kind": "own_correct" if p == "b" else "reflection",
                "sample_id": i,
                "error_sample_ids": [],
                "filters_passed": [],
            }
            for p, count in counts.items()
            for i in range(count)
        ),
        tables.TRAIN,
    )


@pytest.fixture
def folder(tmp_path):
    for arm, counts in ARMS.items():
        tables.write(make_train(counts), tmp_path / arm, tables.TRAIN, {})
    summary = {"arm": "orion", "rows": 5, "rows_by_kind": {}, "problems_trained": 3, "problems": 9}
    tables.write_json(summary, tmp_path / "before.json", {"of": "select"})
    return tmp_path


def run(folder, keys, others=(), min_rows=1, own="orion", **options):
    config = {"match": keys, "min_rows": min_rows, **options.pop("config", {})}
    argv = ["--config", json.dumps(config), "--arm", "orion"]
    argv += ["--rows", str(folder / own), "--rows-filters", str(folder / "before.json")]
    argv += ["--others", *(str(folder / arm) for arm in others)]
    for name, path in options.items():
        argv += [f"--{name}", str(path)]
    outputs = {name: str(folder / f"out-{name}") for name in ("output", "filters", "preview")}
    match.main([*argv, *(word for name, path in outputs.items() for word in (f"--{name}", path))])
    return tables.read(outputs["output"], tables.TRAIN), tables.read_json(outputs["filters"])


def test_problems_and_rows_with_the_waterfall(folder):
    keys = {"problems": ["other", "third"], "rows": True}
    rows, summary = run(folder, keys, ["other", "third"])
    assert rows.select("problem_id", "row").rows() == [("a", 0), ("b", 0)]
    assert summary["matching"]["waterfall"] == [
        {"filter": "other_problem", "removed": 2, "left": 3},
        {"filter": "more_rows", "removed": 1, "left": 2},
    ]
    assert summary["rows"] == summary["problems_trained"] == 2
    assert summary["rows_by_kind"] == {"own_correct": 1, "reflection": 1}
    # what the selection said is still there
    assert summary["problems"] == 9 and summary["provenance"]["module"] == "orion.stages.match"
    inputs = {"rows", "rows_filters", "rows of other", "rows of third"}
    assert set(tables.read_provenance(folder / "out-output")["inputs"]) == inputs
    assert len((folder / "out-preview").read_text().splitlines()) == 2


def test_too_few_rows_and_wrong_files_are_refused(folder):
    keys = {"problems": ["other", "third"], "rows": True}
    with pytest.raises(InputError, match=r"matching leaves 2 training rows, fewer .* = 3"):
        run(folder, keys, ["other", "third"], min_rows=3)
    with pytest.raises(InputError, match="1 files for the arms other, third"):
        run(folder, {"problems": ["other", "third"]}, ["other"])
    with pytest.raises(InputError, match="tokens needs --budget and --model"):
        run(folder, {"tokens": "other"})
    assert not (folder / "out-output").exists()


def test_the_tokens_of_a_row_are_those_of_its_packed_document():
    tokenizer = build_tokenizer()
    encoder = DocumentEncoder(tokenizer, eos={tokenizer.eos_token_id}, enable_thinking=None)
    rows = make_train({"a": 3})
    counts = count_trained_tokens(rows, RowEncoding(max_length=512), encoder)
    # the completion's words, each digit and sign one token, and the token that ends it
    assert counts == [len(text.split()) + 1 for text in rows["completion"]]
    # a row that is too long, or held out, is not trained on
    longest = max(
        len(encoder.encode(r["prompt"], r["completion"], is_own_sample=False)[0])
        for r in rows.rows(named=True)
    )
    assert count_trained_tokens(rows, RowEncoding(longest - 1), encoder) == [*counts[:2], 0]
    assert (
        count_trained_tokens(rows, RowEncoding(512, validation_fraction=0.999999), encoder)
        == [0] * 3
    )


def count_tokens(rows):
    """A completion's words, digits and signs, and the token that ends it."""
    return [len(text.split()) + 1 for text in rows["completion"]]


@pytest.mark.parametrize("rows", [False, True])
def test_arms_are_cut_to_the_one_with_the_fewest_tokens(folder, rows):
    """Each of them computes the same budget, whichever of them it is."""
    model = write_model(folder)
    # the trained tokens of problems a and b, which all have, counted here by hand
    shared = {arm: {p: n for p, n in ARMS[arm].items() if p != "c"} for arm in ARMS}
    if rows:
        fewest = {p: min(shared[arm][p] for arm in ARMS) for p in "ab"}
        shared = dict.fromkeys(ARMS, fewest)
    expected = {arm: sum(count_tokens(make_train(counts))) for arm, counts in shared.items()}
    budget = min(expected.values())
    assert rows or budget == expected["other"] == expected["orion"] < expected["third"]
    for arm in ARMS:
        others = [name for name in ARMS if name != arm]
        kept, summary = run(
            folder,
            {"problems": others, "rows": rows, "fewest_tokens": True},
            others,
            own=arm,
            model=model,
            config={
                "pack": {"max_length": 512},
                "other_packs": {name: {"max_length": 512} for name in others},
            },
        )
        assert summary["matching"]["budget"] == budget
        tokens = sum(count_tokens(kept))
        assert summary["matching"]["trained_tokens"] == tokens
        assert budget - max(count_tokens(make_train(ARMS[arm]))) < tokens <= budget
        if expected[arm] == budget:
            # the arm with the fewest keeps all that it shares
            assert tokens == budget
    assert "model" in tables.read_provenance(folder / "out-output")["inputs"]


def test_the_budget_counts_what_each_arm_packs_of_its_rows(folder):
    """An arm on prefixes has the fewest tokens of them."""
    _, summary = run(
        folder,
        {"problems": ["third"], "fewest_tokens": True},
        ["third"],
        model=write_model(folder),
        config={
            "pack": {"max_length": 512},
            "other_packs": {"third": {"max_length": 512, "prefix_tokens": 3}},
        },
    )
    # four rows of the problems a and b, three tokens of each
    assert summary["matching"]["budget"] == 4 * 3
    with pytest.raises(InputError, match="match by tokens needs --model"):
        run(folder, {"problems": ["third"], "fewest_tokens": True}, ["third"])
