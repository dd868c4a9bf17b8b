"""The modules of orion_kernels import each other without a circle, imports for types included."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "orion_kernels"


def list_modules(folder: Path) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    modules = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = path
    return modules


def imported_modules(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of the package that a file imports anywhere, also in functions and for types.

    Importing a module runs the `__init__` of its parents first; that is no import of theirs.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: import by the full name"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = names & modules.keys()
            # a name that is no submodule is defined in the module itself
            found |= submodules if submodules == names else submodules | {str(node.module)}
    return found & modules.keys()


def import_graph(folder: Path) -> dict[str, set[str]]:
    modules = list_modules(folder)
    return {name: imported_modules(path, modules) for name, path in modules.items()}


def test_no_circle(root):
    graph = import_graph(root / "kernels" / PACKAGE)
    assert {f"{PACKAGE}.packing", f"{PACKAGE}.attention.api", f"{PACKAGE}.aot"} <= graph.keys()
    assert graph[f"{PACKAGE}.packing"] >= {f"{PACKAGE}.attention.work_tables"}
    assert f"{PACKAGE}.attention.triton_configs" in graph[f"{PACKAGE}.aot"]
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    "line",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from orion_kernels.b import B",
        "def f():\n    from orion_kernels import b",
        "import orion_kernels.b",
    ],
)
def test_a_circle_is_found(tmp_path, line):
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "a.py").write_text(line)
    (folder / "b.py").write_text("from orion_kernels.a import A\n")
    with pytest.raises(CycleError):
        TopologicalSorter(import_graph(folder)).prepare()
