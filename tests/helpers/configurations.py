"""Configurations that tests start from."""

from pathlib import Path
from typing import Any

from orion.config.files import read_mapping
from orion.config.models import merge


def list_one_student_files(root: Path) -> list[Path]:
    """The files of the run of every arm on one student."""
    return [root / "config/config.yaml", root / "config/one-student.yaml"]


def read_one_student(root: Path) -> dict[str, Any]:
    """The merged configuration of every arm on one student, as plain values."""
    default, arms = (read_mapping(path) for path in list_one_student_files(root))
    return merge(default, arms)
