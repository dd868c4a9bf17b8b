"""Log lines and progress of long work, on standard error only.

Progress is a bar on a terminal and a plain line every few seconds in a log.
"""

import math
import sys
import time


def log(message: str) -> None:
    """Print one line on standard error, flushed at once."""
    print(message, file=sys.stderr, flush=True)


class Progress:
    """Counts finished units of work and prints rate, tokens per second and remaining time.

    `total`: units to do; `unit`: the plural that names them ("completions"); `every_s`: seconds
    between two lines in a log; `done`: units of an earlier run, which count for no rate.
    """

    def __init__(self, total: int, unit: str, *, every_s: float = 10.0, done: int = 0):
        self.total, self.unit, self.every_s = total, unit, every_s
        self.before = self.done = done
        self.tokens = 0
        self.start = self.last = time.monotonic()
        self.bar = None
        if total and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(
                total=total,
                initial=done,
                unit=f" {unit}",
                unit_scale=total > 100_000,
                dynamic_ncols=True,
            )

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return max(time.monotonic() - self.start, 1e-9)

    def add(self, count: int, note: str = "", *, tokens: int = 0) -> None:
        """Count finished units and their tokens; `note` is printed after the figures."""
        self.done += count
        self.tokens += tokens
        if self.bar is not None:
            self.bar.set_postfix_str(self._notes(note), refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.last >= self.every_s:
            self.last = time.monotonic()
            done = f"{self.unit}: {self.done:,} of {self.total:,}"
            rate = (self.done - self.before) / self.seconds
            speed = f"{rate:,.0f} per second" if rate >= 10 else f"{rate:.2g} per second"
            parts = [done, speed, self._notes(note), f"{self._remaining()} left"]
            print(", ".join(filter(None, parts)), file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar; a log gets no further line."""
        if self.bar is not None:
            self.bar.close()

    def _notes(self, note: str) -> str:
        rate = f"{self.tokens / self.seconds:,.0f} tokens/s" if self.tokens else ""
        return ", ".join(filter(None, (rate, note)))

    def _remaining(self) -> str:
        each = self.seconds / max(self.done - self.before, 1)
        seconds = math.ceil(each * (self.total - self.done))
        if seconds < 600:
            return f"{seconds} s"
        return f"{seconds // 60:,} min" if seconds < 36_000 else f"{seconds / 3600:,.1f} h"
