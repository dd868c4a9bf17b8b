"""``orion completions stat | verify | gc``: contents, damage and leftovers of the completion store.

Inputs: the store of a results folder. Outputs: text on standard output; ``gc --delete`` removes
files and merges small ones. Run: ``orion completions --help``.
"""

import argparse
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from orion.completions import compaction, maintenance, parts
from orion.progress import Progress

# the most files per reason that are listed by name
MAX_LISTED = 10
COUNTS = ("parts", "completions", "duplicates", "prompt_tokens", "completion_tokens")


def add(commands) -> None:
    """Add the command ``completions`` to the subparsers of the console script."""
    group = commands.add_parser(
        "completions", help="the store of generated completions: contents, integrity, leftovers"
    )
    actions = group.add_subparsers(required=True)
    stat = actions.add_parser(
        "stat", help="parts, completions, duplicates, tokens and bytes per model"
    )
    stat.set_defaults(run=_stat)
    verify = actions.add_parser("verify", help="read every part; exit status 1 if any is damaged")
    verify.set_defaults(run=_verify)
    gc = actions.add_parser(
        "gc",
        help="list files that can go: completions of no model here, leftovers, damaged parts; "
        "merge small parts",
    )
    gc.add_argument(
        "--delete", action="store_true", help="remove and merge; without it nothing is changed"
    )
    gc.add_argument(
        "--force",
        action="store_true",
        help="also completions of the last day that no model.json refers to",
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
    rows = list(maintenance.read_contents(args.root))
    head = ("digest", *(name.replace("_", " ") for name in COUNTS), "size", "models")
    table: list[tuple[str, ...]] = [head]
    for row in rows:
        counts = (getattr(row, name) for name in COUNTS)
        models = ", ".join(row.models) or "none here"
        aside = f" ({row.damaged} damaged, set aside)" if row.damaged else ""
        table.append(
            (row.folder.name, *(f"{n:,}" for n in counts), format_bytes(row.bytes), models + aside)
        )
    if len(rows) > 1:
        sums = [sum(getattr(row, name) for row in rows) for name in COUNTS]
        size = format_bytes(sum(row.bytes for row in rows))
        table.append(("all", *(f"{n:,}" for n in sums), size, ""))
    print("\n".join(_align_columns(table)))


def _align_columns(table: list[tuple[str, ...]]) -> Iterable[str]:
    """Lines of the table: the first and the last column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    last = len(widths) - 1
    for row in table:
        texts = [
            text.ljust(width) if i in (0, last) else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(texts).rstrip()


def _verify(args: argparse.Namespace) -> None:
    paths = [
        path for folder in maintenance.list_folders(args.root) for path in parts.list_parts(folder)
    ]
    progress = Progress(len(paths), "parts")
    damaged = 0
    for path in paths:
        try:
            reason = maintenance.find_fault(path)
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
            "Restore these files from a copy, or rename them to *.damaged: the next run generates "
            "their completions again, and `orion completions gc --delete` removes them."
        )
        sys.exit(1)


def _gc(args: argparse.Namespace) -> None:
    removals = sorted(
        maintenance.find_removals(args.root, include_recent=args.force),
        key=lambda removal: (removal.reason, removal.path),
    )
    for reason, group in groupby(removals, key=lambda removal: removal.reason):
        files = list(group)
        count = "1 file" if len(files) == 1 else f"{len(files):,} files"
        print(f"{reason}: {count}, {format_bytes(sum(file.bytes for file in files))}")
        for file in files[:MAX_LISTED]:
            print(f"  {file.path}  {format_bytes(file.bytes)}")
        if len(files) > MAX_LISTED:
            print(f"  and {len(files) - MAX_LISTED:,} more")
    total = format_bytes(sum(removal.bytes for removal in removals))
    removed = {removal.path for removal in removals}
    for folder, before, after in maintenance.find_merges(args.root, removed):
        print(f"{folder}: {before:,} small parts become {after:,}")
    if not args.delete:
        print(f"nothing was changed; --delete would free {total}")
        return
    maintenance.remove(removals)
    for folder in maintenance.list_folders(args.root):
        compaction.compact(folder, max_small_parts=1, budget_bytes=None)
    print(f"freed {total}")


def format_bytes(count: int) -> str:
    """A number of bytes in the largest fitting unit, such as 1.5 MiB."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:,.0f} {units[0]}" if units[0] == "B" else f"{value:,.1f} {units[0]}"
