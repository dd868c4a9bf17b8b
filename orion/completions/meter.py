"""The meter of a generating job: whether the run's ceiling is reached, while the job generates.

Inputs: the ceiling, the store, what the job has generated and not stored yet. Outputs: how many
completions there is room for, and the error of a ceiling that is reached. Nothing is written.
"""

import sys
import time
from pathlib import Path

from orion.completions.writer import CompletionWriter
from orion.errors import InputError
from orion.spending.account import Account
from orion.spending.ceiling import Ceiling
from orion.spending.usage import Watch

# seconds between two looks at what other jobs have stored
REFRESH_S = 30.0


class Meter:
    """Follows a job's completions and those that other jobs store.

    ``store``: ``results/completions``. ``watch``: counts the hours, and is entered already. What
    other jobs have generated is seen when they store it, 30 seconds later at most.
    """

    def __init__(self, ceiling: Ceiling, store: str | Path, watch: Watch):
        self.ceiling, self.watch = ceiling, watch
        self.account = Account(ceiling, Path(store))
        self._seen = (0, time.monotonic())
        self._reached: str | None = None

    def find_room(self, writer: CompletionWriter) -> int:
        """How many completions may still be asked for: 0 from where a limit is reached on."""
        with writer.lock:
            flushes, now = writer.flushes, time.monotonic()
            if flushes != self._seen[0] or now - self._seen[1] >= REFRESH_S:
                self.account.refresh()
                self._seen = (flushes, now)
            folder = writer.store.folder.name
            spent = self.account.sum_up(self.watch.hours, writer.waiting, folder)
        self._reached = self._reached or self.ceiling.find_reached(spent)
        if self._reached is not None:
            return 0
        limit = self.ceiling.completions
        return sys.maxsize if limit is None else limit - spent.completions

    def refuse(self, left: int, wanted: int) -> InputError:
        """The error of a job that lacks ``left`` of ``wanted`` completions and may ask for none."""
        return InputError(
            f"{self._reached} are spent; {left:,} of this job's {wanted:,} completions are left to "
            "generate. What is stored is kept: raise the ceiling, or remove the key, and run again"
        )
