"""The stage surprise against a loop over the documents with the library's own model."""

import json
import math

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from orion import tables
from orion.errors import InputError
from orion.experiment.surprise import MAX_RANK, SURPRISE, average
from orion.stages import surprise
from tests.helpers import training_runs


def run(folder) -> pl.DataFrame:
    output = folder / "surprise.parquet"
    places = ["--packed", folder / "packed", "--model", folder / "model.json", "--output", output]
    surprise.main(["--config", "{}", *map(str, places)])
    return tables.read(output, SURPRISE)


def score_directly(model, ids: list[int], labels: list[int]) -> tuple[list[float], list[int]]:
    """The surprise and the rank of each trained token of one document, one token after another."""
    surprises, ranks = [], []
    for place in range(1, len(ids)):
        if labels[place] == -100:
            continue
        logits = model(torch.tensor([ids[:place]])).logits[0, -1].double().tolist()
        own = logits[labels[place]]
        surprises.append(math.log(sum(math.exp(each - own) for each in logits)))
        ranks.append(min(MAX_RANK, 1 + sum(each > own for each in logits)))
    return surprises, ranks


@torch.no_grad()
def test_each_document_is_scored_as_if_it_stood_alone(tmp_path, document):
    training_runs.write_inputs(tmp_path, document.path)
    packed = pl.read_parquet(tmp_path / "packed")
    # the first document of the second row has no target; the last row is held out
    second = packed.filter(pl.col("row") == 1)["labels"][0].to_list()
    second[:8] = [-100] * 8
    labels = [second if row == 1 else each for row, each in enumerate(packed["labels"].to_list())]
    packed = packed.with_columns(
        labels=pl.Series(labels, dtype=pl.List(pl.Int32)),
        validation=pl.Series([False] * 4 + [True]),
    )
    tables.write(packed, tmp_path / "packed", tables.PACKED, {})
    found = run(tmp_path)
    places = [(row, document) for row in range(4) for document in (0, 1)]
    places.remove((1, 0))
    assert found.select("row", "document").rows() == places
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "student", dtype=torch.float32).eval()
    every_rank = []
    for row in found.rows(named=True):
        ids = packed["input_ids"][row["row"]].to_list()
        part = slice(8 * row["document"], 8 * row["document"] + 8)
        surprises, ranks = score_directly(model, ids[part], labels[row["row"]][part])
        assert row["tokens"] == len(ranks) == 4
        assert row["surprise"] == pytest.approx(sum(surprises) / 4, abs=2e-5)
        assert row["rank"] == sum(ranks) / 4
        every_rank += ranks
    # some tokens of a random student are likely and some are not
    assert min(every_rank) < 20 and max(every_rank) > 60


def test_a_spoiled_student_is_refused(tmp_path, document, monkeypatch):
    training_runs.write_inputs(tmp_path, document.path)
    from orion.training import scoring

    def spoil(model, row):
        yield {"document": 0, "tokens": 4, "surprise": math.nan, "rank": 1.0}

    monkeypatch.setattr(scoring, "score_row", spoil)
    with pytest.raises(InputError, match=r"row 0: the surprise of document 0 is nan under"):
        run(tmp_path)
    assert not (tmp_path / "surprise.parquet").exists()


def test_an_arms_numbers_weigh_tokens_and_its_ratio_documents():
    rows = pl.DataFrame(
        {"row": [0, 0], "document": [0, 1], "tokens": [1, 3], "surprise": [1.0, 3.0],
         "rank": [4.0, 12.0]}
    )  # fmt: skip
    assert average(rows) == {
        "documents": 2,
        "tokens": 4,
        "surprise": 2.5,
        "rank": 10.0,
        "rank_surprise_ratio": 4.0,
    }
    none = average(rows.clear())
    assert none["tokens"] == 0 and none["surprise"] is none["rank_surprise_ratio"] is None
    assert json.dumps(none)
