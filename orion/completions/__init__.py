"""Cells: every completion is stored under a hash of all that decides it, and never paid for twice.

Input: a table of completions wanted, a model, sampling parameters. Output: the table of completions; those that the store
holds are read, the others generated and stored. ``keys`` names a completion, ``parts`` are the files, ``store`` looks up,
``compaction`` keeps the files few, ``generation`` asks the engine for what is missing; ``upkeep`` serves the command line and
is imported by no stage.
"""

from orion.completions.generation import complete, complete_shard
from orion.completions.keys import completion_key, completion_seed, in_shard, keyed, parse_shard
from orion.completions.parts import STORED_COLUMNS, STORED_FINISH_REASONS
from orion.completions.store import CompletionStore

__all__ = [
    "STORED_COLUMNS",
    "STORED_FINISH_REASONS",
    "CompletionStore",
    "completion_key",
    "completion_seed",
    "complete",
    "complete_shard",
    "in_shard",
    "keyed",
    "parse_shard",
]
