"""``orion data preview | fetch | keep``: problem sets as they are mapped, and their files.

Inputs: YAML files of the configuration, or data files. Outputs: text on standard output.
Run: ``orion data --help``.
"""

import argparse
from pathlib import Path
from typing import Any

from orion import config
from orion.config.datasets import ProblemSet
from orion.data import download
from orion.data.files import FETCHED, list_files
from orion.data.preview import preview
from orion.errors import InputError


def add(commands: Any) -> None:
    """Add the command ``data`` to the subparsers of the console script."""
    parser = commands.add_parser("data", help="problem sets: their first rows, their files")
    actions = parser.add_subparsers(required=True)
    show = actions.add_parser(
        "preview", help="the first rows as the mapping makes them, with reasons and hints"
    )
    show.add_argument(
        "files", nargs="+", metavar="CONFIG", help="later files win over earlier ones"
    )
    show.add_argument("--name", help="one dataset or benchmark (default: all of the runs)")
    show.add_argument("--rows", type=int, default=2, help="rows that are shown (default: 2)")
    show.set_defaults(run=_preview)
    fetch = actions.add_parser(
        "fetch", help="fetch the files that a configuration names by address, before a run"
    )
    fetch.add_argument("files", nargs="+", metavar="CONFIG")
    fetch.set_defaults(run=_fetch)
    keep = actions.add_parser(
        "keep", help="put files into the cache of fetched files, for machines without network"
    )
    keep.add_argument("files", nargs="+", metavar="FILE")
    keep.set_defaults(run=_keep)


def _list_used(loaded: config.Config) -> dict[str, ProblemSet]:
    """The datasets and benchmarks of the runs, by name."""
    return {
        **{name: loaded.datasets[name] for name in loaded.runs.datasets},
        **{name: loaded.benchmarks[name] for name in loaded.runs.benchmarks},
    }


def _load(files: list[str]) -> config.Config:
    """The configuration of the files; one file alone is merged over the default, as in a run."""
    base = Path("config/config.yaml")
    alone = len(files) == 1 and base.is_file() and not base.samefile(files[0])
    return config.load(*([str(base)] if alone else []), *files)


def _preview(args: argparse.Namespace) -> None:
    loaded = _load(args.files)
    blocks = _list_used(loaded)
    if args.name is not None:
        known = {**loaded.benchmarks, **loaded.datasets}
        if args.name not in known:
            raise InputError(f"--name {args.name}: not defined; one of {', '.join(sorted(known))}")
        blocks = {args.name: known[args.name]}
    for name, block in blocks.items():
        print(f"== {name}")
        dumped = block.model_dump(mode="json")
        _check_fetched(dumped["source"])
        for line in preview(dumped, args.rows):
            print(line)


def _check_fetched(source: dict[str, Any]) -> None:
    """Raises InputError where a source with an address has not been fetched."""
    if source.get("url") and not Path(list_files(source)[0]).is_file():
        raise InputError(
            f"{source['url']}: not fetched yet; run `orion data fetch` with the same files"
        )


def _fetch(args: argparse.Namespace) -> None:
    loaded = _load(args.files)
    used = [s for block in _list_used(loaded).values() for s in config.url_sources(block)]
    if not used:
        print("no source of the runs has an address")
    for source in used:
        path = Path(list_files(source.model_dump())[0])
        if not path.is_file():
            download.fetch(source.url, source.sha256, path)
        print(f"{path}  {source.url}")


def _keep(args: argparse.Namespace) -> None:
    for name in args.files:
        path = Path(name)
        if not path.is_file():
            raise InputError(f"{name}: no such file")
        digest = download.hash_file(path)
        download.keep(path, digest)
        print(f"{digest}  {name}")
    print(f"kept in {download.cache_folder()}; a run takes them from there into {FETCHED}/")
