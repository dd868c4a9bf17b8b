"""bench/training.py: the same documents for everybody, what is held and missed, bad options."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench import checkpoints, training, training_rows, training_run
from bench.training import Contestant, Measured
from bench.training_run import Result, Run
from orion.training.best_fit import best_fit_bins


@pytest.mark.parametrize("bins", [2, 6])
def test_lengths_fill_the_sequences(bins):
    lengths = training_rows.draw_lengths(4 * bins, bins, 512)
    assert len(best_fit_bins(np.array(lengths), 512)) == bins
    assert sum(lengths) > 0.9 * bins * 512 and max(lengths) <= 512
    # skewed, as lognormal lengths are
    assert sorted(lengths)[2 * bins] < 0.8 * sum(lengths) / len(lengths)


def test_contestants_read_the_same_documents(tmp_path):
    document = checkpoints.random_shape(tmp_path / "model", training.SHAPES["tiny"])
    timed = training_rows.draw_lengths(8, 2, 128)
    rows = training_rows.synthetic_documents(training_rows.warm_up_lengths(8, 2, 128) + timed, 500)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"first": rows[:8], "timed": rows[8:]}), encoding="utf-8")
    results = {}
    for way, batch, micro_batch in (("orion", 2, 1), ("trainer", 8, 4)):
        results[way] = training_run.measure(
            Run(
                way=way,
                document=asdict(document),
                rows=str(path),
                work=str(tmp_path / way),
                dtype="float32",
                threads=1,
                max_length=128,
                batch=batch,
                micro_batch=micro_batch,
                evaluate=True,
            )
        )
    ours, theirs = results["orion"], results["trainer"]
    assert ours.steps == theirs.steps == 2
    assert ours.tokens == theirs.tokens == sum(timed)
    assert ours.padding == 0 < theirs.padding and ours.seconds > 0 < ours.above
    # one order of documents in both steps, so that only rounding differs
    assert ours.loss == pytest.approx(theirs.loss, abs=1e-5)


def test_a_leak_between_documents_is_found():
    class Leaking(torch.nn.Module):
        device = torch.device("cpu")

        def base_model(self, ids, **_):
            return (ids.float().cumsum(1)[..., None],)

    assert not training_run.is_isolated(Leaking(), packed=True)
    assert training_run.is_isolated(SimpleNamespace(), packed=False)


def measured(rate, above, loss, *, isolated=True):
    return Measured({1: [Result(2, 1.0, rate, 0.0, above, 2 * above, isolated, loss)]})


def test_goals_are_held_or_missed_in_each_group(capsys):
    found = {
        Contestant("orion", "bfloat16", 1): measured(125, 70, 2.0),
        Contestant("trainer", "bfloat16", 1): measured(100, 100, 2.001),
        # faster and smaller, but not the same mathematics
        Contestant("trl packed", "bfloat16", 1): measured(200, 90, 2.5, isolated=False),
        # other threads are not compared with
        Contestant("trainer", "bfloat16", 2): measured(900, 1, 2.0),
    }
    training.print_table(found)
    training.print_goals(found)
    lines = capsys.readouterr().out.splitlines()
    assert sum("no: a packed document sees" in line for line in lines) == 1
    goals = [line for line in lines if line.startswith("bfloat16, threads 1")]
    verdicts = [line.rpartition(": ")[2] for line in goals]
    assert verdicts == ["held", "held", "missed", "missed", "held"]
    assert "1.25× the tokens/s of trainer" in goals[0] and "0.62×" in goals[2]


def test_a_failed_contestant_is_left_out_with_its_reason(capsys):
    found = {Contestant("trl padded", "bfloat16", 1): Measured(failed="ImportError: no trl")}
    assert training.print_table(found) == []
    assert "left out: ImportError: no trl" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shape", "0.5b", "--device", "cuda"], "no CUDA device here"),
        (["--shape", "0.5b", "--data", "."], "--data needs the tokenizer of --gguf"),
        (["--shape", "tiny", "--trl", "."], "no package trl in this folder"),
        (["--shape", "tiny", "--threads", "0"], "at least 1"),
        ([], "--gguf --shape is required"),
    ],
)
def test_bad_options(options, message, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        training.parse_arguments(options)
    assert message in capsys.readouterr().err


def test_ways_without_their_package_are_left_out(capsys):
    args = training.parse_arguments(["--shape", "tiny", "--threads", "2"])
    args.device = "cuda"
    names = [each.name for each in training.list_contestants(args)]
    assert names[:2] == ["orion", "trainer"] and not any("trl" in name for name in names)
    assert "--trl names the folder" in capsys.readouterr().out
