"""The recipes of the students that come with the package, one folder of `students/` each.

Input: the name of a student. Output: its recipe.json: ``options`` of `orion.demo.student.pretrain`,
``sha256`` of the weights, and ``ability``, what `orion.demo.ability` counted. On the standard
library alone, since the configuration reads it too.
"""

import json
from pathlib import Path
from typing import Any

from orion.errors import InputError

FOLDER = Path(__file__).parent / "students"
WEIGHTS, RECIPE = "model.safetensors", "recipe.json"


def list_students() -> list[str]:
    """The names of the students that come with the package, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{RECIPE}"))


def read_recipe(name: str) -> dict[str, Any]:
    """The recipe of a student; raises InputError for a name that no student has."""
    if name not in list_students():
        raise InputError(f"no student {name}; the package has: {', '.join(list_students())}")
    recipe: dict[str, Any] = json.loads((FOLDER / name / RECIPE).read_text())
    return recipe
