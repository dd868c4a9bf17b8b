"""The writer that collects new completions and stores them every few seconds.

Input: completions, one at a time. Output: part files in the store, counts for the log.
"""

import threading
import time
from collections import Counter
from types import TracebackType

import polars as pl

from orion.completions.parts import UNSTORED_FINISH_REASONS
from orion.completions.store import CompletionStore, as_frame
from orion.engines import Completion
from orion.errors import InputError
from orion.progress import Progress, log
from orion.spending.totals import Counts

# seconds between the last attempts to store completions before they are given up
FINAL_RETRY_WAITS_S = (1.0, 4.0, 10.0, 15.0, 30.0)


class CompletionWriter:
    """Collects new completions; use it as a context, at whose end all are stored.

    ``total``: how many are expected. ``every`` and ``seconds``: when to store. ``keep_frames``:
    also keep the rows in ``frames``.
    """

    def __init__(
        self,
        store: CompletionStore,
        total: int,
        every: int,
        seconds: float,
        *,
        keep_frames: bool = True,
    ):
        self.store, self.total = store, total
        self.every, self.seconds, self.keep_frames = every, seconds, keep_frames
        self.progress = Progress(0, "completions")
        self.pending: list[Completion] = []
        self.frames: list[pl.DataFrame] = []
        self.stored = self.prompt_tokens = self.completion_tokens = 0
        self.reasons: Counter[str] = Counter()
        self.error: OSError | None = None
        self.last_flush = 0.0
        # pending ones that will be stored, and how often pending ones were
        self.waiting, self.flushes = Counts(), 0
        # while it is held, what is pending may be stored already
        self.lock = threading.Lock()

    def probe(self) -> None:
        """Raises InputError if the store cannot be written, before anything is generated."""
        try:
            self.store.probe()
        except OSError as error:
            raise InputError(
                f"{self.store.folder}: cannot be written ({error}); free space or change its "
                "permissions, and run again"
            ) from None

    def __enter__(self) -> "CompletionWriter":
        self.last_flush = time.monotonic()
        self.progress = Progress(self.total, "completions")
        return self

    def add(self, completion: Completion) -> None:
        """Take one completion; stores the pending ones where it is time."""
        self.pending.append(completion)
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        self.reasons[completion.finish_reason] += 1
        if completion.finish_reason not in UNSTORED_FINISH_REASONS:
            self.waiting += Counts(1, completion.prompt_tokens, completion.completion_tokens)
        self.progress.add(1, tokens=completion.completion_tokens)
        is_full = len(self.pending) >= self.every and self.error is None
        if is_full or time.monotonic() - self.last_flush >= self.seconds:
            self.flush()

    def flush(self) -> None:
        """Store the pending completions; if that fails they stay pending until the next flush."""
        self.last_flush = time.monotonic()
        if not self.pending:
            return
        with self.lock:
            self._store_pending()

    def _store_pending(self) -> None:
        rows = as_frame(self.pending)
        try:
            self.store.write(rows)
        except OSError as error:
            if self.error is None:
                log(
                    f"completions: {self.store.folder} cannot be written ({error}); new "
                    "completions stay in memory, next try later"
                )
            self.error = error
            return
        if self.error is not None:
            log(
                f"completions: {self.store.folder} can be written again; {rows.height:,} waiting "
                "completions are stored"
            )
        self.error, self.pending = None, []
        self.waiting, self.flushes = Counts(), self.flushes + 1
        self.stored += int((~rows["finish_reason"].is_in(UNSTORED_FINISH_REASONS)).sum())
        if self.keep_frames:
            self.frames.append(rows)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.progress.close()
        # also after an exception, so that finished completions are kept
        self.flush()
        for wait in FINAL_RETRY_WAITS_S if kind is None else ():
            if self.error is None:
                return
            log(f"completions: {self.store.folder} cannot be written; one more try in {wait:.0f} s")
            time.sleep(wait)
            self.flush()
        if self.error is not None:
            lost = (
                f"{self.store.folder}: cannot be written ({self.error}); "
                f"{len(self.pending):,} new completions are lost"
            )
            if kind is None:
                raise InputError(f"{lost}, {self.stored:,} are stored; free space and run again")
            log(f"completions: {lost}")

    def summary(self) -> str:
        """Counts, tokens, and counts by finish reason other than stop, in words."""
        if not self.reasons:
            return "0 new"
        seconds = self.progress.seconds
        unfinished = ", ".join(
            f"{reason} {n}" for reason, n in sorted(self.reasons.items()) if reason != "stop"
        )
        return (
            f"{self.reasons.total():,} new, {self.prompt_tokens:,} prompt and "
            f"{self.completion_tokens:,} completion tokens in {seconds:.1f} s "
            f"({self.completion_tokens / seconds:,.0f} tokens/s); new completions that did not "
            f"stop by themselves: {unfinished or 'none'}"
        )
