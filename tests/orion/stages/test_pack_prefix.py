"""Arms on prefixes: where a row is cut, what is trained, and that nobody learns to stop there."""

import json

import pytest

from orion import tables
from orion.demo.tokenizer import build_tokenizer
from orion.errors import InputError
from orion.models.training_documents import DocumentEncoder, RejectedRowError
from orion.stages import match
from orion.training.row_encoding import RowEncoding, count_trained_tokens
from tests.helpers.mechanisms import MECHANISMS
from tests.helpers.template_table import build_tokenizer as build_chat_tokenizer
from tests.orion.stages.test_pack import run, write_arm

TEXTS = [f"{n} + 5 = {n + 5} ; \\boxed{{ {n + 5} }}" for n in range(10, 30)] + ["7"]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def list_documents(packed):
    """Ids and labels of each document of a packed table."""
    for row in packed.iter_rows(named=True):
        start = 0
        for length in row["seq_lengths"]:
            here = slice(start, start + length)
            yield row["input_ids"][here], row["labels"][here]
            start += length


def split_documents(packed):
    """prompt ids → trained ids"""
    found = {}
    for ids, labels in list_documents(packed):
        trained = [label for label in labels if label != -100]
        head = len(ids) - len(trained)
        assert ids[head:] == trained and labels[:head] == [-100] * head
        found.setdefault(tuple(ids[:head]), []).append(trained)
    return found


def trained_texts(packed):
    [(_, texts)] = split_documents(packed).items()
    return sorted(texts)


@pytest.mark.parametrize("tokens", [1, 4, 10, 200])
def test_a_row_is_its_first_tokens_and_has_no_end_of_the_turn(tmp_path, tokenizer, tokens):
    folder = write_arm(tmp_path, tokenizer, TEXTS)
    whole, _ = run(folder, 300)
    cut, stats = run(folder, 300, prefix_tokens=tokens)
    # the prompt is not cut
    assert split_documents(cut).keys() == split_documents(whole).keys()
    texts = trained_texts(whole)
    assert trained_texts(cut) == sorted(text[:tokens] for text in texts)
    end = tokenizer.eos_token_id
    for text in trained_texts(cut):
        # one that is whole ends its turn, and no other one does
        assert (end in text) == (text in texts) == (len(text) < tokens or text in texts)
        assert end not in text[:-1]
    assert stats["cut_to_prefix"] == sum(len(text) > tokens for text in texts)
    assert stats["documents"] == len(TEXTS)
    assert stats["trained_tokens"] == sum(min(tokens, len(text)) for text in texts)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.999])
def test_a_share_is_one_of_the_tokens_of_each_row(tmp_path, tokenizer, share):
    folder = write_arm(tmp_path, tokenizer, TEXTS, kind="teacher_trace")
    texts = trained_texts(run(folder, 300)[0])
    cut, stats = run(folder, 300, prefix_share=share)
    assert trained_texts(cut) == sorted(text[: max(1, int(share * len(text)))] for text in texts)
    assert stats["cut_to_prefix"] == len(texts)
    assert all(tokenizer.eos_token_id not in text for text in trained_texts(cut))


def test_other_arms_say_nothing_about_prefixes(tmp_path, tokenizer):
    assert "cut_to_prefix" not in run(write_arm(tmp_path, tokenizer, TEXTS), 300)[1]


def test_a_text_that_is_too_long_fits_by_its_prefix(tmp_path, tokenizer):
    folder = write_arm(tmp_path, tokenizer, [" ; ".join(["5 + 5 = 10"] * 60)])
    with pytest.raises(InputError, match="0 of the 1 rows fit"):
        run(folder, 60)
    packed, stats = run(folder, 60, prefix_tokens=20)
    assert stats["dropped_too_long"] == 0 and stats["trained_tokens"] == 20
    assert packed.height == 1


def test_unchecked_samples_close_their_thinking_as_own_ones_do(tmp_path):
    tokenizer = build_chat_tokenizer(MECHANISMS["thinking opened"])
    encoder = DocumentEncoder(
        tokenizer, eos={tokenizer.convert_tokens_to_ids("<|im_end|>")}, enable_thinking=None
    )
    config = RowEncoding(100, prefix_tokens=2)
    for kind in ("own_correct", "own_sample"):
        with pytest.raises(RejectedRowError, match="the thinking is not closed"):
            config.encode(encoder, "Q", "no end", kind)
    ids, labels = config.encode(encoder, "Q", "no end", "solution")
    whole, _ = RowEncoding(100).encode(encoder, "Q", "no end", "solution")
    assert ids == whole[: len(ids)] and sum(label != -100 for label in labels) == 2


def test_a_budget_counts_the_tokens_of_the_prefixes(tmp_path, tokenizer):
    folder = write_arm(tmp_path, tokenizer, TEXTS)
    encoder = DocumentEncoder(tokenizer, eos={tokenizer.eos_token_id}, enable_thinking=None)
    rows = tables.read(folder / "train", tables.TRAIN)
    counts = count_trained_tokens(rows, RowEncoding(300, prefix_tokens=4), encoder)
    _, stats = run(folder, 300, prefix_tokens=4)
    assert sum(counts) == stats["trained_tokens"] and max(counts) == 4
    # as the rule match gets it
    tables.write_json({"trained_tokens": 20}, folder / "budget.json", {})
    tables.write_json({}, folder / "rows.json", {})
    keys = {"tokens": "other"}, {"max_length": 300, "prefix_tokens": 4}
    argv = ["--config", json.dumps({"match": keys[0], "min_rows": 1, "pack": keys[1]})]
    argv += ["--arm", "x", "--rows", str(folder / "train")]
    argv += ["--rows-filters", str(folder / "rows.json"), "--budget", str(folder / "budget.json")]
    argv += ["--model", str(folder / "model.json")]
    outputs = {name: folder / f"out-{name}" for name in ("output", "filters", "preview")}
    match.main([*argv, *(w for name, path in outputs.items() for w in (f"--{name}", str(path)))])
    # five rows of four tokens
    assert tables.read(outputs["output"], tables.TRAIN).height == 5
