"""The completion store: what is generated once is kept and found again."""

from dataclasses import replace

import polars as pl
import pytest

from orion import completions, tables
from orion.completions import maintenance, parts
from orion.completions.parts import KEY
from orion.engines import Completion
from orion.progress import Progress
from tests.helpers.fake_engine import (
    DOCUMENT,
    FakeEngine,
    make_completion,
    make_keys,
    make_requests,
    run,
)


def test_the_second_run_generates_nothing_and_opens_no_engine(tmp_path):
    first, n = run(make_requests(10, 2), tmp_path)
    assert n == 20
    engine = FakeEngine()
    second, n = run(make_requests(10, 2), tmp_path, engine)
    assert (n, engine.times_opened) == (0, 0)
    assert second.equals(first)
    assert tables.check(first, tables.SAMPLES, rows=20).equals(first)


@pytest.mark.parametrize(
    ("request_table", "changes", "new"),
    [
        (make_requests(10, 4), {"num_samples": 4}, 20),
        (make_requests(13, 2), {}, 6),
        (make_requests(5, 1), {}, 0),
        (make_requests(10, 2, "Solve {}"), {}, 20),
        (make_requests(10, 2), {"temperature": 0.7}, 20),
        (make_requests(10, 2), {"top_p": 0.9}, 20),
        (make_requests(10, 2), {"max_tokens": 65}, 20),
        (make_requests(10, 2), {"repetition_penalty": 1.1}, 20),
        (make_requests(10, 2), {"seed": 1}, 20),
        (make_requests(10, 2), {"temperature": 0.8, "num_samples": 99, "flush_every": 3}, 0),
        (make_requests(10, 2), {"document": replace(DOCUMENT, digest="ab" * 31 + "00")}, 20),
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
def test_a_change_costs_exactly_the_completions_it_touches(tmp_path, request_table, changes, new):
    run(make_requests(10, 2), tmp_path)
    frame, n = run(request_table, tmp_path, **changes)
    assert n == new
    assert frame.equals(run(request_table, tmp_path / "fresh", **changes)[0])


def test_equal_prompts_are_different_samples_and_more_of_them_keep_the_first(tmp_path):
    def ask(k):
        # two prompts a problem, sample_id = prompt index * k + i, as reflections number them
        rows = [
            ("p", prompt * k + i, "x", f"prompt {prompt}") for prompt in range(2) for i in range(k)
        ]
        return pl.DataFrame(rows, schema=make_requests(1, 1).schema, orient="row")

    frame, n = run(ask(2), tmp_path)
    assert n == 4 and frame["completion"].n_unique() == 4
    _, n = run(ask(3), tmp_path)
    assert n == 2
    same = make_requests(3, 2, "one text")
    frame, n = run(same, tmp_path)
    assert n == 6 and frame["response"].n_unique() == 6


def test_errors_and_long_prompts_are_rows_but_not_stored(tmp_path):
    request_table = make_requests(4, 1)
    reasons = {"solve 1": "error", "solve 2": "prompt_too_long", "solve 3": "length"}
    engine = FakeEngine(lambda request: reasons.get(request.prompt, "stop"))
    frame, _ = run(request_table, tmp_path, engine)
    assert frame["finish_reason"].to_list() == ["stop", "error", "prompt_too_long", "length"]
    frame, n = run(request_table, tmp_path)
    assert n == 2
    assert frame["finish_reason"].to_list() == ["stop", "stop", "stop", "length"]


def test_a_shorter_context_shows_completions_it_has_no_room_for_as_too_long(tmp_path):
    # the fake engine counts a letter as a token: 'solve 0' is 7 of them
    whole, _ = run(make_requests(3, 1), tmp_path)
    frame, n = run(make_requests(3, 1), tmp_path, document=replace(DOCUMENT, context_length=71))
    assert n == 0 and frame.equals(whole)
    frame, n = run(make_requests(3, 1), tmp_path, document=replace(DOCUMENT, context_length=70))
    columns = frame.select("response", "finish_reason", "prompt_tokens", "completion_tokens")
    assert n == 0 and set(columns.iter_rows()) == {("", "prompt_too_long", 7, 0)}


def test_no_requests(tmp_path):
    engine = FakeEngine()
    frame, _ = run(pl.DataFrame([]), tmp_path, engine)
    assert frame.schema == pl.Schema(tables.SAMPLES.columns) and engine.times_opened == 0


def test_flushes_by_number_and_by_time(tmp_path):
    run(make_requests(25, 1), tmp_path / "number", flush_every=10, flush_seconds=1e9)
    assert len(completions.CompletionStore(tmp_path / "number", DOCUMENT.digest).parts()) == 3
    run(make_requests(25, 1), tmp_path / "time", flush_every=10**6, flush_seconds=0.0)
    assert len(completions.CompletionStore(tmp_path / "time", DOCUMENT.digest).parts()) == 25


def test_two_answers_to_one_request_resolve_alike_whoever_wrote_first(tmp_path):
    one, two = (Completion("c" * 64, text, "stop", 1, 1) for text in ("one", "two"))
    found = []
    for name, order in (("a", (one, two)), ("b", (two, one))):
        store = completions.CompletionStore(tmp_path / name, DOCUMENT.digest)
        for completion in order:
            store.append([completion])
        found.append(store.get(pl.DataFrame({KEY: ["c" * 64, "d" * 64]})))
    assert found[0].equals(found[1]) and found[0]["response"].to_list() == ["one"]


def test_contains_says_which_keys_are_stored_in_the_order_asked(tmp_path):
    store = completions.CompletionStore(tmp_path, DOCUMENT.digest)
    assert store.contains(make_keys([1, 2])).to_list() == [False, False]
    for start in (0, 10, 5):
        store.append(
            [Completion(f"{n:064x}", "text", "stop", n, 1) for n in range(start, start + 10)]
        )
    asked = [30, 7, 0, 19, 20, 3]
    assert store.contains(make_keys(asked)).to_list() == [False, True, True, True, False, True]
    assert store.contains(make_keys([])).to_list() == []


def test_a_lookup_reads_the_texts_of_row_groups_with_a_wanted_key_only(tmp_path, monkeypatch):
    store = completions.CompletionStore(tmp_path, DOCUMENT.digest)
    frames = [
        completions.store.as_frame(make_completion(n) for n in range(start, start + 10))
        for start in range(0, 100, 10)
    ]
    paths = [parts.write_part(store.folder, frames[:7]), parts.write_part(store.folder, frames[7:])]
    read = []
    groups = parts.read_row_groups

    def count_rows(path, selection):
        read.extend((paths.index(path), group, len(rows)) for group, rows in selection)
        return groups(path, selection)

    monkeypatch.setattr(parts, "read_row_groups", count_rows)
    found = store.get(make_keys([*range(38, 42), 99, 200]))
    assert sorted(read) == [(0, 3, 2), (0, 4, 2), (1, 2, 1)]
    assert found.sort(KEY)["response"].to_list() == [f"answer {n}" for n in (38, 39, 40, 41, 99)]


def test_parts_of_the_first_format_are_read(tmp_path):
    store = completions.CompletionStore(tmp_path, DOCUMENT.digest)
    store.folder.mkdir()
    rows = completions.store.as_frame(make_completion(n) for n in range(5))
    for number, compression in enumerate(("zstd", "snappy")):
        path = store.folder / f"part-{number:032x}.parquet"
        rows[number::2].write_parquet(
            path, compression=compression, statistics=False, row_group_size=2
        )
    store.append([make_completion(7)])
    assert store.get(make_keys(range(10))).sort(KEY)["response"].to_list() == [
        f"answer {n}" for n in (*range(5), 7)
    ]


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_generate_disjoint_parts_of_what_the_whole_then_finds(tmp_path, shards):
    table = make_requests(20, 3)
    engines = [FakeEngine() for _ in range(shards)]
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
    table = make_requests(30, 2)
    first = run(table, tmp_path, call=completions.complete_shard, shard=(1, 3))[1]
    assert run(table, tmp_path, call=completions.complete_shard, shard=(1, 3)) == (0, 0)
    counts = [
        run(table, tmp_path, call=completions.complete_shard, shard=(i, 4))[0] for i in (0, 1, 3)
    ]
    left = run(table, tmp_path)[1]
    assert first + sum(counts) + left == 60 and left > 0
    # a longer table: rows that were there keep their shard and their keys
    assert (
        run(make_requests(31, 4), tmp_path, call=completions.complete_shard, shard=(0, 1))[0] == 64
    )


def test_a_shard_leaves_failures_to_the_next_run(tmp_path):
    failing = FakeEngine(lambda request: "error" if request.prompt == "solve 1" else "stop")
    assert run(
        make_requests(4, 1), tmp_path, failing, call=completions.complete_shard, shard=(0, 1)
    ) == (
        3,
        5,
    )
    assert run(make_requests(4, 1), tmp_path, call=completions.complete_shard, shard=(0, 1)) == (
        1,
        1,
    )
    assert run(pl.DataFrame([]), tmp_path, call=completions.complete_shard, shard=(1, 2)) == (0, 0)


def test_progress_says_what_is_resumed_then_lines_then_the_sums(tmp_path, capsys, monkeypatch):
    run(make_requests(2, 1), tmp_path)
    capsys.readouterr()
    init = Progress.__init__
    monkeypatch.setattr(
        Progress, "__init__", lambda self, total, unit: init(self, total, unit, every_s=0.0)
    )
    reasons = {"solve 2": "length", "solve 3": "prompt_too_long", "solve 4": "error"}
    run(
        make_requests(6, 1),
        tmp_path,
        FakeEngine(lambda request: reasons.get(request.prompt, "stop")),
    )
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "completions: 2 of 6 are stored, 4 to generate"
    steps = [line for line in lines if line.startswith("completions: ") and line.endswith(" left")]
    assert (
        len(steps) == 4
        and steps[-1].startswith("completions: 4 of 4, ")
        and " tokens/s, 0 s left" in steps[-1]
    )
    assert "completions: 1 requests failed and are asked once more" in lines
    sums = next(line for line in lines if "reused" in line)
    assert sums.startswith("completions: 2 reused, 4 new, 28 prompt and 14 completion tokens in ")
    assert sums.endswith(
        "new completions that did not stop by themselves: error 1, length 1, prompt_too_long 1"
    )
    assert lines[-1].startswith("completions: failed twice: 1 (p004/0); their rows say `error`")
    run(make_requests(2, 1), tmp_path)
    assert capsys.readouterr().err.splitlines() == [
        "completions: 2 of 2 are stored, 0 to generate",
        "completions: 2 reused, 0 new",
    ]


def test_at_temperature_0_a_prompt_is_asked_once_and_the_log_says_so(tmp_path, capsys):
    table, asked = run(make_requests(5, 4), tmp_path, temperature=0.0)
    assert asked == 5 and table.height == 20
    assert (
        table.group_by("problem_id").agg(pl.col("completion").n_unique() == 1)["completion"].all()
    )
    assert table["response"].n_unique() == 5
    assert (
        "at temperature 0 all samples of a prompt are equal: 5 stand for 20"
        in capsys.readouterr().err
    )
    # as many samples as before, or more: nothing is asked; the first sample's key is what it was
    assert run(make_requests(5, 6), tmp_path, temperature=0.0)[1] == 0
    shard = {"call": completions.complete_shard, "shard": (0, 1)}
    assert run(make_requests(5, 6), tmp_path, temperature=0.0, **shard)[1] == 0
    one, _ = run(make_requests(5, 1), tmp_path / "one", temperature=0.0)
    assert set(one["completion"]) == set(table["completion"])
    assert run(make_requests(5, 4), tmp_path / "warm", temperature=0.1)[1] == 20
    # a failed request is one request, and all of its rows say so
    failing = FakeEngine(lambda request: "error" if request.prompt == "solve 2" else "stop")
    table, asked = run(make_requests(5, 4), tmp_path / "failing", failing, temperature=0.0)
    assert asked == 6 and table["finish_reason"].value_counts(sort=True)["count"].to_list() == [
        16,
        4,
    ]


def test_whatever_its_finish_reason_an_answer_is_stored(tmp_path):
    words = {"solve 0": "content_filter", "solve 1": "unknown", "solve 2": "tool_calls"}
    engine = FakeEngine(lambda request: words.get(request.prompt, "stop"))
    table, asked = run(make_requests(4, 2), tmp_path, engine)
    assert asked == 8 and set(table["finish_reason"]) == {*words.values(), "stop"}
    again, asked = run(make_requests(4, 2), tmp_path, engine)
    assert asked == 8 and again.equals(table)
    [part] = tmp_path.rglob("part-*.parquet")
    assert maintenance.find_fault(part) is None

    tables.check(table, tables.SAMPLES)
    with pytest.raises(AssertionError, match=r"finish_reason: unknown values \['Stop!'\]"):
        tables.check(table.with_columns(finish_reason=pl.lit("Stop!")), tables.SAMPLES)
