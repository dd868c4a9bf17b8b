"""A table of completions from the store and, for what it lacks, from the engine.

Input: requests, a model.json document, sampling parameters, the store's root. Output: the completed table, or for one shard of
several the number of its new cells. What the engine answers is stored every few seconds; while the store cannot be written it
is kept in memory and written again. Nothing is locked.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from orion import engines, processes, tables
from orion.completions import keys
from orion.completions.parts import KEY, STORED_COLUMNS, STORED_FINISH_REASONS
from orion.completions.store import CompletionStore, as_frame
from orion.engines import (
    Completion,
    Engine,
    GenerationConfig,
    Request,
    RuntimeOptions,
    Sampling,
)
from orion.errors import InputError
from orion.models.document import ModelDocument
from orion.progress import Progress, log

# seconds between the last attempts to store what is generated, before it is given up
LAST_PAUSES_S = (1.0, 4.0, 10.0, 15.0, 30.0)
# failed requests that the log names
NAMED = 10
# so many stored cells for each missing one show that the model answers as it is configured
PROVEN_BY = 10
# what a row says whose prompt leaves no room
TOO_LONG = {"response": "", "finish_reason": "prompt_too_long", "completion_tokens": 0}


@dataclass(frozen=True)
class _Job:
    """The rows wanted with their keys, and all that decides their completions."""

    wanted: pl.DataFrame
    store: CompletionStore
    document: ModelDocument
    kind: str
    sampling: Sampling

    def shown(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows as this table has them. The context's length is in no key: a completion made in a longer context is stored and
        right, but here its prompt leaves no room for ``max_tokens``, and the row says so as an engine would.
        """
        long = pl.col("prompt_tokens") + self.sampling.max_tokens > self.document.context_length
        paid = pl.col("finish_reason").is_in(STORED_FINISH_REASONS)
        return rows.with_columns(
            pl.when(long & paid)
            .then(pl.lit(value, STORED_COLUMNS[column]))
            .otherwise(column)
            .alias(column)
            for column, value in TOO_LONG.items()
        )


def complete(
    requests: pl.DataFrame,
    *,
    document: ModelDocument,
    generation: GenerationConfig,
    root: str | Path,
    flush_every: int = 2000,
    flush_seconds: float = 30.0,
    open_engine: Callable[..., Engine] = engines.open_engine,
    options: RuntimeOptions | None = None,
) -> pl.DataFrame:
    """The requests, with their completions in place of the column ``prompt``.

    ``requests``: problem_id, sample_id, prompt and columns that are kept as they are. The result has
    response, finish_reason, prompt_tokens, completion_tokens and completion (the key) beside them.

    ``generation``: engine, temperature, top_p, repetition_penalty, max_tokens, seed (its k is of no interest here). Only
    cells that the store under ``root`` lacks are generated; the engine, opened with ``speed``, is not even imported if it
    lacks none. New cells are stored every ``flush_every`` completions or ``flush_seconds`` seconds. Raises InputError if the
    store cannot be written.
    """
    if not requests.height:
        return tables.empty(tables.SAMPLES)
    job = _job(requests, document, generation, root)
    found = job.store.get(job.wanted)
    missing = job.wanted.join(found, on=KEY, how="anti", maintain_order="left")
    writer = _Writer(job.store, missing.height, flush_every, flush_seconds)
    _fill(job, missing, writer, open_engine, options)
    rows = job.shown(pl.concat([found, *writer.frames]))
    done = job.wanted.join(rows, on=KEY, how="left", validate="1:1", maintain_order="left")
    return done.drop("prompt").rename({KEY: "completion"})


def complete_shard(
    requests: pl.DataFrame,
    *,
    shard: tuple[int, int],
    document: ModelDocument,
    generation: GenerationConfig,
    root: str | Path,
    flush_every: int = 2000,
    flush_seconds: float = 30.0,
    open_engine: Callable[..., Engine] = engines.open_engine,
    options: RuntimeOptions | None = None,
) -> int:
    """Generate and store what is missing of the shard (i, n) of the requests; returns how many cells are new.

    ``requests`` is the whole table, as for `complete`, which afterwards finds these cells: keys do not depend on shards, so that
    a change of n costs nothing. The rows of one prompt are in one shard.
    """
    if not requests.height:
        return 0
    whole = _job(requests, document, generation, root)
    job = replace(whole, wanted=whole.wanted.filter(keys.in_shard(whole.wanted["prompt"], shard)))
    log(
        f"cells: shard {shard[0]}/{shard[1]} has {job.wanted.height:,} of {requests.height:,} cells"
    )
    missing = job.wanted.filter(~job.store.contains(job.wanted))
    writer = _Writer(job.store, missing.height, flush_every, flush_seconds, keep=False)
    _fill(job, missing, writer, open_engine, options)
    return writer.stored


def _job(
    requests: pl.DataFrame, document: ModelDocument, generation: GenerationConfig, root: str | Path
) -> _Job:
    sampling = generation.sampling
    kind = generation.engine
    wanted = keys.keyed(
        requests,
        model_digest=document.digest,
        sampling={**asdict(sampling), "seed": int(generation.seed)},
        engine=f"{kind}-{engines.REVISIONS.get(kind, 0)}",
    )
    return _Job(wanted, CompletionStore(root, document.digest), document, kind, sampling)


def _fill(
    job: _Job,
    missing: pl.DataFrame,
    writer: "_Writer",
    open_engine: Callable[..., Engine],
    options: RuntimeOptions | None,
) -> None:
    """Generate the missing rows into the writer, failed requests twice, and say so on standard error."""
    reused = job.wanted.height - missing.height
    log(f"cells: {reused:,} of {job.wanted.height:,} are stored, {missing.height:,} to generate")
    todo = [
        Request(cell, prompt, keys.completion_seed(cell))
        for cell, prompt in missing.select(KEY, "prompt").iter_rows()
    ]
    failed: list[Request] = []
    try:
        if todo:
            writer.probe()
            proven = reused >= PROVEN_BY * missing.height
            engine = open_engine(job.kind, job.document, job.sampling, options, proven=proven)
            with processes.sigterm_raises_system_exit(), writer:
                again = _ask(engine, todo, writer, last=False)
                if again:
                    log(f"cells: failed requests, asked once more: {len(again):,}")
                    failed = _ask(engine, again, writer, last=True)
    finally:
        log(f"cells: {reused:,} reused, {writer.summary()}")
    if failed:
        _name(failed, job.wanted)


def _ask(engine: Engine, todo: list[Request], writer: "_Writer", *, last: bool) -> list[Request]:
    """Put the answers into the writer, and failures if this is the ``last`` time; returns the requests that failed."""
    waiting = {request.key: request for request in todo}
    failed = []
    answers = engine.generate(todo)
    try:
        for completion in answers:
            request = waiting.pop(completion.key, None)
            if request is None:
                raise RuntimeError(
                    f"the engine answered {completion.key}, which was not asked or is answered already"
                )
            if completion.finish_reason not in tables.FINISH_REASONS:
                raise RuntimeError(
                    f"the engine ended {completion.key} with {completion.finish_reason!r}"
                )
            if completion.finish_reason == "error":
                failed.append(request)
            if last or completion.finish_reason != "error":
                writer.add(completion)
    finally:
        # first, since an engine may take its time to end what is under way
        writer.flush()
        if isinstance(answers, Generator):
            answers.close()
    if waiting:
        raise RuntimeError(
            f"the engine left {len(waiting)} of {len(todo)} requests without an answer"
        )
    return failed


def _name(failed: list[Request], wanted: pl.DataFrame) -> None:
    rows = wanted.filter(pl.col(KEY).is_in([request.key for request in failed])).select(
        "problem_id", "sample_id"
    )
    names = ", ".join(f"{problem}/{sample}" for problem, sample in rows.head(NAMED).iter_rows())
    more = f" and {len(failed) - NAMED:,} more" if len(failed) > NAMED else ""
    log(
        f"cells: failed twice: {len(failed):,} ({names}{more}); their rows say `error` and are not stored: "
        "delete the table and run again to ask for these only"
    )


class _Writer:
    """New completions on their way into the store; a context in which they are generated, at whose end all are stored.

    ``total``: how many are expected. ``keep``: hold what was stored in ``frames``, for the table.
    """

    def __init__(
        self, store: CompletionStore, total: int, every: int, seconds: float, *, keep: bool = True
    ):
        self.store, self.total, self.every, self.seconds, self.keep = (
            store,
            total,
            every,
            seconds,
            keep,
        )
        self.progress = Progress(0, "cells")
        self.pending: list[Completion] = []
        self.frames: list[pl.DataFrame] = []
        self.stored = self.prompt_tokens = self.tokens = 0
        self.reasons: Counter[str] = Counter()
        self.trouble: OSError | None = None
        self.last = 0.0

    def probe(self) -> None:
        """Raises InputError if the store cannot be written: better now than when completions are paid for."""
        try:
            self.store.probe()
        except OSError as error:
            raise InputError(
                f"{self.store.folder}: cannot be written ({error}); free space or mend its rights, and run again"
            ) from None

    def __enter__(self) -> "_Writer":
        self.last = time.monotonic()
        self.progress = Progress(self.total, "cells")
        return self

    def add(self, completion: Completion) -> None:
        self.pending.append(completion)
        self.prompt_tokens += completion.prompt_tokens
        self.tokens += completion.completion_tokens
        self.reasons[completion.finish_reason] += 1
        self.progress.add(1, tokens=completion.completion_tokens)
        full = len(self.pending) >= self.every and self.trouble is None
        if full or time.monotonic() - self.last >= self.seconds:
            self.flush()

    def flush(self) -> None:
        """Store what is pending; if that fails it stays pending, until it is tried again after the seconds of a flush."""
        self.last = time.monotonic()
        if not self.pending:
            return
        rows = as_frame(self.pending)
        try:
            self.store.write(rows)
        except OSError as error:
            if self.trouble is None:
                log(
                    f"cells: {self.store.folder} cannot be written ({error}); new cells stay in memory, next try later"
                )
            self.trouble = error
            return
        if self.trouble is not None:
            log(
                f"cells: {self.store.folder} can be written again; {rows.height:,} waiting cells are stored"
            )
        self.trouble, self.pending = None, []
        self.stored += int(rows["finish_reason"].is_in(STORED_FINISH_REASONS).sum())
        if self.keep:
            self.frames.append(rows)

    def __exit__(self, kind, value, traceback) -> None:
        self.progress.close()
        # also when interrupted: what is there is paid for
        self.flush()
        for pause in LAST_PAUSES_S if kind is None else ():
            if self.trouble is None:
                return
            log(f"cells: {self.store.folder} cannot be written; one more try in {pause:.0f} s")
            time.sleep(pause)
            self.flush()
        if self.trouble is not None:
            lost = f"{self.store.folder}: cannot be written ({self.trouble}); {len(self.pending):,} new cells are lost"
            if kind is None:
                raise InputError(f"{lost}, {self.stored:,} are stored; free space and run again")
            log(f"cells: {lost}")

    def summary(self) -> str:
        """Counts, tokens and failures by kind, in words."""
        if not self.reasons:
            return "0 new"
        seconds = self.progress.seconds
        bad = (
            ", ".join(
                f"{reason} {n}" for reason, n in sorted(self.reasons.items()) if reason != "stop"
            )
            or "none"
        )
        return (
            f"{self.reasons.total():,} new, {self.prompt_tokens:,} prompt and {self.tokens:,} completion tokens "
            f"in {seconds:.1f} s ({self.tokens / seconds:,.0f} tokens/s); new cells not ended by the model: {bad}"
        )
