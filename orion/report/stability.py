"""How steady the trainings were: spikes of the loss, gradient norms, and the last losses of seeds.

Input: ``Results``, whose arms have the lines of train_log.jsonl. Output: rows. Nothing is read but
the logged loss and gradient norm of each optimiser step.
"""

import statistics
from itertools import pairwise

import numpy as np

from orion.report.gather import Arm, Results

# A spike stands 7 deviations off what went before, as in OLMo 2 (arXiv:2501.00656, section 3.2).
# Its mean and deviation of 1,000 steps are those of pre-training: a fine-tuning has fewer steps,
# and a spike among 32 would widen a plain deviation. So here it is the median and the median
# absolute deviation. 16 steps are the fewest whose deviation means something.
DEVIATIONS = 7
WINDOW, FEWEST = 32, 16
DEFINITION = {"deviations": DEVIATIONS, "window": WINDOW, "fewest": FEWEST}
# the median absolute deviation of a normal distribution times this is its standard deviation
NORMAL = 1.4826
# of the steps, for the loss at the end: single steps differ by their rows
LAST_SHARE = 0.1


def stability_rows(results: Results) -> list[dict]:
    """One row per trained arm, over its seeds.

    ``judged``: the steps with enough steps before them. ``spikes``: those of them whose loss is a
    spike, `find_spikes`. ``largest_rise``: of the loss from one step to the next. ``grad_norm_*``:
    before clipping. ``last_loss``: the mean over the seeds of `measure_end`, with the lowest and
    highest seed; ``spread`` is their standard deviation, null for one seed.
    """
    return [_describe(arm) for arm in results.arms.values() if arm.train is not None]


def _describe(arm: Arm) -> dict:
    logs = [[entry for entry in log if "loss" in entry] for log in arm.logs.values()]
    losses = [[entry["loss"] for entry in log] for log in logs if log]
    norms = [entry["grad_norm"] for log in logs for entry in log if "grad_norm" in entry]
    spikes = [len(find_spikes(run)) for run in losses]
    ends = [measure_end(run) for run in losses]
    rises = [after - before for run in losses for before, after in pairwise(run)]
    return {
        "arm": arm.name,
        "seeds": len(losses),
        "steps": sum(map(len, losses)),
        "judged": sum(max(0, len(run) - FEWEST) for run in losses),
        "spikes": sum(spikes),
        "seeds_with_spike": sum(count > 0 for count in spikes),
        "largest_rise": max(rises, default=None),
        "grad_norm_median": statistics.median(norms) if norms else None,
        "grad_norm_largest": max(norms, default=None),
        "last_loss": statistics.fmean(ends) if ends else None,
        "lowest_seed": min(ends, default=None),
        "highest_seed": max(ends, default=None),
        "spread": statistics.stdev(ends) if len(ends) > 1 else None,
    }


def find_spikes(losses: list[float]) -> list[int]:
    """The numbers, from 0, of the steps whose loss is a spike.

    It is more than DEVIATIONS robust deviations above the median of up to WINDOW steps before it.
    None is found among the first FEWEST steps, and none where the deviation is 0. A spike stays
    among the steps before the next ones: it moves their median by one place at most.
    """
    values = np.array(losses)
    found: list[int] = []
    for step in range(FEWEST, len(values)):
        before = values[max(0, step - WINDOW) : step]
        median = np.median(before)
        deviation = NORMAL * np.median(np.abs(before - median))
        if 0 < DEVIATIONS * deviation < values[step] - median:
            found.append(step)
    return found


def measure_end(losses: list[float]) -> float:
    """The mean loss of the last tenth of the steps, at least one."""
    count = max(1, round(LAST_SHARE * len(losses)))
    return statistics.fmean(losses[-count:])
