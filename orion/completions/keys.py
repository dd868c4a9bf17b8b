"""Keys of completions, their seeds, and the shard that generates them.

Input: prompts, a model's digest, sampling parameters. Output: keys of 64 hexadecimal digits.
Nothing is read or written.
"""

import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import polars as pl

from orion.completions.parts import KEY
from orion.errors import InputError
from orion.provenance import canonical_json, digest_text

# the same text as `canonical_json` gives for one string, ten times as fast
_encode_text = json.JSONEncoder(ensure_ascii=False).encode


def completion_key(
    model_digest: str, prompt: str, sampling: dict[str, Any], engine: str, sample_index: int
) -> str:
    """The key of one completion: sha256 of the canonical JSON of everything that decides it.

    ``sampling`` includes the run's seed. ``sample_index`` numbers the samples of one prompt.
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
    """The seed of a completion's sampling noise, 0 <= seed < 2**63, from its key."""
    return int(key[:16], 16) >> 1


def add_keys(
    requests: pl.DataFrame, *, model_digest: str, sampling: dict[str, Any], engine: str
) -> pl.DataFrame:
    """The requests sorted by (problem_id, sample_id), with their keys in the column ``KEY``.

    The sample index of a row is its number among the rows with the same prompt. Asking for more
    samples of a prompt therefore keeps the keys of the first ones, whatever other prompts lie
    between them. Add keys before splitting a table into shards.
    """
    requests = requests.sort("problem_id", "sample_id")
    index = requests.select(pl.int_range(pl.len()).over("prompt")).to_series()
    pairs = zip(requests["prompt"], index, strict=True)
    keys = list(_hash_pairs(pairs, model_digest=model_digest, sampling=sampling, engine=engine))
    return requests.with_columns(pl.Series(KEY, keys, dtype=pl.String))


def _hash_pairs(
    pairs: Iterable[tuple[str, int]],
    *,
    model_digest: str,
    sampling: dict[str, Any],
    engine: str,
) -> Iterator[str]:
    """`completion_key` of many (prompt, sample index) pairs.

    The canonical JSON is put together from pieces, in the order of its sorted keys, so that equal
    pieces are encoded and hashed once.
    """
    head = sha256(f'{{"engine":{canonical_json(engine)},"index":'.encode())
    before = f',"model":{canonical_json(model_digest)},"prompt":'
    after = f',"sampling":{canonical_json(sampling)}}}'
    last, tail = None, b""
    for prompt, index in pairs:
        # the samples of one prompt are mostly neighbours
        if prompt != last:
            text = f"{before}{_encode_text(prompt)}{after}"
            last, tail = prompt, text.encode("utf-8", "surrogatepass")
        key = head.copy()
        key.update(b"%d" % index)
        key.update(tail)
        yield key.hexdigest()


def parse_shard(text: str) -> tuple[int, int]:
    """``i/n``, shard i of n, with 0 <= i < n; raises InputError for anything else."""
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", text.strip())
    shard, shards = (int(found[1]), int(found[2])) if found else (0, 0)
    if shard >= shards:
        raise InputError(f"--shard {text}: give i/n with 0 <= i < n, such as 0/4 to 3/4")
    return shard, shards


def in_shard(prompts: pl.Series, shard: tuple[int, int]) -> pl.Series:
    """Which rows the shard (i, n) generates, decided by a hash of the prompt.

    All samples of one prompt are in one shard, because the engine reads that prompt once for all.
    """
    number, shards = shard
    distinct = prompts.unique()
    chosen = [prompt for prompt in distinct if int(digest_text(prompt)[:16], 16) % shards == number]
    return prompts.is_in(pl.Series(chosen, dtype=pl.String).implode())
