"""Names: the field's words in code, configuration and documents, none of the old private ones."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# history may quote old names
HISTORY = {"LOG.md", "CHANGELOG.md", "tests/test_names.py"}

# old word -> where it may still be: a pattern of "path:line text" that is something else
IDENTIFIERS = {
    r"[Ss]treets?": None,
    r"CellStore|cell_key|cell_seed|results/cells|logs/cells|orion cells|--cells": None,
    r"PAID|_?Ledger|ledger": None,
    r"model_doc(ument)?|model_made|model_found|llama_doc": None,
    r"RESERVED_DATASETS": None,
    r"SPEED|\*\*speed": None,
    r"Patience|self.patience|patience=|AWAY|HOPELESS|LOOK_EVERY|LONGEST_AGREED": None,
    r"GivenUp|BudgetSpent|Garbage": None,
    r"(?<!Context)Overflow(?!Error|_)": r"text-overflow|overflow:|answers/algebra/balls\.py",
    r"treats_error|treated_steps|treatment_rows": None,
    r"prompt_id": None,
    r"no_survivor|no_wrong_sample|max_rejected(?!_fraction)": None,
    r"sigterm_is_an_exception|visible_devices|_dies_with_parent": None,
    r"one_of\(|traced\(|\bkeys\(\"": r"\.keys\(|answers|orion/completions/|tests/",
    r"other_problem_errors_": None,
    r"def (judged|described|asked|mapped|checked|attached|planned|resolved|shown)\(": None,
}
FILES = {
    "cells", "wire", "draw", "upkeep", "words", "chain", "layout", "stage", "generating",
    "treatment", "canon", "atoms", "shapes", "stated", "inline", "context", "guard_",
}  # fmt: skip
IRREGULAR = {"made", "found", "shown", "taken", "held", "left", "told", "given", "written", "known"}
IRREGULAR |= {"drawn", "kept", "built"}
NO_PARTICIPLES = {"seed", "need", "feed", "speed", "embed", "shed", "bed", "red", "breed", "exceed"}
# participles alone that are earned: each is the field's own word for what it returns
EARNED_PARTICIPLES = 12


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    suffixes = {".py", ".smk", ".md", ".yaml", ".yml", ".toml", ".j2", ".rst", ".sh", ""}
    return [
        ROOT / name
        for name in names
        if name
        and name not in HISTORY
        and Path(name).suffix in suffixes
        and (ROOT / name).is_file()
    ]


@pytest.mark.parametrize("word", IDENTIFIERS, ids=lambda word: re.sub(r"\W+", " ", word)[:40])
def test_no_old_name_is_left(word):
    allowed = IDENTIFIERS[word]
    pattern = re.compile(rf"(?<![\w-])(?:{word})(?![\w-])" if word[0].isalpha() else word)
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            place = f"{path.relative_to(ROOT)}:{number} {line.strip()}"
            if pattern.search(line) and not (allowed and re.search(allowed, place)):
                found.append(place)
    assert not found, "\n".join(found[:20])


def test_a_completion_is_not_called_a_cell():
    # KEY is the column of the part files since the first version: another name would orphan them
    allowed = re.compile(r'KEY = "cell"|"cell"|table cell|empty cell|number cell|vmem|CELLS?"\)')
    found = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()}"
        for path in tracked()
        if path.parts[len(ROOT.parts)]
        in ("orion", "workflow", "config", "bench", "docs", "README.md")
        and "answers" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\b[Cc]ells?\b", line) and not allowed.search(line)
    ]
    assert not found, "\n".join(found[:20])


def test_modules_have_new_names():
    sources = [p for p in tracked() if p.suffix == ".py" and p.parts[len(ROOT.parts)] == "orion"]
    assert not [str(p) for p in sources if p.stem in FILES]


def test_functions_are_verbs():
    """A function whose name is a participle alone says neither what it does nor to what."""
    found = []
    for path in tracked():
        if path.suffix != ".py" or path.parts[len(ROOT.parts)] not in ("orion", "kernels"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = node.name.strip("_")
                participle = re.fullmatch(r"[a-z]+ed", name) and name not in NO_PARTICIPLES
                if participle or name in IRREGULAR:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert len(found) <= EARNED_PARTICIPLES, "\n".join(found)
