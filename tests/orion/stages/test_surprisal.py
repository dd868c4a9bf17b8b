"""The stage surprisal against a loop over the texts with the library's own model."""

import json
import math

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from orion import prompts, tables
from orion.demo.tokenizer import build_tokenizer
from orion.errors import InputError
from orion.experiment.surprise import SURPRISALS, with_surprisal
from orion.models import checkpoints
from orion.stages import surprisal
from orion.training import scoring
from orion.training.row_encoding import RowEncoding, make_encoder
from tests.orion.stages.test_arms import make_solving, make_texts
from tests.orion.stages.test_surprise import score_directly

PROMPTS = prompts.load("demo").keep("solve", "marker")
SET = prompts.PromptSet(**PROMPTS)
MARKER = prompts.load("demo").marker
PROBLEMS = {"a": "What is 3 + 4 ?", "b": "What is 7 - 2 ?"}


@pytest.fixture
def student(tmp_path):
    """A random student with the tokenizer of the embedded one, and a context of 96 tokens."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=96,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(shape).save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    found = checkpoints.checkpoint_document(tmp_path / "student", name="s", dtype="float32")
    tables.write_json(found.as_json(), tmp_path / "model.json", {})
    return found


def write_inputs(folder, texts: dict, table, **columns) -> list[str]:
    """Files of the stage; ``texts``: (problem, sample) → response."""
    frame = (
        make_solving()[0]
        .head(2)
        .with_columns(problem_id=pl.Series([*PROBLEMS]), problem=pl.Series([*PROBLEMS.values()]))
    )
    tables.write(frame, folder / "problems", tables.PROBLEMS, {})
    rows = [(p, s, text) for (p, s), text in texts.items()]
    tables.write(make_texts(rows, table, **columns), folder / "texts", table, {})
    places = {"problems": folder / "problems", "texts": folder / "texts"}
    places |= {"model": folder / "model.json", "output": folder / "out"}
    return [word for name, path in places.items() for word in (f"--{name}", str(path))]


def run(folder, part: str, argv: list[str]) -> pl.DataFrame:
    surprisal.main(["--config", json.dumps({"prompts": PROMPTS, "part": part}), *argv])
    return tables.read(folder / "out", SURPRISALS)


@torch.no_grad()
def score_alone(document, problem: str, text: str, kind: str) -> tuple[float, float, int]:
    """Mean surprise, mean rank and number of the trained tokens of one text."""
    encoding = RowEncoding(max_length=document.context_length, prompts=SET)
    encoder = make_encoder(encoding, document)
    ids, labels = encoding.encode(encoder, prompts.solve(SET, problem), text, kind)
    model = AutoModelForCausalLM.from_pretrained(document.path, dtype=torch.float32).eval()
    surprises, ranks = score_directly(model, ids, labels)
    return sum(surprises) / len(surprises), sum(ranks) / len(ranks), len(ranks)


SAMPLES = {
    ("a", 0): "3 + 4 = 7 so \\boxed{ 7 }",
    ("a", 1): "4 + 3 = 8",
    ("b", 0): "7 - 2 = 5",
    # longer than the student's context of 96 tokens
    ("b", 1): "7 - 2 = 5 " * 40,
}


@pytest.mark.parametrize("row_tokens", [2048, 30])
def test_each_sample_is_scored_as_if_it_stood_alone(tmp_path, student, monkeypatch, row_tokens):
    """``row_tokens``: all texts in one row, or hardly two."""
    monkeypatch.setattr(scoring, "ROW_TOKENS", row_tokens)
    argv = write_inputs(tmp_path, SAMPLES, tables.SAMPLES, template="solve")
    found = run(tmp_path, "response", argv)
    assert found.select("problem_id", "sample_id").rows() == [("a", 0), ("a", 1), ("b", 0)]
    for row in found.rows(named=True):
        text = SAMPLES[row["problem_id"], row["sample_id"]]
        wanted = score_alone(student, PROBLEMS[row["problem_id"]], text, "own_sample")
        assert row["surprise"] == pytest.approx(wanted[0], abs=2e-5)
        assert row["rank"] == pytest.approx(wanted[1], abs=1e-6) and row["tokens"] == wanted[2]


def test_of_a_reflection_the_refined_part_is_scored(tmp_path, student):
    texts = {
        ("a", 0): f"3 + 4 = 8 was wrong\n{MARKER}\n3 + 4 = 7",
        ("a", 1): "no marker , so no refined part",
        ("b", 0): f"{MARKER}\n7 - 2 = 5",
    }
    columns = {"template": "reflect", "error_ranks": [[0], [0], [0]]}
    found = run(tmp_path, "refined", write_inputs(tmp_path, texts, tables.REFLECTIONS, **columns))
    assert found.select("problem_id", "sample_id").rows() == [("a", 0), ("b", 0)]
    for row, text in zip(found.rows(named=True), ("3 + 4 = 7", "7 - 2 = 5"), strict=True):
        wanted = score_alone(student, PROBLEMS[row["problem_id"]], text, "reflection")
        assert row["surprise"] == pytest.approx(wanted[0], abs=2e-5)


def test_a_spoiled_student_is_refused(tmp_path, student, monkeypatch):
    argv = write_inputs(tmp_path, SAMPLES, tables.SAMPLES, template="solve")

    def spoil(model, row):
        yield {"document": 0, "tokens": 4, "surprise": math.inf, "rank": 1.0}

    monkeypatch.setattr(scoring, "score_row", spoil)
    with pytest.raises(InputError, match=r"problem a, sample 0: the surprise is inf under"):
        run(tmp_path, "response", argv)
    assert not (tmp_path / "out").exists()


def test_texts_keep_their_order_and_those_that_were_not_read_have_no_number():
    texts = pl.DataFrame({"problem_id": ["b", "a", "a"], "sample_id": [0, 1, 0], "response": "x"})
    scored = pl.DataFrame(
        {"problem_id": ["a", "a"], "sample_id": [0, 1], "tokens": [2, 2],
         "surprise": [0.5, 0.0], "rank": [2.0, 1.0]}
    )  # fmt: skip
    lowest = with_surprisal(texts, scored, "lowest_surprisal")
    assert lowest["surprisal"].to_list() == [None, 0.0, 0.5]
    # without any surprise there is no ratio
    assert with_surprisal(texts, scored, "rank_surprisal")["surprisal"].to_list() == [None, None, 4]
    assert lowest.drop("surprisal").equals(texts)


def test_a_student_that_can_read_no_text_is_an_error(tmp_path, student):
    argv = write_inputs(tmp_path, {("a", 0): SAMPLES["b", 1]}, tables.SAMPLES, template="solve")
    with pytest.raises(InputError, match=r"can read none of the texts \(1 longer than the context"):
        run(tmp_path, "response", argv)
    assert not (tmp_path / "out").exists()
