"""Reading and validating a whole configuration: its files, its keys, the models' contexts."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orion.config.catalogue import resolve
from orion.config.files import read_mapping
from orion.config.local_models import check_local_models
from orion.config.models import Config, explain, merge
from orion.errors import InputError


def validate(raw: dict[str, Any], origin: str = "the configuration") -> Config:
    """A validated configuration; raises InputError that names each bad key and its cure."""
    try:
        config = Config.model_validate(resolve(raw))
        check_local_models(config)
    except ValidationError as error:
        raise InputError(f"{origin} is not valid: {explain(error)}") from None
    except InputError as error:
        raise InputError(f"{origin} is not valid: {error}") from None
    return config


def load(*paths: str | Path) -> Config:
    """Read and validate YAML files.

    Later files are merged over earlier ones, as ``snakemake --configfile`` does.
    """
    raw: dict[str, Any] = {}
    for path in paths:
        raw = merge(raw, read_mapping(path))
    return validate(raw, " + ".join(str(p) for p in paths))
