"""The time that jobs have taken: from the usage files of Snakemake, and of the running job.

Inputs: ``logs/`` beside a results folder, whose usage files Snakemake writes by the directive
``benchmark``; the seconds of tries without a result in ``results/work/tries``. Outputs: seconds and
hours. Only `Watch` writes: one small file per try.
"""

import csv
import io
import math
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from orion.errors import InputError

SECONDS_PER_HOUR = 3600
# a usage file has a line of names and a line of numbers, about 150 characters
MAX_USAGE_BYTES = 10_000
TRIES = Path("work/tries")
# seconds between two looks at the hours of all jobs; a job may exceed a ceiling by as much
LOOK_EVERY_S = 30.0
# Snakemake opens a usage file and writes it at once, on shared file systems a little later
WRITTEN_WITHIN_S = 1.0


def find_logs(results: Path) -> Path:
    """The folder of the usage files of a results folder, beside it."""
    return results.absolute().parent / "logs"


def read_usage(path: Path) -> tuple[float, float | None]:
    """Seconds by the clock and of the processors, from a usage file of Snakemake.

    The second is None where Snakemake has not measured it. Raises InputError for any other file.
    """
    with open(path, "rb") as file:
        raw = file.read(MAX_USAGE_BYTES + 1)
    problem = None
    rows: list[dict[str, str]] = []
    if len(raw) > MAX_USAGE_BYTES or b"\0" in raw:
        problem = "it is longer than such a file, or binary"
    else:
        text = raw.decode("utf-8", "replace")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))
        if len(rows) != 1:
            problem = f"it has {len(rows)} lines of numbers, not 1"
    if problem is None:
        seconds = _read_seconds(rows[0].get("s"))
        if seconds is not None:
            return seconds, _read_seconds(rows[0].get("cpu_time"))
        problem = "its column s has no number of seconds"
    raise InputError(
        f"{path}: not a usage file of Snakemake: {problem}; delete it, or give another pilot"
    )


def _read_seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def sum_hours(results: Path) -> float:
    """Hours of all jobs that have a result, one after the other, and of tries that have none.

    A job that was made again counts with its last time. Raises InputError for a damaged usage file.
    """
    finished = (_read_written(path) for path in find_logs(results).glob("**/*.usage.tsv"))
    tries = (_read_try(path) for path in (results / TRIES).glob("*.s"))
    return (sum(finished) + sum(tries)) / SECONDS_PER_HOUR


def _read_written(path: Path) -> float:
    """Seconds by the clock; a file that is being written is read again, one that is gone is 0."""
    try:
        return read_usage(path)[0]
    except (InputError, OSError):
        time.sleep(WRITTEN_WITHIN_S)
    try:
        return read_usage(path)[0]
    except FileNotFoundError:
        return 0.0


def _read_try(path: Path) -> float:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError):
        # its job has just ended, so that a usage file has the time
        return 0.0
    return _read_seconds(text) or 0.0


class Watch:
    """Context manager around what a job pays for: counts its time, and looks at that of all jobs.

    Its seconds are on disk while it runs, and stay there if it fails or is killed; where it
    succeeds, its usage file will have them. ``hours``: of the whole run, as last seen; ``on_look``
    is called after each look, in a thread. ``is_active``: False where no ceiling counts time; then
    nothing is read or written. ``records``: False for a part of a job that another process counts.
    Entering raises InputError for a damaged usage file.
    """

    def __init__(
        self,
        results: Path,
        *,
        is_active: bool,
        records: bool = True,
        on_look: Callable[[], None] = lambda: None,
        every_s: float = LOOK_EVERY_S,
    ):
        self.results, self.is_active = results, is_active
        self.on_look, self.every_s = on_look, every_s
        self.hours = 0.0
        self._file = results / TRIES / f"{secrets.token_hex(8)}.s" if records else None
        self._start = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        if self.is_active:
            self.hours = sum_hours(self.results)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.is_active:
            return
        self._ended.set()
        self._thread.join()
        if kind is None and self._file is not None:
            self._file.unlink(missing_ok=True)
        else:
            self._write()

    def _look(self) -> None:
        while not self._ended.wait(self.every_s):
            self._write()
            try:
                self.hours = sum_hours(self.results)
                self.on_look()
            except (InputError, OSError):
                # a file that is being written or removed, or cannot be read now; look again
                continue

    def _write(self) -> None:
        if self._file is None:
            return
        # of one length, so that a new number replaces the old one whole
        text = b"%020.3f" % (time.monotonic() - self._start)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(descriptor, text, 0)
            finally:
                os.close(descriptor)
        except OSError:
            # a full disk; the next look writes the whole time
            return
