"""Reading YAML files of the configuration, with errors that name the file and the line.

Input: a path. Output: a mapping. Raises InputError where the file cannot be read or holds none.
"""

from pathlib import Path

import yaml

from orion.errors import InputError


def read_mapping(path: str | Path) -> dict:
    """The keys of one YAML file; an empty file has none."""
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; name a readable YAML file, as seen from the "
            "working directory"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); save it as UTF-8 text") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-13-45
        where = getattr(error, "problem_mark", None)
        place = f", line {where.line + 1}, column {where.column + 1}" if where else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise InputError(f"{path}{place}: not valid YAML ({problem}); correct the file") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        names = {"list": "a list", "str": "a text"}
        kind = names.get(type(found).__name__, "a single value")
        raise InputError(
            f"{path}: holds {kind} where keys and values are expected, "
            "such as `runs: {seeds: [1]}`"
        )
    return found
