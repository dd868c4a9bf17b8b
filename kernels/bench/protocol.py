"""What both benchmarks share: rotated providers in one process, medians, and no timing of what computes the wrong thing.

Inputs: providers as functions that return tensors to be judged. Outputs: a printed table, one JSON line a row on request.
Imported by the scripts beside it.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

Provider = Callable[[], Sequence[Tensor]]


@dataclass(frozen=True)
class Row:
    case: str
    provider: str
    error: float  # largest relative error, in norm, of the tensors it returned
    milliseconds: float | None  # median; None where the error forbids timing
    spread: float | None  # (largest - smallest) / median
    ratio: float | None  # time of the first provider / time of this one


def relative_error(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """Largest relative error in norm; infinite where a number is not finite."""
    errors = [float((g.double() - w).norm() / w.norm().clamp(min=1e-30)) for g, w in zip(got, want, strict=True)]
    return max(e if e == e else float("inf") for e in errors)


def measure(case: str, providers: dict[str, Provider], want: Sequence[Tensor], limit: float, rounds: int) -> list[Row]:
    """Check every provider against `want` (float64), then time those within `limit`, one call each in turn, `rounds` times."""
    errors = {name: relative_error(provider(), want) for name, provider in providers.items()}
    times: dict[str, list[float]] = {name: [] for name, error in errors.items() if error <= limit}
    for _ in range(rounds):
        for name in times:
            _synchronise()
            start = time.perf_counter()
            providers[name]()
            _synchronise()
            times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = medians.get(next(iter(providers)))
    rows = []
    for name, error in errors.items():
        median = medians.get(name)
        spread = (max(times[name]) - min(times[name])) / median if median else None
        rows.append(Row(case, name, error, median, spread, base / median if base and median else None))
    return rows


def report(rows: list[Row], as_json: bool) -> int:
    """Print the rows; returns the number of providers that were refused, for the exit status."""
    if as_json:
        for row in rows:
            print(json.dumps(asdict(row)))
    print(f"| {'case':46} | {'provider':14} | rel. error | median ms | spread | speed-up |")
    print(f"|{'-' * 48}|{'-' * 16}|------------|-----------|--------|----------|")
    for row in rows:
        timing = (
            f"{row.milliseconds:9.2f} | {row.spread:6.0%}"
            if row.milliseconds is not None
            else f"{'REFUSED':>9} | {'':6}"
        )
        ratio = f"{row.ratio:7.2f}x" if row.ratio is not None else f"{'':8}"
        print(f"| {row.case:46} | {row.provider:14} | {row.error:10.1e} | {timing} | {ratio} |")
    return sum(row.milliseconds is None for row in rows)


def environment(device: str) -> str:
    """One line that says what was measured on."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    return f"{name}; torch {torch.__version__}"


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
