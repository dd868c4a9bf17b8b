"""Spikes of the loss, gradient norms and last losses of trainings."""

import random
import statistics
from types import SimpleNamespace

import pytest

from orion.report.gather import Arm
from orion.report.stability import find_spikes, measure_end, stability_rows


def make_loss(seed: int, steps: int = 120) -> list[float]:
    rng = random.Random(seed)
    return [0.4 + step**-0.5 + rng.gauss(0, 0.05) for step in range(1, steps + 1)]


def test_a_steady_loss_has_no_spike_and_a_spike_is_found_once():
    for seed in range(20):
        losses = make_loss(seed)
        assert find_spikes(losses) == []
        losses[70] += 1.5
        assert find_spikes(losses) == [70]
        # two in a row are both seen: the first one hardly moves the median and the deviation
        losses[71] += 1.5
        assert find_spikes(losses) == [70, 71]


def test_the_first_steps_are_not_judged_and_falls_are_no_spikes():
    losses = make_loss(1)
    losses[15] += 5
    losses[80] = 0.0
    assert find_spikes(losses) == []
    losses[16] += 5
    assert find_spikes(losses) == [16]
    # equal losses say nothing of what is usual
    assert find_spikes([]) == find_spikes([1.0] * 40 + [1.1]) == []


def test_a_spike_is_more_than_seven_deviations_above_the_median():
    before = [1.0, 1.1, 1.3, 1.2] * 8  # median 1.15, median absolute deviation 0.1
    limit = 1.15 + 7 * 1.4826 * 0.1
    assert find_spikes([*before, limit - 1e-6]) == []
    assert find_spikes([*before, limit + 1e-6]) == [32]
    # what stands more than 32 steps back is no longer compared with
    assert find_spikes([*[9.0] * 40, *before, limit + 1e-6]) == [72]


def test_the_end_is_the_last_tenth():
    assert measure_end([5.0, 1.0]) == 1.0
    assert measure_end([9.0] * 18 + [1.0, 2.0]) == 1.5


def test_one_row_per_trained_arm_over_its_seeds():
    logs = {
        seed: [
            {"step": step, "loss": loss, "grad_norm": float(step + seed)}
            for step, loss in enumerate(make_loss(seed), 1)
        ]
        for seed in (1, 2, 3)
    }
    logs[2][50]["loss"] += 2
    # the last line may hold a validation loss alone
    logs[1].append({"step": 121, "validation_loss": 9.0})
    trained = Arm("orion", "reflection", train=object(), logs=logs)

    both = SimpleNamespace(arms={"base": Arm("base", "nothing"), "orion": trained})
    [row] = stability_rows(both)
    ends = [statistics.mean(line["loss"] for line in log[108:120]) for log in logs.values()]
    assert row["arm"] == "orion" and (row["seeds"], row["steps"], row["judged"]) == (3, 360, 312)
    assert (row["spikes"], row["seeds_with_spike"]) == (1, 1)
    assert row["largest_rise"] == logs[2][50]["loss"] - logs[2][49]["loss"]
    assert (row["grad_norm_median"], row["grad_norm_largest"]) == (62.5, 123.0)
    assert row["last_loss"] == pytest.approx(statistics.mean(ends))
    assert (row["lowest_seed"], row["highest_seed"]) == (min(ends), max(ends))
    assert row["spread"] == pytest.approx(statistics.stdev(ends))
    del logs[2], logs[3]
    assert stability_rows(both)[0]["spread"] is None
