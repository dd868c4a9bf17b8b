"""Shared by the benchmarks: errors against float64, medians over rounds, peak memory, tables.

A provider is one implementation of the operator under test, given as a function without arguments.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

REFUSED = "REFUSED"


def try_providers(
    providers: dict[str, Callable[[], object]],
) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """The providers that run once without an exception, and the error of each of the rest.

    A provider that fails must not end the measurement of the rest.
    """
    good, notes = {}, {}
    for name, provider in providers.items():
        try:
            provider()
            good[name] = provider
        except Exception as error:
            # one short line that does not break the table
            line = " ".join(f"{type(error).__name__}: {error}".split())
            notes[name] = line[:120].replace("|", "/")
    return good, notes


def largest_relative_error(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """Largest relative error in norm; infinite if a number is not finite."""
    errors = [
        float((g.double() - w).norm() / w.norm().clamp(min=1e-30))
        for g, w in zip(got, want, strict=True)
    ]
    return max(e if e == e else float("inf") for e in errors)


def time_providers(
    providers: dict[str, Callable[[], object]], rounds: int, device: str = "cpu"
) -> dict[str, tuple[float, float]]:
    """Milliseconds of each provider, (median, (largest - smallest) / median), over all rounds.

    The providers take turns in each round. A round is one call on the CPU, and on a GPU the median
    of triton.testing.do_bench, which clears the L2 cache between calls.
    """
    times: dict[str, list[float]] = {name: [] for name in providers}
    for _ in range(rounds):
        for name, provider in providers.items():
            times[name].append(_milliseconds(provider, device))
    found = {
        name: (statistics.median(values), max(values) - min(values))
        for name, values in times.items()
    }
    return {name: (median, width / median) for name, (median, width) in found.items()}


def measure_peak_mib(call: Callable[[], object]) -> float:
    """MiB that a call allocates on the GPU beyond the present allocation, its results included."""
    torch.cuda.empty_cache()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def print_table(rows: Sequence[Any], columns: dict[str, str], as_json: bool) -> int:
    """Print rows, dataclasses with the fields case, provider and note; return how many are refused.

    columns: name of a field -> its format, in the order of the table. A note replaces the last
    number of its row. as_json: also print one JSON line per row.
    """
    if as_json:
        for row in rows:
            print(json.dumps(asdict(row)))
    print(f"| case | provider | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 2) + "|")
    for row in rows:
        values = [getattr(row, name) for name in columns]
        cells = [
            "" if v is None else format(v, form)
            for v, form in zip(values, columns.values(), strict=True)
        ]
        if row.note:
            cells[-1] = row.note
        print(f"| {row.case} | {row.provider} | {' | '.join(cells)} |")
    return sum(row.note == REFUSED for row in rows)


def describe_environment(device: str) -> str:
    """One line with the device and the version of torch."""
    name = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"CPU, {torch.get_num_threads()} thread(s)"
    )
    return f"{name}; torch {torch.__version__}"


def _milliseconds(provider: Callable[[], object], device: str) -> float:
    if device == "cuda":
        from triton.testing import do_bench

        return float(do_bench(provider, warmup=25, rep=100, return_mode="median"))
    start = time.perf_counter()
    provider()
    return 1e3 * (time.perf_counter() - start)
