"""The names of completions, their seeds, and which shard generates them.

Input: prompts, a model's digest, sampling parameters. Output: keys of 64 hexadecimal digits. Nothing is read or written.
"""

import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256

import polars as pl

from orion.completions.parts import KEY
from orion.errors import InputError
from orion.provenance import canonical_json, digest_text

# of one text, what `canonical_json` gives, at a tenth of the time
_quoted = json.JSONEncoder(ensure_ascii=False).encode


def completion_key(
    model_digest: str, prompt: str, sampling: dict, engine: str, sample_index: int
) -> str:
    """The name of one completion, 64 hexadecimal digits: sha256 of the canonical JSON of all that decides it.

    ``sampling`` holds the run's seed; ``sample_index`` counts the completions wanted of one prompt.
    """
    parts = {
        "model": model_digest,
        "prompt": prompt,
        "sampling": sampling,
        "engine": engine,
        "index": sample_index,
    }
    return digest_text(canonical_json(parts))


def completion_seed(key: str) -> int:
    """The seed of a cell's noise, 0 <= seed < 2**63, from its key."""
    return int(key[:16], 16) >> 1


def keyed(
    requests: pl.DataFrame, *, model_digest: str, sampling: dict, engine: str
) -> pl.DataFrame:
    """The requests sorted by (problem_id, sample_id), with their keys in a column ``KEY``.

    A key's sample index is the row's number among rows of the same prompt: more samples of a prompt leave the first ones'
    keys as they are, even where other prompts of the problem stand between them. To shard a table, key it first.
    """
    requests = requests.sort("problem_id", "sample_id")
    index = requests.select(pl.int_range(pl.len()).over("prompt")).to_series()
    pairs = zip(requests["prompt"], index, strict=True)
    cells = list(_keys(pairs, model_digest=model_digest, sampling=sampling, engine=engine))
    return requests.with_columns(pl.Series(KEY, cells, dtype=pl.String))


def _keys(
    pairs: Iterable[tuple[str, int]], *, model_digest: str, sampling: dict, engine: str
) -> Iterator[str]:
    """`completion_key` of many (prompt, sample index): the canonical JSON is put together from pieces, in its keys' order."""
    head = sha256(f'{{"engine":{canonical_json(engine)},"index":'.encode())
    before = f',"model":{canonical_json(model_digest)},"prompt":'
    after = f',"sampling":{canonical_json(sampling)}}}'
    last, tail = None, b""
    for prompt, index in pairs:
        # the samples of a prompt mostly stand together
        if prompt != last:
            last, tail = (
                prompt,
                f"{before}{_quoted(prompt)}{after}".encode("utf-8", "surrogatepass"),
            )
        key = head.copy()
        key.update(b"%d" % index)
        key.update(tail)
        yield key.hexdigest()


def parse_shard(text: str) -> tuple[int, int]:
    """``i/n``, shard i of n, 0 <= i < n; raises InputError for anything else."""
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", text.strip())
    shard, shards = (int(found[1]), int(found[2])) if found else (0, 0)
    if shard >= shards:
        raise InputError(f"--shard {text}: give i/n with 0 <= i < n, such as 0/4 to 3/4")
    return shard, shards


def in_shard(prompts: pl.Series, shard: tuple[int, int]) -> pl.Series:
    """Which rows the shard (i, n) generates, by a hash of the prompt: its samples, which are read together, stay together."""
    mine, shards = shard
    distinct = prompts.unique()
    chosen = [prompt for prompt in distinct if int(digest_text(prompt)[:16], 16) % shards == mine]
    return prompts.is_in(pl.Series(chosen, dtype=pl.String).implode())
