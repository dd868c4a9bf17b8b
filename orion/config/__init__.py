"""The configuration of a run: its keys, its loading, and the keys that each stage reads.

``orion config schema`` prints the JSON schema, ``orion config check FILE...`` validates files.
Stages never import this package: they get their keys as one JSON string, so that a new key cannot
change their source digest.
"""

from orion.config.arm_models import (
    find_exposed,
    find_writer,
    list_exposures,
    list_helpers,
    list_judges,
    list_source_runs,
    list_used,
    needs_samples,
)
from orion.config.arm_texts import (
    exposes_by_surprisal,
    reads_steps,
    selects_by_surprisal,
    weighs_key_steps,
)
from orion.config.arms import find_match, is_matched, list_matched_arms
from orion.config.ceiling import tell_ceiling
from orion.config.datasets import url_sources
from orion.config.input_files import checkpoint_files, local_files
from orion.config.judge import list_judged
from orion.config.loading import load, validate
from orion.config.local_models import check_without_weights
from orion.config.models import WILDCARD, Config
from orion.config.stages import params, plan_digest, stage_config
from orion.config.token_limits import list_token_limits
from orion.config.uses import check_traces, list_lora, list_optimizers

__all__ = [
    "WILDCARD",
    "Config",
    "check_traces",
    "check_without_weights",
    "checkpoint_files",
    "exposes_by_surprisal",
    "find_exposed",
    "find_match",
    "find_writer",
    "is_matched",
    "list_exposures",
    "list_helpers",
    "list_judged",
    "list_judges",
    "list_lora",
    "list_matched_arms",
    "list_optimizers",
    "list_source_runs",
    "list_token_limits",
    "list_used",
    "load",
    "local_files",
    "needs_samples",
    "params",
    "plan_digest",
    "reads_steps",
    "selects_by_surprisal",
    "stage_config",
    "tell_ceiling",
    "url_sources",
    "validate",
    "weighs_key_steps",
]
