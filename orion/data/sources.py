"""Rows from a source: generated problems, JSONL, JSONL.zst, Parquet or a hub dataset."""

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from orion.errors import InputError


def read_source(source: dict) -> Iterator[dict]:
    """The rows of a source block as dictionaries; raises InputError where the source cannot be read."""
    readers = {
        "demo": _demo_rows,
        "jsonl": _jsonl_rows,
        "parquet": _parquet_rows,
        "huggingface": _hub_rows,
    }
    return readers[source["kind"]](source)


def _demo_rows(source: dict) -> Iterator[dict]:
    from orion.demo import problems

    for number, problem in enumerate(
        problems.generate(source["level"], source["n"], source["seed"])
    ):
        yield {"id": f"{source['level']}-{number:05}", **dataclasses.asdict(problem)}


def _jsonl_rows(source: dict) -> Iterator[dict]:
    path = _existing(source["path"])
    for number, line in enumerate(_read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: not JSON ({error}); mend or remove the line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object; every line holds one row")
        yield row


def _read_lines(path: Path) -> Iterator[str]:
    try:
        yield from _lines(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); convert the file") from None
    except OSError as error:
        raise InputError(f"{path}: damaged zst file ({error}); fetch it again") from None


def _lines(path: Path) -> Iterator[str]:
    if path.suffix != ".zst":
        with open(path, encoding="utf-8") as handle:
            yield from handle
        return
    import pyarrow

    # unlike the zstandard package, pyarrow does not take a file that was cut off for a shorter one
    with pyarrow.input_stream(str(path), compression="zstd") as stream:
        yield from io.TextIOWrapper(stream, encoding="utf-8")


def _parquet_rows(source: dict) -> Iterator[dict]:
    path = _existing(source["path"])
    try:
        yield from pl.read_parquet(path).iter_rows(named=True)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: not a parquet file ({error})") from None


def _hub_rows(source: dict) -> Iterator[dict]:
    import datasets

    try:
        rows = datasets.load_dataset(
            source["repo"], source.get("name"), split=source["split"], revision=source["revision"]
        )
    except (
        Exception
    ) as error:  # the library raises many kinds; all of them mean the same to the user
        raise InputError(
            f"dataset {source['repo']} at {source['revision']}: {error}; check repo, name, split and revision, or fetch it "
            "beforehand where compute nodes are offline"
        ) from None
    yield from rows


def _existing(path: str) -> Path:
    if not Path(path).is_file():
        raise InputError(
            f"{path}: no such file (relative to {Path.cwd().name}/); correct `path` in the configuration"
        )
    return Path(path)
