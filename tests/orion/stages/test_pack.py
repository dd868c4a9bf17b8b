import errno
import json
import os
import tracemalloc

import numpy as np
import polars.testing
import pyarrow as pa
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
from orion.training import document_file, packed_rows
from orion.training.table_slices import read_slices
from tests.helpers.mechanisms import MECHANISMS
from tests.helpers.packing import pack_documents
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
    members = list_bins(pack.best_fit_bins(np.array(lengths, np.int64), 64))
    assert sorted(index for bin in members for index in bin) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in bin) <= 64 for bin in members)
    # best-fit-decreasing leaves no two bins that would fit into one
    loads = sorted(sum(lengths[i] for i in bin) for bin in members)
    assert len(loads) < 2 or loads[0] + loads[1] > 64
    assert members == search_bins(lengths, 64)


def list_bins(bins):
    return [part.tolist() for part in np.split(bins.members, np.cumsum(bins.sizes)[:-1])][
        : len(bins)
    ]


def search_bins(lengths, capacity):
    """The definition: each document, the longest first, goes where it leaves the least room."""
    bins, rooms = [], []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = [(room, n) for n, room in enumerate(rooms) if room >= lengths[index]]
        if not fitting:
            bins.append([])
            rooms.append(capacity)
        number = min(fitting)[1] if fitting else len(bins) - 1
        bins[number].append(index)
        rooms[number] -= lengths[index]
    return bins


def test_sequences_restart_at_every_document(tmp_path):
    frame = pack_documents([([5, 6, 7], [-100, 6, 7]), ([8, 9], [8, 9])], 8, tmp_path)
    assert frame.row(0, named=True) == {
        "row": 0,
        "input_ids": [5, 6, 7, 8, 9],
        "labels": [-100, 6, 7, -100, 9],
        "position_ids": [0, 1, 2, 0, 1],
        "seq_lengths": [3, 2],
    }


def make_documents(count):
    """Documents of 1 to 64 tokens, the first part of each ignored."""
    random = np.random.default_rng(0)
    for length in random.integers(1, 65, count).tolist():
        ids = random.integers(0, 49_152, length).tolist()
        head = length // 3
        yield ids, [-100] * head + ids[head:]


def build_rows(documents, max_length):
    """The packed table, put together in plain lists."""
    rows = []
    for number, bin in enumerate(search_bins([len(ids) for ids, _ in documents], max_length)):
        chosen = [documents[i] for i in bin]
        rows.append(
            {
                "row": number,
                "input_ids": [token for ids, _ in chosen for token in ids],
                "labels": [label for _, labels in chosen for label in [-100, *labels[1:]]],
                "position_ids": [place for ids, _ in chosen for place in range(len(ids))],
                "seq_lengths": [len(ids) for ids, _ in chosen],
            }
        )
    return tables.from_rows(rows, tables.PACKED)


@pytest.mark.parametrize("tokens", [1, 500, 1 << 20])
def test_the_slices_are_the_whole_table(tmp_path, monkeypatch, tokens):
    """However long they are: the values, the order and the types of rows built in lists."""
    monkeypatch.setattr(document_file, "SLICE_TOKENS", tokens)
    documents = list(make_documents(300))
    polars.testing.assert_frame_equal(
        pack_documents(documents, 100, tmp_path), build_rows(documents, 100)
    )
    assert not list(tmp_path.iterdir())


def peak_bytes(folder, count, monkeypatch):
    """The most bytes that Python, numpy and Arrow held while so many documents were packed and
    copied for training, and the tokens.
    """
    slices = [0]

    def watch(frames):
        for frame in frames:
            slices.append(pa.total_allocated_bytes() + frame.estimated_size())
            yield frame

    def read(*args, **keys):
        return watch(read_slices(*args, **keys))

    folder.mkdir()
    monkeypatch.setattr(packed_rows, "read_slices", read)
    tracemalloc.start()
    try:
        with document_file.DocumentFile(folder) as file:
            for ids, labels in make_documents(count):
                file.add(ids, labels)
            bins = pack.best_fit_bins(file.lengths, 256)
            with tables.Writer(folder / "packed", tables.PACKED, {}) as writer:
                for frame in watch(file.pack(bins)):
                    writer.write(frame)
            tokens = file.tokens
        rows, _ = packed_rows.store_rows(folder / "packed", folder)
        assert sum(len(rows[i]["labels"]) for i in range(len(rows))) == tokens
        return tracemalloc.get_traced_memory()[1] + max(slices), tokens
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_tokens(tmp_path, monkeypatch):
    """Ten times the tokens: at most 2 bytes for each more, where lists take 80, and Arrow 12."""
    monkeypatch.setattr(document_file, "SLICE_TOKENS", 1 << 13)
    peak_bytes(tmp_path / "first", 100, monkeypatch)  # what is imported and made once
    few, tokens = peak_bytes(tmp_path / "few", 1_000, monkeypatch)
    many, more_tokens = peak_bytes(tmp_path / "many", 10_000, monkeypatch)
    assert more_tokens > 9 * tokens
    # a document, here of 33 tokens, takes 30 bytes or so
    assert many - few < 2 * (more_tokens - tokens), (few, many, tokens, more_tokens)


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


def test_a_full_disk_is_named_and_leaves_nothing(arm, monkeypatch):
    class FullDisk:
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(document_file.tempfile, "TemporaryFile", lambda **_: FullDisk())
    before = sorted(os.listdir(arm))
    with pytest.raises(InputError, match="no room for the tokens of the documents, 8 bytes each"):
        run(arm, 60)
    assert sorted(os.listdir(arm)) == before


def test_long_rows_are_dropped_and_counted_never_cut(arm):
    packed, stats = run(arm, 60)
    assert (stats["documents"], stats["dropped_too_long"]) == (2, 1)
    assert sum(map(sum, packed["seq_lengths"].to_list())) == stats["tokens"]
    packed, stats = run(arm, 512)
    assert (stats["documents"], stats["dropped_too_long"], stats["rows"]) == (3, 0, 1)


def test_the_texts_of_a_pair_stand_side_by_side_or_are_dropped_together(
    tmp_path, tokenizer, monkeypatch
):
    """Against a search of the definition over whole pairs; a slice of rows ends inside a pair."""
    monkeypatch.setattr(pack, "SLICE_ROWS", 3)
    repeats = [1, 4, 2, 2, 9, 1, 3, 3, 40, 1, 1, 60]
    texts = [" ; ".join([f"{10 + n} + 5 = 0"] * count) for n, count in enumerate(repeats)]
    write_arm(tmp_path, tokenizer, texts)
    packed, stats = run(tmp_path, 150, pairs=True)
    encoder = DocumentEncoder(tokenizer, eos={tokenizer.eos_token_id}, enable_thinking=None)
    rows = tables.read(tmp_path / "train", tables.TRAIN).rows(named=True)
    encoded = [encoder.encode(row["prompt"], row["completion"])[0] for row in rows]
    pairs = [encoded[n : n + 2] for n in range(0, len(encoded), 2)]
    fitting = [pair for pair in pairs if sum(map(len, pair)) <= 150]
    dropped = len(pairs) - len(fitting)
    assert dropped >= 2 and any(min(map(len, p)) <= 150 for p in pairs if p not in fitting)
    assert stats["pairs"] == len(fitting) and stats["documents"] == 2 * len(fitting)
    assert stats["dropped_too_long"] == 2 * dropped
    want = [
        [token for i in chosen for ids in fitting[i] for token in ids]
        for chosen in search_bins([sum(map(len, pair)) for pair in fitting], 150)
    ]
    assert packed["input_ids"].to_list() == want and 1 < len(want) < len(fitting)
    lengths = {tuple(map(len, pair)) for pair in fitting}
    for found in packed["seq_lengths"].to_list():
        assert {tuple(found[n : n + 2]) for n in range(0, len(found), 2)} <= lengths


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
