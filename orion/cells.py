"""Cells: every completion is stored under a hash of all that decides it, and never paid for twice.

Input: a table of completions wanted, a model, sampling parameters. Output: the table of completions; those that the store
holds are read, the others generated and stored. The store is ``ROOT/{model digest, 16 digits}/part-{content digest}.parquet``:
parts appear whole, by rename, are never rewritten, and need no lock; a cell that two processes paid for at once is the same
under the same key, or the smaller text is taken.
"""

import io
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, astuple
from hashlib import sha256
from pathlib import Path

import polars as pl

from orion import engines, tables
from orion.engines import Completion, Engine, Request, Sampling
from orion.provenance import canonical_json, digest_text

CELL = {
    "cell": pl.String,
    "response": pl.String,
    "finish_reason": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
}
# what was paid for; an error is tried again, and a prompt that is too long costs nothing to find again
PAID = ("stop", "length")


def cell_key(model_digest: str, prompt: str, sampling: dict, engine: str, sample_index: int) -> str:
    """The name of one completion, 64 hexadecimal digits: sha256 of the canonical JSON of all that decides it.

    ``sampling`` holds the run's seed; ``sample_index`` counts the completions wanted of one prompt.
    """
    parts = {"model": model_digest, "prompt": prompt, "sampling": sampling, "engine": engine, "index": sample_index}
    return digest_text(canonical_json(parts))


def cell_seed(key: str) -> int:
    """The seed of a cell's noise, 0 <= seed < 2**63, from its key."""
    return int(key[:16], 16) >> 1


class CellStore:
    """The stored completions of one model under a root folder. Several processes may use one root at once."""

    def __init__(self, root: str | Path, model_digest: str):
        self.folder = Path(root) / model_digest[:16]

    def parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def lookup(self, keys: pl.DataFrame) -> pl.DataFrame:
        """The stored rows (schema ``CELL``, one a cell) of the keys in column ``cell``.

        A damaged part is renamed to ``*.damaged`` with a message on standard error; its cells count as missing.
        """
        while True:
            parts = self.parts()
            if not parts or not keys.height:
                return pl.DataFrame(schema=CELL)
            try:
                stored = pl.scan_parquet(parts, schema=CELL).join(keys.lazy().select("cell"), on="cell", how="semi")
                found = stored.collect(engine="streaming")
                break
            except (pl.exceptions.PolarsError, OSError):
                if not self._set_aside(parts):
                    raise
        # sorted by content, so that it does not matter which process was first or how parts are named
        return found.sort(list(CELL)).unique("cell", keep="first", maintain_order=True)

    def append(self, completions: Iterable[Completion]) -> Path | None:
        """Publish completions as one new part and return its path; None if none of them was paid for."""
        rows = [astuple(completion) for completion in completions if completion.finish_reason in PAID]
        if not rows:
            return None
        memory = io.BytesIO()
        pl.DataFrame(rows, schema=CELL, orient="row").write_parquet(memory, compression="zstd", statistics=False)
        content = memory.getvalue()
        # a name by content: no two processes clash unless they write the same bytes
        path = self.folder / f"part-{sha256(content).hexdigest()[:32]}.parquet"
        with tables.published(path) as partial:
            partial.write_bytes(content)
        return path

    def _set_aside(self, parts: list[Path]) -> bool:
        """Rename the unreadable ones; True if any was unreadable or has gone meanwhile, so that another look is worth it."""
        changed = False
        for path in parts:
            try:
                pl.scan_parquet(path, schema=CELL).collect(engine="streaming")
            except FileNotFoundError:
                changed = True
            except (pl.exceptions.PolarsError, OSError) as error:
                changed = True
                aside = path.with_name(path.name + ".damaged")
                try:
                    os.replace(path, aside)
                except FileNotFoundError:
                    continue
                reason = str(error).splitlines()[0]
                _log(f"cells: {path} is damaged ({reason}); set aside as {aside.name}, its cells are generated again")
        return changed


def keyed(requests: pl.DataFrame, *, model_digest: str, sampling: dict, engine: str) -> pl.DataFrame:
    """The requests sorted by (problem_id, sample_id), with their keys in a column ``cell``.

    A key's sample index is the row's number among rows of the same prompt: more samples of a prompt leave the first ones'
    keys as they are, even where other prompts of the problem stand between them. To shard a table, key it first.
    """
    requests = requests.sort("problem_id", "sample_id")
    index = requests.select(pl.int_range(pl.len()).over("prompt")).to_series()
    pairs = zip(requests["prompt"], index, strict=True)
    cells = [cell_key(model_digest, prompt, sampling, engine, i) for prompt, i in pairs]
    return requests.with_columns(pl.Series("cell", cells, dtype=pl.String))


def complete(
    requests: pl.DataFrame,
    *,
    model_doc: dict,
    generation: dict,
    root: str | Path,
    flush_every: int = 2000,
    flush_seconds: float = 30.0,
    open_engine: Callable[..., Engine] = engines.open_engine,
    **speed,
) -> pl.DataFrame:
    """Requests (problem_id, sample_id, prompt_id, prompt) as completed rows in the schema of the table ``samples``.

    ``generation``: engine, temperature, top_p, repetition_penalty, max_tokens, seed (its k is of no interest here). Only
    cells that the store under ``root`` lacks are generated; the engine, opened with ``speed``, is not even imported if it
    lacks none. New cells are stored every ``flush_every`` completions or ``flush_seconds`` seconds.
    """
    if not requests.height:
        return tables.empty(tables.SAMPLES)
    sampling = Sampling(
        temperature=float(generation["temperature"]),
        top_p=float(generation["top_p"]),
        max_tokens=int(generation["max_tokens"]),
        repetition_penalty=float(generation["repetition_penalty"]),
    )
    kind = generation["engine"]
    wanted = keyed(
        requests,
        model_digest=model_doc["digest"],
        sampling={**asdict(sampling), "seed": int(generation["seed"])},
        engine=f"{kind}-{engines.REVISIONS.get(kind, 0)}",
    )
    store = CellStore(root, model_doc["digest"])
    # the context's length is in no key: a cell of a longer context is of no use in a shorter one
    fits = pl.col("prompt_tokens") + sampling.max_tokens <= model_doc["context_length"]
    found = store.lookup(wanted).filter(fits)
    missing = wanted.join(found, on="cell", how="anti")
    progress = _Progress(reused=found.height, total=missing.height)
    new: list[Completion] = []
    if missing.height:
        pairs = missing.select("cell", "prompt").iter_rows()
        todo = [Request(cell, prompt, cell_seed(cell)) for cell, prompt in pairs]
        engine = open_engine(kind, model_doc, sampling, **speed)
        try:
            new = _generate(engine, todo, store, progress, flush_every, flush_seconds)
        finally:
            progress.close()
    else:
        progress.close()
    rows = pl.concat([found, pl.DataFrame([astuple(c) for c in new], schema=CELL, orient="row")])
    return wanted.join(rows, on="cell", how="left", validate="1:1").select(*tables.SAMPLES.columns)


def _generate(
    engine: Engine, todo: list[Request], store: CellStore, progress: "_Progress", every: int, seconds: float
) -> list[Completion]:
    open_keys = {request.key for request in todo}
    done: list[Completion] = []
    flushed, last = 0, time.monotonic()
    try:
        for completion in engine.generate(todo):
            if completion.key not in open_keys:
                raise RuntimeError(f"the engine answered {completion.key}, which was not asked or is answered already")
            open_keys.remove(completion.key)
            done.append(completion)
            progress.add(completion)
            if len(done) - flushed >= every or time.monotonic() - last >= seconds:
                store.append(done[flushed:])
                flushed, last = len(done), time.monotonic()
    finally:
        # also when interrupted: what is there is paid for
        store.append(done[flushed:])
    if open_keys:
        raise RuntimeError(f"the engine left {len(open_keys)} of {len(todo)} requests without an answer")
    return done


class _Progress:
    """A bar on a terminal, a line every ten seconds in a log, one line at the end; all on standard error."""

    EVERY = 10.0

    def __init__(self, *, reused: int, total: int):
        self.reused, self.total = reused, total
        self.new = self.tokens = 0
        self.reasons: Counter[str] = Counter()
        self.start = self.last = time.monotonic()
        self.bar = None
        if total and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, unit="cell", dynamic_ncols=True)

    def add(self, completion: Completion) -> None:
        self.new += 1
        self.tokens += completion.completion_tokens
        self.reasons[completion.finish_reason] += 1
        now = time.monotonic()
        rate = self.tokens / max(now - self.start, 1e-9)
        if self.bar is not None:
            self.bar.set_postfix_str(f"{rate:,.0f} tokens/s", refresh=False)
            self.bar.update()
        elif now - self.last >= self.EVERY:
            self.last = now
            left = math.ceil((now - self.start) / self.new * (self.total - self.new))
            _log(f"cells: {self.new} of {self.total} new, {self.tokens:,} tokens, {rate:,.0f} tokens/s, {left} s left")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        seconds = time.monotonic() - self.start
        rate = f"{self.tokens:,} tokens in {seconds:.1f} s ({self.tokens / max(seconds, 1e-9):,.0f} tokens/s)"
        failures = (
            ", ".join(f"{reason} {n}" for reason, n in sorted(self.reasons.items()) if reason != "stop") or "none"
        )
        _log(f"cells: {self.reused} reused, {self.new} new, {rate}; new cells not ended by the model: {failures}")


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
