"""Key steps of the packed rows: which words are marked, and what cannot be."""

import json

import pytest

from orion import tables
from orion.demo.tokenizer import build_tokenizer
from orion.errors import InputError
from orion.stages import pack
from tests.orion.stages.test_pack import write_arm

TEXT = "47 + 38 = 85 ; 85 + 2 = 87 ; \\boxed{ 87 }"
# problem → its attempts
ATTEMPTS = {
    "p0": ["47 + 38 = 75 ; 75 + 2 = 77 ; \\boxed{ 77 }"],
    "p1": ["1 + 2 = 3", "47 + 38 = 85 ; 85 + 2 = 88 ; \\boxed{ 88 }"],
    "p2": [],
}


@pytest.fixture
def arm(tmp_path):
    tokenizer = build_tokenizer()
    write_arm(tmp_path, tokenizer, [TEXT] * len(ATTEMPTS), kind="reflection")
    train = tables.read(tmp_path / "train", tables.TRAIN)
    rows = [
        {**row, "error_sample_ids": list(range(len(ATTEMPTS[row["problem_id"]])))}
        for row in train.to_dicts()
    ]
    tables.write(tables.from_rows(rows, tables.TRAIN), tmp_path / "train", tables.TRAIN, {})
    errors = [
        {
            "problem_id": problem,
            "rank": rank,
            "sample_id": rank,
            "response": text,
            "extracted": None,
            "source": "own",
            "source_problem_id": problem,
            "own_sample_id": rank,
        }
        for problem, texts in ATTEMPTS.items()
        for rank, text in enumerate(texts)
    ]
    tables.write(tables.from_rows(errors, tables.ERRORS), tmp_path / "errors", tables.ERRORS, {})
    return tmp_path, tokenizer


def run(folder, *more, **keys):
    named = {"train": "train", "model": "model.json", "output": "packed", "stats": "stats.json"}
    paths = [word for name, file in named.items() for word in (f"--{name}", str(folder / file))]
    pack.main(["--config", json.dumps({"max_length": 300, "min_rows": 1, **keys}), *paths, *more])
    return tables.read(folder / "packed", tables.PACKED), tables.read_json(folder / "stats.json")


def marked_words(packed, tokenizer):
    """The marked words of each document, in the table's order."""
    found = []
    for row in packed.iter_rows(named=True):
        start = 0
        for length in row["seq_lengths"]:
            here = slice(start, start + length)
            marks = zip(row["input_ids"][here], row["key_steps"][here], strict=True)
            found.append(tokenizer.decode([token for token, mark in marks if mark]).split())
            start += length
    return found


def test_the_marked_words_are_those_that_the_nearest_attempt_has_not(arm):
    folder, tokenizer = arm
    packed, stats = run(folder, "--errors", str(folder / "errors"), key_steps=True)
    plain, plain_stats = run(folder)
    found = marked_words(packed, tokenizer)
    joined = sorted("".join(words) for words in found)
    # the embedded tokenizer writes numbers digit by digit
    assert joined == sorted(["8888", "77", ""]), found
    assert stats.pop("key_steps") == {
        "marked": 2,
        "without_attempt": 1,
        "not_compared": 0,
        "tokens": len("".join(joined)),
    }
    assert {**stats, "provenance": None} == {**plain_stats, "provenance": None}
    assert packed.drop("key_steps").equals(plain.drop("key_steps"))
    assert plain["key_steps"].null_count() == plain.height


def test_nothing_to_weigh_is_an_error(arm):
    folder, _ = arm
    with pytest.raises(InputError, match="key_steps needs --errors"):
        run(folder, key_steps=True)
    train = tables.read(folder / "train", tables.TRAIN)
    rows = [{**row, "error_sample_ids": []} for row in train.to_dicts()]
    tables.write(tables.from_rows(rows, tables.TRAIN), folder / "train", tables.TRAIN, {})
    (folder / "packed").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"no row has a token .*key_step_weight .*null"):
        run(folder, "--errors", str(folder / "errors"), key_steps=True)
    assert not (folder / "packed").exists()
