import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion import prompts, tables
from orion.demo.tokenizer import build_tokenizer
from orion.errors import InputError
from orion.models import templates
from orion.models.document import ModelDocument
from orion.models.training_documents import DocumentEncoder
from orion.stages import pack
from tests.helpers.mechanisms import MECHANISMS
from tests.helpers.template_table import build_tokenizer as build_chat_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_only_the_completion_and_its_end_are_trained(tokenizer):
    prompt, completion = "Question: Sam has 47 pens", "47 + 38 = 85 ; \\boxed{ 85 }"
    eos = {tokenizer.eos_token_id}
    ids, labels = DocumentEncoder(tokenizer, eos=eos, enable_thinking=None).encode(
        prompt, completion
    )
    trained = [label for label in labels if label != -100]
    assert tokenizer.decode(trained[:-1]) == completion and trained[-1] == tokenizer.eos_token_id
    head = ids[: labels.index(trained[0])]
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
    )
    assert head == tokenizer(asked, add_special_tokens=False)["input_ids"]
    assert ids[len(head) :] == labels[len(head) :]


@given(st.lists(st.integers(1, 64), max_size=60))
def test_best_fit_places_every_document_once_within_capacity(lengths):
    bins = pack.best_fit_bins(lengths, 64)
    assert sorted(index for members in bins for index in members) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in members) <= 64 for members in bins)
    # best-fit-decreasing leaves no two bins that would fit into one
    loads = sorted(sum(lengths[i] for i in members) for members in bins)
    assert len(loads) < 2 or loads[0] + loads[1] > 64


def test_sequences_restart_at_every_document():
    frame = pack.pack_sequences([([5, 6, 7], [-100, 6, 7]), ([8, 9], [8, 9])], 8)
    assert frame.row(0, named=True) == {
        "row": 0,
        "input_ids": [5, 6, 7, 8, 9],
        "labels": [-100, 6, 7, -100, 9],
        "position_ids": [0, 1, 2, 0, 1],
        "seq_lengths": [3, 2],
    }


def write_arm(folder, tokenizer, texts, kind="own_correct"):
    """A train table of a row per text, and a model document with the tokenizer in its folder."""
    tokenizer.save_pretrained(folder / "model")
    rows = [
        {
            "problem_id": f"p{i}",
            "row": 0,
            "prompt": "Question: Sam",
            "completion": text,
            "target_kind": kind,
            "sample_id": 0 if kind == "own_correct" else None,
            "error_sample_ids": [],
            "filters_passed": [],
        }
        for i, text in enumerate(texts)
    ]
    tables.write(tables.from_rows(rows, tables.TRAIN), folder / "train", tables.TRAIN, {})
    document = ModelDocument(
        name="student",
        digest="0" * 64,
        path=str(folder / "model"),
        chat_template=tokenizer.chat_template,
        context_length=512,
    )
    tables.write_json(document.as_json(), folder / "model.json", {})
    return folder


@pytest.fixture
def arm(tmp_path, tokenizer):
    """An arm of three rows with the demo's tokenizer."""
    texts = ["5", "5 + 5 = 10 ; \\boxed{ 10 }", " ; ".join(["5 + 5 = 10"] * 30)]
    return write_arm(tmp_path, tokenizer, texts)


def run(folder, max_length, min_rows=1, **keys):
    pack.main(
        [
            "--config",
            json.dumps({"max_length": max_length, "min_rows": min_rows, **keys}),
            "--train",
            str(folder / "train"),
            "--model",
            str(folder / "model.json"),
            "--output",
            str(folder / "packed"),
            "--stats",
            str(folder / "stats.json"),
        ]
    )
    return tables.read(folder / "packed", tables.PACKED), tables.read_json(folder / "stats.json")


def test_rows_are_held_out_by_problem(tmp_path, tokenizer):
    texts = [f"{n} + 5 = {n + 5}" for n in range(10, 50)]
    arm = write_arm(tmp_path, tokenizer, texts)
    whole, stats = run(arm, 60)
    assert "validation" not in stats and whole["validation"].null_count() == whole.height
    packed, split = run(arm, 60, validation_fraction=0.25)
    held = packed.filter("validation")
    assert held.height == split["validation"]["rows"] > 0 and packed["row"].is_sorted()
    documents = [split["documents"], split["validation"]["documents"]]
    assert sum(documents) == 40 and documents[1] > 3 and split["validation"]["left_out"] == 0
    assert split["rows"] == packed.height - held.height
    together = split["trained_tokens"] + split["validation"]["trained_tokens"]
    assert together == stats["trained_tokens"]
    with pytest.raises(
        InputError, match=r"fewer than select\.min_rows = 38; \d+ more are held out"
    ):
        run(arm, 60, min_rows=38, validation_fraction=0.25)
    with pytest.raises(InputError, match=r"train\.validation_fraction = 0\.0001 holds out 0 rows"):
        run(arm, 60, validation_fraction=0.0001)


def test_long_rows_are_dropped_and_counted_never_cut(arm):
    packed, stats = run(arm, 60)
    assert (stats["documents"], stats["dropped_too_long"]) == (2, 1)
    assert sum(map(sum, packed["seq_lengths"].to_list())) == stats["tokens"]
    packed, stats = run(arm, 512)
    assert (stats["documents"], stats["dropped_too_long"], stats["rows"]) == (3, 0, 1)


@pytest.mark.parametrize(
    ("max_length", "message"),
    [
        (4, r"train: 0 of the 3 rows fit into pack\.max_length = 4"),
        (513, "more than the 512 tokens"),
    ],
)
def test_impossible_lengths_stop_early(arm, max_length, message):
    with pytest.raises(InputError, match=message):
        run(arm, max_length)


def test_too_few_rows_that_fit_stop_the_run(arm):
    with pytest.raises(
        InputError,
        match=r"train: 2 of the 3 rows fit into pack\.max_length = 60 tokens, fewer than "
        r"select\.min_rows = 3; raise max_length",
    ):
        run(arm, 60, min_rows=3)
    assert not (arm / "packed").exists() and not (arm / "stats.json").exists()


def test_rejected_rows_are_counted_by_reason_and_end_no_arm(tmp_path, capsys):
    tokenizer = build_chat_tokenizer(MECHANISMS["thinking opened"])
    texts = ["T\n</think>\n\nA", "no end", "<think>T</think>", "<think>never", "T</think>A" * 99]
    folder = write_arm(tmp_path, tokenizer, texts)
    packed, stats = run(folder, 100)
    assert stats["rejected"] == {"broken_thinking": 2, "no_answer": 1}
    assert (stats["documents"], stats["dropped_too_long"], packed.height) == (1, 1, 1)
    log = capsys.readouterr().err
    assert "p1, row 0: rejected, broken_thinking: the thinking is not closed" in log
    assert "p2, row 0: rejected, no_answer: no words, or thinking without an answer" in log
    assert "p3" not in log


def test_only_a_models_own_sample_must_close_the_thinking(tmp_path):
    tokenizer = build_chat_tokenizer(MECHANISMS["thinking opened"])
    _, stats = run(write_arm(tmp_path, tokenizer, ["no end"], kind="solution"), 100)
    assert stats["rejected"] == {} and stats["documents"] == 1


def test_an_arm_whose_rows_are_all_rejected_stops_with_the_cure(tmp_path):
    tokenizer = build_chat_tokenizer(MECHANISMS["case changed"])
    folder = write_arm(tmp_path, tokenizer, ["A", "<think>", "  "], kind="solution")
    with pytest.raises(InputError, match=r"can carry none of the rows \(2 template_changes_words"):
        run(folder, 100)


def test_too_few_rows_name_both_the_long_and_the_rejected_ones(tmp_path):
    tokenizer = build_chat_tokenizer(MECHANISMS["thinking opened"])
    folder = write_arm(tmp_path, tokenizer, ["T</think>A", "no end", "T</think>A" * 99])
    with pytest.raises(
        InputError,
        match=r"train: 1 of the 3 rows fit into pack\.max_length = 100 tokens, fewer than "
        r"select\.min_rows = 2; raise max_length, 1 rows are longer; the chat template cannot "
        r"carry 1 rows \(1 broken_thinking: the thinking is not closed",
    ):
        run(folder, 100, min_rows=2)
    assert not (folder / "packed").exists() and not (folder / "stats.json").exists()
    assert run(folder, 100, min_rows=1)[1]["documents"] == 1


def test_the_system_message_and_the_examples_are_packed_as_they_are_served(tmp_path):
    tokenizer = build_chat_tokenizer(MECHANISMS["words as they are"])
    blocks = {
        "system": "Be careful.",
        "examples": "- {problem: 1 + 1, solution: '2'}",
        "solve": "Question: {{ problem }}",
    }
    folder = write_arm(tmp_path, tokenizer, ["A"])
    packed, _ = run(folder, 200, prompts=blocks)
    served = templates.render(tokenizer, prompts.solve_messages(prompts.PromptSet(**blocks), "Sam"))
    assert tokenizer.decode(packed["input_ids"][0]) == f"{served}A<|im_end|>"
    assert served.count("<|im_start|>") == 5
