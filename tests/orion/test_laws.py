"""The design's laws that can be checked by reading the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = {
    "dataset",
    "lint",
    "model",
    "sample",
    "check",
    "expose",
    "reflect",
    "select",
    "pack",
    "train",
    "evaluate",
    "report",
}
# the command lines: they may call whatever there is
COMMANDS = {"cli", "cli_answers", "cli_cells"}
HELPERS = {"config", "tables", "provenance", "prompts", "errors", "stage"}
# the one module of orion.answers that may import more than the standard library
WORKER = ROOT / "orion" / "answers" / "workers" / "process.py"
SOURCES = sorted((ROOT / "orion").rglob("*.py")) + sorted((ROOT / "kernels").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names a file imports anywhere, relative ones resolved."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    package = (
        module.rpartition(".")[0]
        if path.name != "__init__.py"
        else module.removesuffix(".__init__")
    )
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            target = ".".join(filter(None, (base, node.module or "")))
            names |= {target} | {f"{target}.{alias.name}" for alias in node.names}
    return names


def max_prompt_tokens(path: Path) -> str:
    return path.relative_to(ROOT / "orion").parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if ROOT / "orion" in p.parents],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_imports_go_one_way(path):
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("orion.")}
    outside = {name.split(".")[0] for name in imported(path)} - {"orion"}
    here = max_prompt_tokens(path)
    if here in STAGES:
        assert not (ours & STAGES) - {here}, "a stage imports a stage"
        assert here == "report" or "config" not in ours, (
            "a new configuration key would change this stage's digest"
        )
    elif here not in COMMANDS:
        assert not ours & STAGES, "a helper imports a stage"
    if here == "answers":
        import sys

        peers = {"sympy", "math_verify"} if path == WORKER else set()
        assert outside <= set(sys.stdlib_module_names) | peers, (
            "orion.answers imports the standard library only, and its worker process sympy and Math-Verify"
        )
        assert ours <= {"answers"}
    if here in HELPERS - {"stage"}:
        assert ours <= {"errors", "provenance", here}, (
            "config, tables, provenance and prompts import nothing else from orion"
        )


def test_the_worker_imports_sympy_and_math_verify_where_they_are_used_only():
    tree = ast.parse(WORKER.read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for node in top for alias in node.names} | {
        getattr(n, "module", "") for n in top
    }
    assert not names & {"sympy", "math_verify"}


def test_the_kernels_never_import_orion():
    for path in SOURCES:
        if ROOT / "kernels" in path.parents:
            assert not any(name.split(".")[0] == "orion" for name in imported(path)), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_code_is_made_from_text(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            plain = isinstance(node.func, ast.Name)
            assert not (plain and name in {"eval", "exec", "compile"}), f"{path}:{node.lineno}"
            assert name not in {"sympify", "parse_expr", "parse_latex"}, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_import_name_kernels_stays_free():
    assert not (ROOT / "kernels" / "__init__.py").exists()
