"""The configuration of a run: its keys, its loading, and the keys that each stage reads.

``orion config schema`` prints the JSON schema, ``orion config check FILE...`` validates files.
Stages never import this package: they get their keys as one JSON string, so that a new key cannot
change their source digest.
"""

from orion.config.datasets import url_sources
from orion.config.loading import load, validate
from orion.config.local_models import check_without_weights
from orion.config.models import WILDCARD, Config
from orion.config.stages import checkpoint_files, local_files, params, stage_config
from orion.config.token_limits import list_token_limits
from orion.config.uses import list_lora, list_optimizers

__all__ = [
    "WILDCARD",
    "Config",
    "check_without_weights",
    "checkpoint_files",
    "list_lora",
    "list_optimizers",
    "list_token_limits",
    "load",
    "local_files",
    "params",
    "stage_config",
    "url_sources",
    "validate",
]
