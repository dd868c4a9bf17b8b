"""The cell store: what is paid for once is kept and found again."""

import polars as pl
import pytest

from orion import completions, tables
from orion.completions import parts
from orion.engines import Completion
from orion.errors import InputError
from orion.progress import Progress
from tests.helpers.fake_engine import MODEL, Fake, cell, keys, run, wanted


def test_a_key_is_what_decides_a_completion_and_nothing_else():
    base = {
        "model_digest": "m",
        "prompt": "p",
        "sampling": {"seed": 0, "top_p": 1.0},
        "engine": "e",
        "sample_index": 0,
    }
    changes = {
        "model_digest": "n",
        "prompt": "q",
        "sampling": {"seed": 1, "top_p": 1.0},
        "engine": "f",
        "sample_index": 1,
    }
    keys = {
        completions.completion_key(**base),
        *(completions.completion_key(**{**base, name: value}) for name, value in changes.items()),
    }
    assert len(keys) == 6 and all(len(key) == 64 for key in keys)
    assert completions.completion_key(**base) == completions.completion_key(
        **{**base, "sampling": {"top_p": 1.0, "seed": 0}}
    )
    seeds = {completions.completion_seed(key) for key in keys}
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    assert completions.completion_seed("f" * 64) == 2**63 - 1


def test_the_second_run_generates_nothing_and_opens_no_engine(tmp_path):
    first, n = run(wanted(10, 2), tmp_path)
    assert n == 20
    engine = Fake()
    second, n = run(wanted(10, 2), tmp_path, engine)
    assert (n, engine.opened) == (0, 0)
    assert second.equals(first)
    assert tables.check(first, tables.SAMPLES, rows=20).equals(first)


@pytest.mark.parametrize(
    ("request_table", "changes", "new"),
    [
        (wanted(10, 4), {"num_samples": 4}, 20),
        (wanted(13, 2), {}, 6),
        (wanted(5, 1), {}, 0),
        (wanted(10, 2, "Solve {}"), {}, 20),
        (wanted(10, 2), {"temperature": 0.7}, 20),
        (wanted(10, 2), {"top_p": 0.9}, 20),
        (wanted(10, 2), {"max_tokens": 65}, 20),
        (wanted(10, 2), {"repetition_penalty": 1.1}, 20),
        (wanted(10, 2), {"seed": 1}, 20),
        (wanted(10, 2), {"temperature": 0.8, "num_samples": 99, "flush_every": 3}, 0),
        (wanted(10, 2), {"model": {**MODEL, "digest": "ab" * 31 + "00"}}, 20),
    ],
    ids=[
        "k",
        "problems",
        "fewer",
        "template",
        "temperature",
        "top_p",
        "length",
        "penalty",
        "seed",
        "speed",
        "model",
    ],
)
def test_a_change_costs_exactly_the_cells_it_touches(tmp_path, request_table, changes, new):
    run(wanted(10, 2), tmp_path)
    frame, n = run(request_table, tmp_path, **changes)
    assert n == new
    assert frame.equals(run(request_table, tmp_path / "fresh", **changes)[0])


def test_equal_prompts_are_different_samples_and_more_of_them_keep_the_first(tmp_path):
    def asked(k):
        # two prompts a problem, sample_id = prompt index * k + i, as reflections number them
        rows = [
            ("p", prompt * k + i, "x", f"prompt {prompt}") for prompt in range(2) for i in range(k)
        ]
        return pl.DataFrame(rows, schema=wanted(1, 1).schema, orient="row")

    frame, n = run(asked(2), tmp_path)
    assert n == 4 and frame["cell"].n_unique() == 4
    _, n = run(asked(3), tmp_path)
    assert n == 2
    same = wanted(3, 2, "one text")
    frame, n = run(same, tmp_path)
    assert n == 6 and frame["response"].n_unique() == 6


def test_errors_and_long_prompts_are_rows_but_not_stored(tmp_path):
    request_table = wanted(4, 1)
    reasons = {"solve 1": "error", "solve 2": "prompt_too_long", "solve 3": "length"}
    engine = Fake(lambda request: reasons.get(request.prompt, "stop"))
    frame, _ = run(request_table, tmp_path, engine)
    assert frame["finish_reason"].to_list() == ["stop", "error", "prompt_too_long", "length"]
    frame, n = run(request_table, tmp_path)
    assert n == 2
    assert frame["finish_reason"].to_list() == ["stop", "stop", "stop", "length"]


def test_a_shorter_context_shows_cells_it_has_no_room_for_as_too_long(tmp_path):
    # the fake engine counts a letter as a token: 'solve 0' is 7 of them
    whole, _ = run(wanted(3, 1), tmp_path)
    frame, n = run(wanted(3, 1), tmp_path, model={**MODEL, "context_length": 71})
    assert n == 0 and frame.equals(whole)
    frame, n = run(wanted(3, 1), tmp_path, model={**MODEL, "context_length": 70})
    columns = frame.select("response", "finish_reason", "prompt_tokens", "completion_tokens")
    assert n == 0 and set(columns.iter_rows()) == {("", "prompt_too_long", 7, 0)}


def test_no_requests(tmp_path):
    engine = Fake()
    frame, _ = run(pl.DataFrame([]), tmp_path, engine)
    assert frame.schema == pl.Schema(tables.SAMPLES.columns) and engine.opened == 0


def test_flushes_by_number_and_by_time(tmp_path):
    run(wanted(25, 1), tmp_path / "number", flush_every=10, flush_seconds=1e9)
    assert len(completions.CompletionStore(tmp_path / "number", MODEL["digest"]).parts()) == 3
    run(wanted(25, 1), tmp_path / "time", flush_every=10**6, flush_seconds=0.0)
    assert len(completions.CompletionStore(tmp_path / "time", MODEL["digest"]).parts()) == 25


def test_two_answers_to_one_cell_resolve_alike_whoever_wrote_first(tmp_path):
    one, two = (Completion("c" * 64, text, "stop", 1, 1) for text in ("one", "two"))
    found = []
    for name, order in (("a", (one, two)), ("b", (two, one))):
        store = completions.CompletionStore(tmp_path / name, MODEL["digest"])
        for completion in order:
            store.append([completion])
        found.append(store.get(pl.DataFrame({"cell": ["c" * 64, "d" * 64]})))
    assert found[0].equals(found[1]) and found[0]["response"].to_list() == ["one"]


AWKWARD = ["", 'a"b\\\n\té\u2028😀', "\x00\x1f\x7f", "</s>{}[]:,", "ü" * 3000, '\\"', "a"]


def test_keys_of_a_table_are_those_of_single_cells():
    rows = [(f"p{i}", j, "solve", prompt) for i, prompt in enumerate(AWKWARD) for j in range(3)]
    # the last problem asks the first one's prompt again
    rows += [("z", 0, "solve", AWKWARD[0])]
    table = pl.DataFrame(rows, schema=wanted(1, 1).schema, orient="row")
    sampling = {
        "temperature": 0.8,
        "top_p": 1.0,
        "max_tokens": 64,
        "repetition_penalty": 1.0,
        "seed": 0,
        "new": None,
    }
    found = completions.keyed(
        table.sample(fraction=1, shuffle=True, seed=1),
        model_digest="m",
        sampling=sampling,
        engine="e",
    )
    expected = [
        completions.completion_key("m", prompt, sampling, "e", 3 if name == "z" else sample)
        for name, sample, _, prompt in rows
    ]
    assert found["cell"].to_list() == expected and len(set(expected)) == len(expected)


def test_keys_are_what_they_were():
    # changed keys would mean that everything ever generated is generated again
    table = pl.DataFrame(
        [("p", i, "solve", AWKWARD[1]) for i in (0, 1)], schema=wanted(1, 1).schema, orient="row"
    )
    sampling = {
        "temperature": 0.8,
        "top_p": 1.0,
        "max_tokens": 64,
        "repetition_penalty": 1.0,
        "seed": 0,
    }
    found = completions.keyed(
        table, model_digest="ab" * 32, sampling=sampling, engine="transformers-1"
    )["cell"]
    assert found.to_list() == [
        "cf3bf926077a9975167bf90486e29ea6174ccd3535f68c6b2fc0efdd7200cdf2",
        "6459b3fc22063e9c4a1dec82efc294b16a894a5c3f4b963646314e63247b3d4e",
    ]


def test_held_says_which_keys_are_stored_in_the_order_asked(tmp_path):
    store = completions.CompletionStore(tmp_path, MODEL["digest"])
    assert store.contains(keys([1, 2])).to_list() == [False, False]
    for start in (0, 10, 5):
        store.append(
            [Completion(f"{n:064x}", "text", "stop", n, 1) for n in range(start, start + 10)]
        )
    asked = [30, 7, 0, 19, 20, 3]
    assert store.contains(keys(asked)).to_list() == [False, True, True, True, False, True]
    assert store.contains(keys([])).to_list() == []


def test_a_lookup_reads_the_texts_of_row_groups_with_a_wanted_key_only(tmp_path, monkeypatch):
    store = completions.CompletionStore(tmp_path, MODEL["digest"])
    frames = [
        completions.store.as_frame(cell(n) for n in range(start, start + 10))
        for start in range(0, 100, 10)
    ]
    paths = [parts.write(store.folder, frames[:7]), parts.write(store.folder, frames[7:])]
    read = []
    groups = parts.groups

    def counted(path, wanted):
        read.extend((paths.index(path), group, len(places)) for group, places in wanted)
        return groups(path, wanted)

    monkeypatch.setattr(parts, "groups", counted)
    found = store.get(keys([*range(38, 42), 99, 200]))
    assert sorted(read) == [(0, 3, 2), (0, 4, 2), (1, 2, 1)]
    assert found.sort("cell")["response"].to_list() == [f"answer {n}" for n in (38, 39, 40, 41, 99)]


def test_parts_of_the_first_format_are_read(tmp_path):
    store = completions.CompletionStore(tmp_path, MODEL["digest"])
    store.folder.mkdir()
    rows = completions.store.as_frame(cell(n) for n in range(5))
    for number, compression in enumerate(("zstd", "snappy")):
        path = store.folder / f"part-{number:032x}.parquet"
        rows[number::2].write_parquet(
            path, compression=compression, statistics=False, row_group_size=2
        )
    store.append([cell(7)])
    assert store.get(keys(range(10))).sort("cell")["response"].to_list() == [
        f"answer {n}" for n in (*range(5), 7)
    ]


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_generate_disjoint_parts_of_what_the_whole_then_finds(tmp_path, shards):
    table = wanted(20, 3)
    engines = [Fake() for _ in range(shards)]
    counts = [
        run(table, tmp_path, engine, call=completions.complete_shard, shard=(i, shards))[0]
        for i, engine in enumerate(engines)
    ]
    asked = [key for engine in engines for key in engine.asked]
    assert len(asked) == len(set(asked)) == sum(counts) == 60 and (shards > 2 or min(counts) > 0)
    assert all(count % 3 == 0 for count in counts), "the samples of a prompt are in one shard"
    whole, n = run(table, tmp_path)
    assert n == 0 and whole.equals(run(table, tmp_path / "fresh")[0])


def test_another_number_of_shards_recomputes_nothing_and_the_whole_does_what_is_left(tmp_path):
    table = wanted(30, 2)
    first = run(table, tmp_path, call=completions.complete_shard, shard=(1, 3))[1]
    assert run(table, tmp_path, call=completions.complete_shard, shard=(1, 3)) == (0, 0)
    counts = [
        run(table, tmp_path, call=completions.complete_shard, shard=(i, 4))[0] for i in (0, 1, 3)
    ]
    left = run(table, tmp_path)[1]
    assert first + sum(counts) + left == 60 and left > 0
    # a longer table: rows that were there keep their shard and their cells
    assert run(wanted(31, 4), tmp_path, call=completions.complete_shard, shard=(0, 1))[0] == 64


def test_a_shard_leaves_failures_to_the_next_run(tmp_path):
    failing = Fake(lambda request: "error" if request.prompt == "solve 1" else "stop")
    assert run(wanted(4, 1), tmp_path, failing, call=completions.complete_shard, shard=(0, 1)) == (
        3,
        5,
    )
    assert run(wanted(4, 1), tmp_path, call=completions.complete_shard, shard=(0, 1)) == (1, 1)
    assert run(pl.DataFrame([]), tmp_path, call=completions.complete_shard, shard=(1, 2)) == (0, 0)


def test_shards_are_written_as_i_of_n():
    assert completions.parse_shard("0/1") == (0, 1) and completions.parse_shard(" 3/12 ") == (3, 12)
    for text in ("4/4", "0/0", "1", "a/b", "-1/4", "1/4/2", "", "1.0/4"):
        with pytest.raises(InputError, match="give i/n with 0 <= i < n"):
            completions.parse_shard(text)


def test_progress_says_what_is_resumed_then_lines_then_the_sums(tmp_path, capsys, monkeypatch):
    run(wanted(2, 1), tmp_path)
    capsys.readouterr()
    init = Progress.__init__
    monkeypatch.setattr(
        Progress, "__init__", lambda self, total, unit: init(self, total, unit, every_s=0.0)
    )
    reasons = {"solve 2": "length", "solve 3": "prompt_too_long", "solve 4": "error"}
    run(wanted(6, 1), tmp_path, Fake(lambda request: reasons.get(request.prompt, "stop")))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "cells: 2 of 6 are stored, 4 to generate"
    steps = [line for line in lines if line.startswith("cells: ") and line.endswith(" left")]
    assert (
        len(steps) == 4
        and steps[-1].startswith("cells: 4 of 4, ")
        and " tokens/s, 0 s left" in steps[-1]
    )
    assert "cells: failed requests, asked once more: 1" in lines
    sums = next(line for line in lines if "reused" in line)
    assert sums.startswith("cells: 2 reused, 4 new, 28 prompt and 14 completion tokens in ")
    assert sums.endswith("new cells not ended by the model: error 1, length 1, prompt_too_long 1")
    assert lines[-1].startswith("cells: failed twice: 1 (p004/0); their rows say `error`")
    run(wanted(2, 1), tmp_path)
    assert capsys.readouterr().err.splitlines() == [
        "cells: 2 of 2 are stored, 0 to generate",
        "cells: 2 reused, 0 new",
    ]
