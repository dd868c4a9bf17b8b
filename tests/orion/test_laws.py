"""The laws of the code that can be checked by reading the sources (CONTRIBUTING.md lists them)."""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "orion").rglob("*.py")) + sorted((ROOT / "kernels").rglob("*.py"))
ORION = [path for path in SOURCES if ROOT / "orion" in path.parents]
KERNELS = [path for path in SOURCES if ROOT / "kernels/orion_kernels" in path.parents]

# imports go down this list, never up and never sideways; modules of one room may import each other
FLOORS = (
    {"cli"},
    {"cost"},
    {"stages"},
    {"completions", "report"},
    {"engines", "config", "training"},
    {"models", "data", "experiment"},
    {"demo", "tables", "processes", "answers", "prompts", "spending"},
    {"paths", "provenance", "progress", "ngrams", "errors"},
)
# modules of the folder stages that are no stage: what the stages share
SHARED = {"command", "generation"}
# the one module of orion.answers that may import more than the standard library
WORKER = ROOT / "orion/answers/workers/process.py"
STAGES = {
    path.stem for path in (ROOT / "orion/stages").glob("*.py") if path.stem != "__init__"
} - SHARED


def module_name(path: Path) -> str:
    base = ROOT / "kernels" if ROOT / "kernels" in path.parents else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in (*ORION, *KERNELS)}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, also inside functions, relative ones resolved."""
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            target = ".".join(filter(None, (base, node.module or "")))
            # `from package import module` imports the module, not what the package's file defines
            names |= {
                f"{target}.{alias.name}" if f"{target}.{alias.name}" in MODULES else target
                for alias in node.names
            }
    return names


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def floor(name: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if name in rooms]
    assert found, f"orion/{name} is on no floor; add it to FLOORS and to CONTRIBUTING.md"
    return found[0]


@pytest.mark.parametrize(
    "path",
    [p for p in ORION if p.parent != ROOT / "orion" or p.stem != "__init__"],
    ids=module_name,
)
def test_imports_go_down(path):
    here = room(module_name(path))
    for name in imported(path):
        if name.startswith("orion.") and room(name) != here:
            assert floor(room(name)) > floor(here), f"{name} is not below orion/{here}"


def test_no_circle():
    graph = {
        module: {name for name in imported(path) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"a circle: {' -> '.join((*above, module))}"
        if module not in done:
            for name in sorted(graph[module]):
                visit(name, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_imports_neither_a_stage_nor_the_configuration(stage):
    names = imported(ROOT / f"orion/stages/{stage}.py")
    stages = {name.split(".")[2] for name in names if name.startswith("orion.stages.")}
    assert stages <= SHARED
    # a new configuration key would change the digest of a stage that imports orion.config
    assert stage == "report" or not any(room(name) == "config" for name in names)


def test_the_stages_are_the_folder():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert set(re.findall(r'source_digest\("orion\.stages\.(\w+)"\)', rules)) | {"lint"} == STAGES
    assert set(re.findall(r"-m orion\.stages\.(\w+)", rules)) == STAGES
    for stage in STAGES:
        path = ROOT / f"orion/stages/{stage}.py"
        assert f"python -m orion.stages.{stage} " in (ast.get_docstring(parse(path)) or ""), path
        assert "main" in {n.name for n in parse(path).body if isinstance(n, ast.FunctionDef)}, path


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_reads_its_configuration_as_a_dataclass(stage):
    for node in ast.walk(parse(ROOT / f"orion/stages/{stage}.py")):
        if isinstance(node, ast.Subscript):
            text = ast.unparse(node.value)
            assert not re.search(r"(^|\.)(config|settings)$", text) or not isinstance(
                node.slice, ast.Constant
            ), f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "path", [p for p in ORION if ROOT / "orion/answers" in p.parents], ids=module_name
)
def test_the_answers_import_the_standard_library_only(path):
    outside = {name.split(".")[0] for name in imported(path)} - {"orion"}
    peers = {"sympy", "math_verify"} if path == WORKER else set()
    assert outside <= set(sys.stdlib_module_names) | peers, (
        "orion.answers imports the standard library only, its worker process sympy and Math-Verify"
    )
    assert {room(name) for name in imported(path) if name.startswith("orion.")} <= {"answers"}


def test_the_worker_imports_sympy_and_math_verify_inside_functions_only():
    top = [node for node in parse(WORKER).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for node in top for alias in node.names}
    names |= {(getattr(node, "module", "") or "").split(".")[0] for node in top}
    assert not names & {"sympy", "math_verify"}


def test_the_workflow_imports_the_configuration_and_the_provenance_only():
    paths = [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    text = "".join(path.read_text() for path in paths)
    lines = re.findall(r"^ *((?:from|import) +orion.*)$", text, re.M)
    assert sorted(lines) == [
        "from orion import config as settings",
        "from orion.provenance import source_digest",
    ]


def test_the_kernels_never_import_orion():
    for path in KERNELS:
        assert not any(name.split(".")[0] == "orion" for name in imported(path)), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_code_is_made_from_text(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            plain = isinstance(node.func, ast.Name)
            assert not (plain and name in {"eval", "exec", "compile"}), f"{path}:{node.lineno}"
            assert name not in {"sympify", "parse_expr", "parse_latex"}, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_import_name_kernels_stays_free():
    # the transformers library probes for a package of the name kernels
    assert not (ROOT / "kernels" / "__init__.py").exists()


def first_line(path: Path) -> str:
    return (ast.get_docstring(parse(path)) or "").partition("\n")[0]


def test_the_tree_in_the_readme_quotes_the_docstrings():
    """Each line of README's tree quotes the first docstring line of what it names."""
    text = re.sub(r"\n +(?=[^-\s])", " ", (ROOT / "README.md").read_text(encoding="utf-8"))
    tree = dict(re.findall(r"^ *- `(orion/[\w/]*(?:\.py)?)`: (.+)$", text, re.M))
    for name, quoted in tree.items():
        path = ROOT / name if name.endswith(".py") else ROOT / name / "__init__.py"
        assert quoted == first_line(path), name
    packages = {
        f"orion/{p.name}/" for p in (ROOT / "orion").iterdir() if (p / "__init__.py").is_file()
    }
    modules = {f"orion/{p.name}" for p in (ROOT / "orion").glob("*.py")} - {"orion/__init__.py"}
    assert set(tree) == {"orion/", *packages, *modules}
