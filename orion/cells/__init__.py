"""Cells: every completion is stored under a hash of all that decides it, and never paid for twice.

Input: a table of completions wanted, a model, sampling parameters. Output: the table of completions; those that the store
holds are read, the others generated and stored. ``keys`` names a completion, ``parts`` are the files, ``store`` looks up,
``compaction`` keeps the files few, ``generation`` asks the engine for what is missing; ``upkeep`` serves the command line and
is imported by no stage.
"""

from orion.cells.generation import complete, complete_shard
from orion.cells.keys import cell_key, cell_seed, in_shard, keyed, parse_shard
from orion.cells.parts import CELL, PAID
from orion.cells.store import CellStore

__all__ = [
    "CELL",
    "PAID",
    "CellStore",
    "cell_key",
    "cell_seed",
    "complete",
    "complete_shard",
    "in_shard",
    "keyed",
    "parse_shard",
]
