"""Reading the rows of a source: generated problems, files of any format, a hub dataset."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from orion.data.files import find_format, list_files
from orion.data.formats import READERS, BadRow, Columns, Row
from orion.data.streams import check_file
from orion.errors import InputError


def read_source(source: dict[str, Any], columns: Columns = None) -> Iterator[Row | BadRow]:
    """The rows of a source block (its keys in the configuration), each as it is asked for.

    ``columns``: groups of names, of each of which a row must have one; a format that can reads no
    other columns.
    A row that cannot be read is a `BadRow`. Raises InputError where the source cannot be read.
    """
    kind = source["kind"]
    if kind == "demo":
        return _read_demo(source)
    if kind == "huggingface":
        return _read_hub(source)
    return _read_files(source, columns)


def name_source(source: dict[str, Any]) -> str:
    """What messages call the source."""
    for key in ("path", "url", "repo"):
        if source.get(key):
            return str(source[key])
    return f"demo level {source.get('level')}"


def _read_demo(source: dict[str, Any]) -> Iterator[Row | BadRow]:
    from orion.demo import problems

    for number, problem in enumerate(
        problems.generate(source["level"], source["n"], source["seed"])
    ):
        yield {"id": f"{source['level']}-{number:05}", **dataclasses.asdict(problem)}


def _read_files(source: dict[str, Any], columns: Columns) -> Iterator[Row | BadRow]:
    for name in list_files(source):
        path = check_file(name)
        kind = source["kind"] if source["kind"] in READERS else source.get("format")
        # a name says more than the kinds jsonl and parquet of older configurations
        kind = source.get("format") or find_format(path) or kind
        if kind not in READERS:
            raise InputError(
                f"{path}: its name does not say its format; set source.format to one of "
                f"{', '.join(sorted(READERS))}"
            )
        for row in READERS[kind](path, columns):
            if isinstance(row, BadRow):
                row = BadRow(row.reason, f"{path.name}, {row.detail}")
            yield row


def _read_hub(source: dict[str, Any]) -> Iterator[Row | BadRow]:
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
