import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion import tables
from orion.demo.tokenizer import build_tokenizer
from orion.errors import InputError
from orion.models.document import ModelDocument
from orion.stages import pack

CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_only_the_completion_and_its_end_are_trained(tokenizer):
    prompt, completion = "Question: Sam has 47 pens", "47 + 38 = 85 ; \\boxed{ 85 }"
    ids, labels = pack.encode_document(
        tokenizer, prompt, completion, eos={tokenizer.eos_token_id}, thinking=None
    )
    trained = [label for label in labels if label != -100]
    assert tokenizer.decode(trained[:-1]) == completion and trained[-1] == tokenizer.eos_token_id
    head = ids[: labels.index(trained[0])]
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
    )
    assert head == tokenizer(asked, add_special_tokens=False)["input_ids"]
    assert ids[len(head) :] == labels[len(head) :]


def test_what_follows_the_end_of_the_turn_is_left_out():
    # ChatML templates add a line break after the end token, which generation never produces
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHATML.replace("<|im_end|>", tokenizer.eos_token)
    ids, _ = pack.encode_document(
        tokenizer, "Sam", "has 5", eos={tokenizer.eos_token_id}, thinking=None
    )
    assert ids[-1] == tokenizer.eos_token_id and ids.count(tokenizer.eos_token_id) == 2


def test_a_template_without_an_end_still_ends(tokenizer):
    bare = build_tokenizer()
    bare.chat_template = "{% for m in messages %}{{ m.content + ' ' }}{% endfor %}"
    ids, labels = pack.encode_document(bare, "Sam", "has 5", eos={bare.eos_token_id}, thinking=None)
    assert ids[-1] == labels[-1] == bare.eos_token_id


def test_a_template_that_alters_the_answer_is_refused():
    altering = build_tokenizer()
    altering.chat_template = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    with pytest.raises(InputError, match="does not print the assistant's message unchanged"):
        pack.encode_document(altering, "sam", "has five", eos={1}, thinking=None)


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


@pytest.fixture
def arm(tmp_path, tokenizer):
    """A train table of three rows and a model document whose folder holds the demo's tokenizer."""
    tokenizer.save_pretrained(tmp_path / "model")
    texts = ["5", "5 + 5 = 10 ; \\boxed{ 10 }", " ; ".join(["5 + 5 = 10"] * 30)]
    rows = [
        {
            "problem_id": f"p{i}",
            "row": 0,
            "prompt": "Question: Sam",
            "completion": text,
            "target_kind": "own_correct",
            "sample_id": 0,
            "error_sample_ids": [],
            "filters_passed": [],
        }
        for i, text in enumerate(texts)
    ]
    tables.write(tables.from_rows(rows, tables.TRAIN), tmp_path / "train", tables.TRAIN, {})
    document = ModelDocument(
        name="student",
        digest="0" * 64,
        path=str(tmp_path / "model"),
        chat_template=tokenizer.chat_template,
        context_length=512,
    )
    tables.write_json(document.as_json(), tmp_path / "model.json", {})
    return tmp_path


def run(folder, max_length, min_rows=1):
    pack.main(
        [
            "--config",
            json.dumps({"max_length": max_length, "min_rows": min_rows}),
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
