"""Key steps: the tokens that the shortest edit brings, and how they weigh in the loss."""

from functools import cache

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from orion import tables
from orion.training import key_steps, packed_rows
from orion.training.key_steps import compare, mark_key_steps
from orion.training.packed_rows import KEY_STEPS, PADDING, collate_packed, store_rows
from tests.orion.training.test_dft import make_trainer
from tests.orion.training.test_switches import check_step, document_losses

TOKENS = st.lists(st.integers(1, 4), max_size=12)


def count_edits(text, attempt, kept=None):
    """The fewest edits, by the definition; with ``kept``, of the ways that keep just these."""

    @cache
    def count(i, j):
        if not i and not j:
            return 0
        ways = [count(i, j - 1) + 1] if j else []
        if i and (kept is None or not kept[i - 1]):
            ways.append(count(i - 1, j) + 1)
            ways += [count(i - 1, j - 1) + 1] if j else []
        if i and j and text[i - 1] == attempt[j - 1] and (kept is None or kept[i - 1]):
            ways.append(count(i - 1, j - 1))
        return min(ways, default=1 << 20)

    return count(len(text), len(attempt))


@given(TOKENS, TOKENS)
def test_the_marked_tokens_are_those_of_a_shortest_edit(text, attempt):
    edits, changed = compare(text, attempt)
    assert edits == count_edits(tuple(text), tuple(attempt))
    assert edits == count_edits(tuple(text), tuple(attempt), tuple(~changed))


def test_a_wrong_number_and_what_follows_from_it():
    text = ["47", "+", "38", "=", "85", ";", "85", "+", "2", "=", "87"]
    attempt = ["47", "+", "38", "=", "75", ";", "75", "+", "2", "=", "77", ";", "done"]
    ids = {word: n for n, word in enumerate(dict.fromkeys(text + attempt), start=1)}
    _, changed = compare([ids[w] for w in text], [ids[w] for w in attempt])
    assert [w for w, c in zip(text, changed, strict=True) if c] == ["85", "85", "87"]


def test_the_nearest_attempt_is_the_one_to_differ_from(monkeypatch):
    labels = [-100, -100, 5, 6, 7, 8]
    marks = mark_key_steps(labels, [[1, 2, 3, 4], [5, 6, 9, 8], [5, 6, 3, 8]])
    assert marks.tolist() == [False] * 4 + [True, False]
    assert mark_key_steps(labels, []) is None
    monkeypatch.setattr(key_steps, "MAX_PAIRS", 3)
    # what the two share at their ends is not counted
    assert mark_key_steps(labels, [[1, 2, 3, 4], [5, 6, 9, 8]]).tolist() == marks.tolist()
    assert mark_key_steps(labels, [[1, 2, 3, 4]]) is None


@pytest.fixture
def marked(student):
    """The student's packed rows, every third token a key step."""
    document, packed = student
    marks = [[int(n % 3 == 0) for n in range(len(ids))] for ids in packed["input_ids"]]
    column = pl.Series(marks, dtype=pl.List(pl.Int32))
    return document, packed.with_columns(column.alias(KEY_STEPS))


@pytest.mark.parametrize("average", ["token", "document"])
def test_loss_and_gradient_are_weighted_means_of_single_documents(marked, tmp_path, average):
    document, packed = marked
    rows = packed.head(4).to_dicts()
    plain = AutoModelForCausalLM.from_pretrained(document.path)
    sums, counts = [], []
    losses = iter(document_losses(plain, rows))
    for row in rows:
        ends = np.cumsum(row["seq_lengths"])
        for end, length in zip(ends, row["seq_lengths"], strict=True):
            targets = [n for n in range(end - length + 1, end) if row["labels"][n] != -100]
            weights = torch.tensor([4.0 if row[KEY_STEPS][n] else 1.0 for n in targets])
            sums.append((weights * next(losses)).sum() / weights.sum())
            counts.append(len(targets))
    mean, counts = torch.stack(sums), torch.tensor(counts)
    want = mean.mean() if average == "document" else (mean * counts).sum() / counts.sum()

    trainer = make_trainer(marked, tmp_path, loss_average=average, key_step_weight=4.0)
    check_step(trainer, rows, plain, want)


@pytest.mark.parametrize("slice_rows", [1, 64])
def test_the_stored_rows_have_the_marks_of_the_table(marked, tmp_path, monkeypatch, slice_rows):
    monkeypatch.setattr(packed_rows, "SLICE_ROWS", slice_rows)
    frame = marked[1]
    tables.write(frame, tmp_path / "packed", tables.PACKED, {})
    rows, _ = store_rows(tmp_path / "packed", tmp_path / "work")
    for number, want in enumerate(frame.iter_rows(named=True)):
        row = rows[number]
        assert {name: row[name].tolist() for name in row} == {name: want[name] for name in row}
        assert KEY_STEPS in row
    weights = collate_packed([rows[0], PADDING], key_step_weight=3.0)["token_weights"]
    assert weights.shape == (1, len(rows[0]["input_ids"]))
    padding = collate_packed([PADDING], key_step_weight=3.0)
    assert padding["padding"] and padding["token_weights"].tolist() == [[0.0]]


def test_equal_weights_are_the_plain_loss(marked, tmp_path):
    plain = make_trainer(marked, tmp_path / "plain")
    weighted = make_trainer(marked, tmp_path / "weighted", key_step_weight=1.0)
    for trainer in (plain, weighted):
        trainer.train()
    found = [
        [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        for trainer in (plain, weighted)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.mark.parametrize("average", ["token", "document"])
def test_a_text_weighs_by_its_geometric_mean_probability(student, tmp_path, average):
    document, packed = student
    rows = packed.head(4).to_dicts()
    plain = AutoModelForCausalLM.from_pretrained(document.path)
    losses = document_losses(plain, rows)
    weighted = [(-each.mean()).exp().detach() * each for each in losses]
    want = (
        torch.cat(weighted).mean()
        if average == "token"
        else torch.stack([each.mean() for each in weighted]).mean()
    )
    trainer = make_trainer(student, tmp_path, loss="correctness", loss_average=average)
    trainer.model.train()
    check_step(trainer, rows, plain, want)
