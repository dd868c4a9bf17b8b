"""The completion store: every completion is stored under a hash of its inputs and reused.

Input: a table of requests, a model, sampling parameters. Output: the table with its completions.
Stored ones are read, missing ones are generated and stored.

``keys`` computes a completion's key and seed. ``parts`` reads and writes part files. ``store``
looks completions up. ``compaction`` merges small files. ``generation`` asks the engine for what is
missing; ``writer`` stores its answers, and ``meter`` ends the job at the run's ceiling.
``maintenance`` serves the command ``orion completions``; no stage imports it.
"""

from orion.completions.generation import complete, complete_shard
from orion.completions.keys import add_keys, completion_key, completion_seed, in_shard, parse_shard
from orion.completions.meter import Meter
from orion.completions.parts import STORED_COLUMNS, UNSTORED_FINISH_REASONS
from orion.completions.store import CompletionStore

__all__ = [
    "STORED_COLUMNS",
    "UNSTORED_FINISH_REASONS",
    "CompletionStore",
    "Meter",
    "add_keys",
    "complete",
    "complete_shard",
    "completion_key",
    "completion_seed",
    "in_shard",
    "parse_shard",
]
