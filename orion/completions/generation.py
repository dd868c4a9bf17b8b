"""Completed tables: completions from the store and, for missing ones, from the engine.

Input: requests, a ModelDocument, sampling parameters, the store's root. Output: the completed
table, or for one shard of several the number of its new completions. New completions are stored
every few seconds. While the store cannot be written they stay in memory and are written later.
Nothing is locked.
"""

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from orion import engines, processes, tables
from orion.completions import keys
from orion.completions.meter import Meter
from orion.completions.parts import (
    CONTEXT_FULL,
    KEY,
    STORED_COLUMNS,
    UNSTORED_FINISH_REASONS,
)
from orion.completions.store import CompletionStore
from orion.completions.writer import CompletionWriter
from orion.engines import Engine, GenerationConfig, Request, RuntimeOptions, Sampling
from orion.models.document import ModelDocument
from orion.progress import log

# the most failed requests that the log names
MAX_NAMED_FAILURES = 10
# this many stored completions per missing one show that the model works as it is configured
PROVEN_RATIO = 10
# the columns of a row whose prompt leaves no room for a completion
TOO_LONG_ROW = {"response": "", "finish_reason": "prompt_too_long", "completion_tokens": 0}


@dataclass(frozen=True)
class _Job:
    """The requests with their keys, and everything that decides their completions."""

    requests: pl.DataFrame
    store: CompletionStore
    document: ModelDocument
    engine: str
    sampling: Sampling

    def share_greedy(self, is_stored: pl.Series) -> "_Job":
        """At temperature 0 all samples of a prompt are equal, so one is asked for.

        A row that is not stored gets the completion of the prompt's first row. Stored ones, which
        earlier versions asked for each by itself, stay what they are.
        """
        if self.sampling.temperature != 0:
            return self
        own, first = pl.col(KEY), pl.col(KEY).first().over("prompt")
        shared = self.requests.with_columns(pl.when(is_stored).then(own).otherwise(first))
        wanted = shared[KEY].n_unique()
        if wanted < shared.height:
            log(
                f"completions: at temperature 0 all samples of a prompt are equal: {wanted:,} "
                f"stand for {shared.height:,}"
            )
        return replace(self, requests=shared)

    def leaves_no_room(self) -> pl.Expr:
        """Whether a row's prompt leaves no room for ``max_tokens`` in this model's context."""
        return pl.col("prompt_tokens") + self.sampling.max_tokens > self.document.context_length

    def drop_cut(self, stored: pl.DataFrame) -> pl.DataFrame:
        """The stored rows without answers that a shorter context than the present one has cut."""
        cut = pl.col("finish_reason") == CONTEXT_FULL
        return stored.filter(~cut | self.leaves_no_room())

    def mark_too_long(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows as this model's context allows them.

        The length of the context is part of no key. A completion that was generated in a longer
        context is stored and right. If its prompt leaves no room for ``max_tokens`` here, its row
        says so, as the row of an engine would.
        """
        stored = ~pl.col("finish_reason").is_in(UNSTORED_FINISH_REASONS)
        return rows.with_columns(
            pl.when(self.leaves_no_room() & stored)
            .then(pl.lit(value, STORED_COLUMNS[column]))
            .otherwise(column)
            .alias(column)
            for column, value in TOO_LONG_ROW.items()
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
    meter: Meter | None = None,
) -> pl.DataFrame:
    """The requests with their completions: their columns without ``prompt``, and the results.

    ``requests`` has problem_id, sample_id, prompt and any other columns, which are kept. The
    result adds response, finish_reason, prompt_tokens, completion_tokens and completion (the key).

    Generates only completions that the store under ``root`` lacks. If it lacks none, the engine is
    not even imported; otherwise it is opened with ``options``. The ``num_samples`` of
    ``generation`` are not used here. At temperature 0 a prompt is asked once, and its answer stands
    in all of its rows. New completions are stored after ``flush_every`` of them or
    ``flush_seconds``. Raises InputError if the store cannot be written, and where the ceiling that
    ``meter`` follows leaves no room; what was generated until then is stored.
    """
    if not requests.height:
        return tables.empty(tables.SAMPLES)
    job = _make_job(requests, document, generation, root)
    stored = job.drop_cut(job.store.get(job.requests))
    job = job.share_greedy(job.requests[KEY].is_in(stored[KEY].implode()))
    missing = job.requests.join(stored, on=KEY, how="anti", maintain_order="left")
    missing = missing.unique(KEY, keep="first", maintain_order=True)
    writer = CompletionWriter(job.store, missing.height, flush_every, flush_seconds)
    _generate_missing(job, missing, writer, open_engine, options, meter)
    rows = job.mark_too_long(pl.concat([stored, *writer.frames]))
    table = job.requests.join(rows, on=KEY, how="left", validate="m:1", maintain_order="left")
    return table.select(pl.exclude("prompt", KEY), pl.col(KEY).alias("completion"))


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
    meter: Meter | None = None,
) -> int:
    """Generate and store what shard (i, n) of the requests lacks; returns the number stored.

    ``requests`` is the whole table, as for `complete`, which finds these completions afterwards.
    Keys do not depend on shards, so a change of n costs nothing. The rows of one prompt are in one
    shard.
    """
    if not requests.height:
        return 0
    whole = _make_job(requests, document, generation, root)
    in_shard = keys.in_shard(whole.requests["prompt"], shard)
    job = replace(whole, requests=whole.requests.filter(in_shard))
    log(
        f"completions: shard {shard[0]}/{shard[1]} has {job.requests.height:,} of "
        f"{requests.height:,} completions"
    )
    job = job.share_greedy(job.store.contains(job.requests))
    missing = job.requests.filter(~job.store.contains(job.requests))
    missing = missing.unique(KEY, keep="first", maintain_order=True)
    writer = CompletionWriter(
        job.store, missing.height, flush_every, flush_seconds, keep_frames=False
    )
    _generate_missing(job, missing, writer, open_engine, options, meter)
    return writer.stored


def _make_job(
    requests: pl.DataFrame, document: ModelDocument, generation: GenerationConfig, root: str | Path
) -> _Job:
    sampling = generation.sampling
    engine = generation.engine
    named = {**asdict(sampling), "seed": int(generation.seed)}
    # what cannot change an answer names no completion, and canonical JSON drops the null
    named["request"] = sampling.request.deciding if sampling.request else None
    keyed_requests = keys.add_keys(
        requests,
        model_digest=document.digest,
        sampling=named,
        engine=f"{engine}-{engines.REVISIONS.get(engine, 0)}",
    )
    store = CompletionStore(root, document.digest)
    return _Job(keyed_requests, store, document, engine, sampling)


def _generate_missing(
    job: _Job,
    missing: pl.DataFrame,
    writer: CompletionWriter,
    open_engine: Callable[..., Engine],
    options: RuntimeOptions | None,
    meter: Meter | None,
) -> None:
    """Generate the missing rows into the writer and log counts; failed requests are tried twice.

    Raises InputError where the run's ceiling leaves no room for all of them.
    """
    wanted = job.requests[KEY].n_unique()
    reused = wanted - missing.height
    log(f"completions: {reused:,} of {wanted:,} are stored, {missing.height:,} to generate")
    requests = [
        Request(key, prompt, keys.completion_seed(key))
        for key, prompt in missing.select(KEY, "prompt").iter_rows()
    ]
    failed: list[Request] = []
    left = 0
    try:
        if requests and meter is not None and not meter.find_room(writer):
            raise meter.refuse(len(requests), wanted)
        if requests:
            if meter is not None:
                options = replace(
                    options or RuntimeOptions(), is_stopped=lambda: not meter.find_room(writer)
                )
            writer.probe()
            proven = reused >= PROVEN_RATIO * missing.height
            engine = open_engine(job.engine, job.document, job.sampling, options, proven=proven)
            with processes.sigterm_raises_system_exit(), writer:
                failed, left = _generate(engine, requests, writer, meter, write_failures=False)
                if failed and not left:
                    log(f"completions: {len(failed):,} requests failed and are asked once more")
                    failed, left = _generate(engine, failed, writer, meter, write_failures=True)
                elif failed:
                    failed, left = [], left + len(failed)
    finally:
        log(f"completions: {reused:,} reused, {writer.summary()}")
    if left and meter is not None:
        raise meter.refuse(left, wanted)
    if failed:
        _log_failures(failed, job.requests)


def _generate(
    engine: Engine,
    requests: list[Request],
    writer: CompletionWriter,
    meter: Meter | None,
    *,
    write_failures: bool,
) -> tuple[list[Request], int]:
    """Put the engine's completions into the writer.

    Returns the requests that failed, and how many were not asked since the ceiling is reached.
    """
    failed: list[Request] = []
    done = 0
    while done < len(requests):
        # a prompt that is too long takes no room, so there may be some again
        room = len(requests) if meter is None else meter.find_room(writer)
        if not room:
            break
        batch = requests[done : done + room]
        more, left = _ask(engine, batch, writer, meter, write_failures=write_failures)
        failed += more
        done += len(batch) - left
        if left:
            break
    return failed, len(requests) - done


def _ask(
    engine: Engine,
    requests: list[Request],
    writer: CompletionWriter,
    meter: Meter | None,
    *,
    write_failures: bool,
) -> tuple[list[Request], int]:
    """The requests that failed, and how many of the others the engine has left out."""
    waiting = {request.key: request for request in requests}
    failed = []
    answers = engine.generate(requests)
    try:
        for completion in answers:
            request = waiting.pop(completion.key, None)
            if request is None:
                raise RuntimeError(
                    f"the engine answered {completion.key}, which was not asked or is answered "
                    "already"
                )
            if not tables.is_finish_reason(completion.finish_reason):
                raise RuntimeError(
                    f"the engine ended {completion.key} with {completion.finish_reason!r}"
                )
            if completion.finish_reason == "error":
                failed.append(request)
            if write_failures or completion.finish_reason != "error":
                writer.add(completion)
    finally:
        # before the engine is closed, which may take a while where requests are under way
        writer.flush()
        if isinstance(answers, Generator):
            answers.close()
    if waiting and (meter is None or meter.find_room(writer)):
        raise RuntimeError(
            f"the engine left {len(waiting)} of {len(requests)} requests without an answer"
        )
    return failed, len(waiting)


def _log_failures(failed: list[Request], requests: pl.DataFrame) -> None:
    rows = requests.filter(pl.col(KEY).is_in([request.key for request in failed])).select(
        "problem_id", "sample_id"
    )
    names = ", ".join(
        f"{problem}/{sample}" for problem, sample in rows.head(MAX_NAMED_FAILURES).iter_rows()
    )
    rest = len(failed) - MAX_NAMED_FAILURES
    more = f" and {rest:,} more" if rest > 0 else ""
    log(
        f"completions: failed twice: {len(failed):,} ({names}{more}); their rows say `error` and "
        "are not stored: delete the table and run again to ask for these only"
    )
