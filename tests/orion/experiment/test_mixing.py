"""Teacher traces among an arm's rows: exact counts, whole problems, the same for the same seed."""

import random

import polars as pl
import pytest

from orion import tables
from orion.errors import InputError
from orion.experiment.mixing import Mix, count_others, mix_traces


def make_rows(counts, kind="own_correct"):
    """problem → number of its rows"""
    return tables.from_rows(
        (
            {
                "problem_id": p,
                "row": n,
                "prompt": p,
                "completion": f"{kind} {p} {n}",
                "target_kind": kind,
                "sample_id": n,
                "error_sample_ids": [],
                "filters_passed": [],
            }
            for p, count in counts.items()
            for n in range(count)
        ),
        tables.TRAIN,
    )


def make_traces(names):
    return make_rows(dict.fromkeys(names, 1), "teacher_trace")


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.25, 1 / 3, 0.4, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_the_share_is_exact_and_no_more_traces_would_fit(share, seed):
    rng = random.Random(seed)
    own = make_rows({f"p{i}": rng.randint(0, 3) for i in range(80)})
    traced = [f"p{i}" for i in range(100) if rng.random() < 0.8]
    mixed, counts = mix_traces(own, make_traces(traced), Mix(share, seed))
    traces = mixed.filter(pl.col("target_kind") == "teacher_trace")
    others = mixed.filter(pl.col("target_kind") == "own_correct")
    a, b = traces.height, others.height
    assert (counts["teacher_rows"], counts["other_rows"]) == (a, b) and a + b == mixed.height
    # the number of traces nearest to the share of all rows
    assert abs(a - share * (a + b)) <= 0.5
    assert not set(traces["problem_id"]) & set(others["problem_id"])
    # rows are taken as they are
    assert others.join(own, on=own.columns, how="anti", nulls_equal=True).height == 0
    assert mixed.equals(mixed.sort("problem_id", "row"))
    # with one more trace the rows of the remaining problems would be too few
    free = own.filter(~pl.col("problem_id").is_in(traces["problem_id"].to_list())).height
    is_last = a == len(traced)
    assert b <= free and (is_last or count_others(a + 1, share) > free - 3)
    assert counts["other_rows_left_out"] == own.height - b
    assert counts["traces_left_out"] == len(traced) - a


def test_the_seed_and_not_the_order_decides():
    own, traces = (
        make_rows({f"p{i}": 2 for i in range(50)}),
        make_traces(f"p{i}" for i in range(50)),
    )
    one = mix_traces(own, traces, Mix(0.2, 1))[0]
    shuffled = (frame.sample(fraction=1, shuffle=True, seed=5) for frame in (own, traces))
    assert one.equals(mix_traces(*shuffled, Mix(0.2, 1))[0])
    assert not one.equals(mix_traces(own, traces, Mix(0.2, 2))[0])


def test_a_share_that_cannot_be_reached_is_refused():
    own, traces = make_rows({"a": 2, "b": 1}), make_traces(["a", "b"])
    with pytest.raises(
        InputError, match=r"2 traces and 3 other rows are too few; one trace needs 9"
    ):
        mix_traces(own, traces, Mix(0.1))
    with pytest.raises(InputError, match=r"0 traces and 3 other rows are too few"):
        mix_traces(own, traces.clear(), Mix(0.5))
