"""``orion completions stat | verify | gc``: what the cell store holds, whether it is intact, what nobody refers to any more.

Inputs: the store of a results folder. Outputs: text on standard output; ``gc --delete`` removes files and merges small ones.
Run: ``orion completions --help``.
"""

import argparse
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from orion.completions import compaction, maintenance, parts
from orion.progress import Progress

# files of one reason that are listed by name
SHOWN = 10


def add(commands) -> None:
    """Adds the command ``cells`` to the subparsers of the console script."""
    group = commands.add_parser(
        "cells", help="the store of generated completions: contents, integrity, leftovers"
    )
    actions = group.add_subparsers(required=True)
    stat = actions.add_parser(
        "stat", help="parts, cells, duplicates, tokens and bytes of every model"
    )
    stat.set_defaults(run=_stat)
    verify = actions.add_parser("verify", help="read every part; exit status 1 if any is damaged")
    verify.set_defaults(run=_verify)
    gc = actions.add_parser(
        "gc",
        help="what can go: cells of no model here, leftovers, damaged parts; merges small parts",
    )
    gc.add_argument(
        "--delete", action="store_true", help="remove and merge; without it nothing is changed"
    )
    gc.add_argument(
        "--force",
        action="store_true",
        help="also cells of the last day that no model.json refers to",
    )
    gc.set_defaults(run=_gc)
    for parser in (stat, verify, gc):
        parser.add_argument(
            "--root",
            type=Path,
            default=Path("results/completions"),
            metavar="FOLDER",
            help="the store",
        )


def _stat(args: argparse.Namespace) -> None:
    rows = list(maintenance.contents(args.root))
    head = (
        "digest",
        "parts",
        "cells",
        "duplicates",
        "prompt tokens",
        "completion tokens",
        "size",
        "models",
    )
    table: list[tuple[str, ...]] = [head]
    for row in rows:
        counts = (row.parts, row.cells, row.duplicates, row.prompt_tokens, row.completion_tokens)
        models = ", ".join(row.names) or "none here"
        aside = f" ({row.damaged} damaged, set aside)" if row.damaged else ""
        table.append(
            (row.folder.name, *(f"{n:,}" for n in counts), size(row.bytes), models + aside)
        )
    if len(rows) > 1:
        kinds = ("parts", "cells", "duplicates", "prompt_tokens", "completion_tokens")
        sums = [sum(getattr(row, kind) for row in rows) for kind in kinds]
        table.append(("all", *(f"{n:,}" for n in sums), size(sum(row.bytes for row in rows)), ""))
    print("\n".join(_aligned(table)))


def _aligned(table: list[tuple[str, ...]]) -> Iterable[str]:
    """Lines of columns: the first and the last to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    last = len(widths) - 1
    for row in table:
        cells = [
            text.ljust(width) if i in (0, last) else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _verify(args: argparse.Namespace) -> None:
    paths = [path for folder in maintenance.folders(args.root) for path in parts.listed(folder)]
    progress = Progress(len(paths), "parts")
    damaged = 0
    for path in paths:
        try:
            reason = maintenance.fault(path)
        except FileNotFoundError:
            # merged by another process meanwhile
            reason = None
        if reason is not None:
            damaged += 1
            print(f"{path}: {reason}")
        progress.add(1)
    progress.close()
    print(f"{len(paths):,} parts, {damaged:,} damaged")
    if damaged:
        print(
            "Restore these files from a copy, or rename them to *.damaged: the next run generates their cells again, "
            "and `orion completions gc --delete` removes them."
        )
        sys.exit(1)


def _gc(args: argparse.Namespace) -> None:
    found = sorted(
        maintenance.removals(args.root, young=args.force),
        key=lambda removal: (removal.reason, removal.path),
    )
    for reason, group in groupby(found, key=lambda removal: removal.reason):
        files = list(group)
        count = "1 file" if len(files) == 1 else f"{len(files):,} files"
        print(f"{reason}: {count}, {size(sum(file.bytes for file in files))}")
        for file in files[:SHOWN]:
            print(f"  {file.path}  {size(file.bytes)}")
        if len(files) > SHOWN:
            print(f"  and {len(files) - SHOWN:,} more")
    total = size(sum(removal.bytes for removal in found))
    leaving = {removal.path for removal in found}
    for folder, small, large in maintenance.mergeable(args.root, leaving):
        print(f"{folder}: {small:,} small parts become {large:,}")
    if not args.delete:
        print(f"nothing was changed; --delete would free {total}")
        return
    maintenance.remove(found)
    for folder in maintenance.folders(args.root):
        compaction.compact(folder, many=1, budget=None)
    print(f"freed {total}")


def size(count: int) -> str:
    """A number of bytes for people."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:,.0f} {units[0]}" if units[0] == "B" else f"{value:,.1f} {units[0]}"
