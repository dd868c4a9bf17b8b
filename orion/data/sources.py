"""Reading the rows of a source: generated problems, JSONL, JSONL.zst, Parquet, a hub dataset."""

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from orion.errors import InputError


def read_source(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a source block (its keys in the configuration) as dictionaries.

    Raises InputError where the source cannot be read.
    """
    readers = {
        "demo": _read_demo,
        "jsonl": _read_jsonl,
        "parquet": _read_parquet,
        "huggingface": _read_hub,
    }
    return readers[source["kind"]](source)


def _read_demo(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from orion.demo import problems

    for number, problem in enumerate(
        problems.generate(source["level"], source["n"], source["seed"])
    ):
        yield {"id": f"{source['level']}-{number:05}", **dataclasses.asdict(problem)}


def _read_jsonl(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    path = _check_file(source["path"])
    for number, line in enumerate(_read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: not JSON ({error}); correct or remove the line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object; every line holds one row")
        yield row


def _read_lines(path: Path) -> Iterator[str]:
    try:
        yield from _decode_lines(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); convert the file") from None
    except OSError as error:
        raise InputError(f"{path}: damaged zst file ({error}); fetch it again") from None


def _decode_lines(path: Path) -> Iterator[str]:
    if path.suffix != ".zst":
        with open(path, encoding="utf-8") as handle:
            yield from handle
        return
    import pyarrow

    # pyarrow raises OSError for a truncated file; the zstandard package would end early, silently
    with pyarrow.input_stream(str(path), compression="zstd") as stream:
        yield from io.TextIOWrapper(stream, encoding="utf-8")


def _read_parquet(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    path = _check_file(source["path"])
    try:
        yield from pl.read_parquet(path).iter_rows(named=True)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: not a parquet file ({error})") from None


def _read_hub(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(
            source["repo"], source.get("name"), split=source["split"], revision=source["revision"]
        )
    # the library raises many kinds of exception; the user's cure is the same for all of them
    except Exception as error:
        raise InputError(
            f"dataset {source['repo']} at {source['revision']}: {error}; check repo, name, split "
            "and revision, or fetch it beforehand where compute nodes are offline"
        ) from None
    yield from rows


def _check_file(path: str) -> Path:
    if not Path(path).is_file():
        raise InputError(
            f"{path}: no such file (relative to {Path.cwd().name}/); "
            "correct `path` in the configuration"
        )
    return Path(path)
