"""Provenance of artifacts: canonical JSON, source digests, file digests, package versions.

This module imports the standard library only, because Snakemake imports it while it parses the
workflow.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import tokenize
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "orion"
KERNELS = "orion_kernels"
FSTRING_START = getattr(tokenize, "FSTRING_START", -1)
FSTRING_END = getattr(tokenize, "FSTRING_END", -1)
RECORDED_PACKAGES = (
    "numpy",
    "peft",
    "polars",
    "sympy",
    "tokenizers",
    "torch",
    "transformers",
    "vllm",
)


def canonical_json(value: Any) -> str:
    """The canonical text of a configuration value: sorted keys, no spaces, nulls dropped.

    Since nulls are dropped, a new key whose default is null changes no text and reruns nothing.
    """
    return json.dumps(
        _without_nulls(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(v) for v in value]
    return value


def digest_text(text: str) -> str:
    """sha256 of a text as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_file(path: str | Path) -> str:
    """sha256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@cache
def source_digest(module: str) -> str:
    """Digest of a module and of all that it imports from this project.

    Comments and docstrings do not count. For ``orion_kernels`` only its version counts, since its
    sources may change without changing a number. A package also contributes its templates (*.j2).
    Raises ModuleNotFoundError for a module that does not exist.
    """
    if _module_file(module) is None:
        raise ModuleNotFoundError(f"no module {module} in this project")
    parts: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name in parts:
            continue
        if name == KERNELS:
            parts[name] = f"version {kernels_version()}"
            continue
        path = _module_file(name)
        if path is None:
            continue
        source = path.read_text(encoding="utf-8")
        parts[name] = _code_digest(source)
        # importing a submodule runs its parent packages too
        todo.extend(".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1))
        todo.extend(_imports(source, name, is_package=path.name == "__init__.py"))
        if path.name == "__init__.py" and name != PACKAGE:
            for data in sorted(path.parent.glob("*.j2")):
                parts[f"{name}/{data.name}"] = digest_file(data)
    return digest_text(canonical_json(parts))


# by the text, so that stages share the modules that they have in common
@cache
def _code_digest(source: str) -> str:
    return digest_text(_code_tokens(source))


@cache
def kernels_version() -> str:
    """The ``__version__`` of orion_kernels, read without importing it (it imports torch)."""
    spec = importlib.util.find_spec(KERNELS)
    if spec is None or spec.origin is None:
        return "absent"
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(
            getattr(t, "id", None) == "__version__" for t in node.targets
        ):
            return str(ast.literal_eval(node.value))
    raise RuntimeError(f"{spec.origin} defines no __version__")


def _module_file(name: str) -> Path | None:
    root = Path(__file__).parent.parent
    base = root.joinpath(*name.split("."))
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


@cache
def _imports(source: str, module: str, *, is_package: bool) -> tuple[str, ...]:
    """Names in this project that a source imports, at its top or inside functions.

    ``from module import name`` yields ``module.name`` too, which may be a submodule.
    """
    package = module if is_package else module.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            target = ".".join(filter(None, (base, node.module or "")))
            found.append(target)
            found.extend(f"{target}.{alias.name}" for alias in node.names)
    local = [n for n in found if n.split(".")[0] == PACKAGE]
    return (*local, *(KERNELS for n in found if n.split(".")[0] == KERNELS))


def _code_tokens(source: str) -> str:
    """The tokens of a source without comments, docstrings and blank lines, joined by NUL.

    Tokens and not ``ast.dump``, whose text depends on the Python version.
    """
    drop = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING}
    lines = source.splitlines(keepends=True)
    out: list[str] = []
    statement_start = True
    open_fstrings: list[tuple[int, int]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        # from Python 3.12 an f-string is several tokens; as one text it gives the digest of 3.11
        if token.type == FSTRING_START:
            open_fstrings.append(token.start)
        if open_fstrings:
            if token.type == FSTRING_END:
                start = open_fstrings.pop()
                if not open_fstrings:
                    out.append(_slice(lines, start, token.end))
                    statement_start = False
            continue
        if token.type in drop:
            continue
        if token.type == tokenize.STRING and statement_start:
            # an expression statement that is a bare string: a docstring
            continue
        if token.type == tokenize.NEWLINE and statement_start:
            continue
        statement_start = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        out.append(
            {tokenize.INDENT: "<indent>", tokenize.DEDENT: "<dedent>"}.get(token.type, token.string)
        )
    return "\x00".join(out)


def _slice(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text between two positions (line from 1, column from 0), as tokens give them."""
    rows = lines[start[0] - 1 : end[0]]
    rows[-1] = rows[-1][: end[1]]
    rows[0] = rows[0][start[1] :]
    return "".join(rows)


@cache
def package_versions() -> dict[str, str]:
    """Versions of the installed packages that can change a number.

    Local build tags such as ``+cpu`` are dropped.
    """
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def record(module: str, config: dict[str, Any], inputs: Mapping[str, str | Path]) -> dict[str, Any]:
    """The provenance of an artifact that ``module`` writes: config, code, inputs, packages."""
    return {
        "module": module,
        "config": _without_nulls(config),
        "code": source_digest(module),
        "inputs": {name: digest_file(path) for name, path in sorted(inputs.items())},
        "packages": package_versions(),
    }


def mismatches(
    found: dict[str, Any], *, config: dict[str, Any], inputs: Mapping[str, str | Path]
) -> list[str]:
    """Why a recorded provenance does not fit today's config, code and input files.

    Empty if it fits.
    """
    problems = []
    if canonical_json(found["config"]) != canonical_json(config):
        keys = _changed_keys(found["config"], _without_nulls(config))
        problems.append(f"made with another configuration ({', '.join(keys)})")
    if found["code"] != source_digest(found["module"]):
        problems.append(f"made by another version of {found['module']}")
    for name, path in sorted(inputs.items()):
        if found["inputs"].get(name) != digest_file(path):
            problems.append(f"made from another {name} than {path}")
    return problems


def _changed_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [prefix or "value"] if old != new else []
    changed = []
    for key in sorted(old.keys() | new.keys()):
        changed += _changed_keys(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    return changed
