"""Names: the field's words in code, configuration and documents, none of the old private ones."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# history may quote old names
HISTORY = {"LOG.md", "CHANGELOG.md", "tests/test_names.py"}

# an old name: a line that held it, and where the same letters mean something else
OLD = {
    r"\b[Ss]treets?\b": ("class Street:", None),
    r"\b(CellStore|cell_key|cell_seed)\b": ("store = CellStore(root)", None),
    r"(results|logs)/cells\b|\borion cells\b|--cells\b": ("results/cells", None),
    r"\bPAID\b|\b_?[Ll]edger\b": ("ledger = _Ledger(store)", None),
    r"\bmodel_doc(ument)?\b|\bllama_doc\b": ("def load(model_doc):", None),
    r"\bmodel_made\b|\bmodel_found\b|\bmodel_of\b": ("rule model_made:", None),
    r"\bRESERVED_DATASETS\b": ("RESERVED_DATASETS", None),
    r"\bSPEED\b|\*\*speed\b": ("open(**speed)", None),
    r"\bPatience\b|\bpatience=|\b(AGAIN|AWAY|HOPELESS|LOOK_EVERY|LONGEST_AGREED)\b": (
        "patience=Patience()",
        None,
    ),
    r"\b(GivenUp|Overflow|BudgetSpent|Garbage|Lost|Undecided|Unreadable|Undefined)\b": (
        "class GivenUp(Exception):",
        # decimal.Overflow, and the word at the start of a sentence
        r"algebra/balls\.py|StrictUndefined|Lost |Undefined ",
    ),
    r"\b(treats_error|treated_steps|treatment_rows)\b": ("treats_error(meta)", None),
    r"\bprompt_id\b": ('"prompt_id"', None),
    r"\bno_survivor\b|\bno_wrong_sample\b": ("no_survivor: drop", None),
    r"\bmax_rejected\b": ("max_rejected: 0.1", None),
    r"\blora\.merge\b(?!_)|\bmerge: (true|false)\b": ("set train.lora.merge", None),
    r"\bshows: \[|\berrors: (own|other_problem)\b|\bkeep: \{": ("shows: [teacher]", None),
    r"\bsample\.k\b|\bsample: \{k:|\bevaluate\.k\b|\bteacher\.k\b": ("raise sample.k", None),
    r"\bsigterm_is_an_exception\b|\bvisible_devices\b": ("visible_devices(2)", None),
    r"(?<!\.)\bone_of\(|=keys\(\"|\btraced\(": ('config=keys("sample"),', None),
    r"\broom\(": ("room(model, sampling)", r"tests/orion/test_laws\.py"),
    r"\btaught\b|\bTAUGHT\b": ("TAUGHT = []", r"results\.html\.j2"),
    r"\b(quietly|dearer)\(|\bdef (special|reached|left|slopes)\(": ("def left(self):", None),
    r"\b(rows_kernel|_chunk\(|class Wanted)\b": ("def rows_kernel(", r"count_rows_kernel"),
    r"\bdef (judged|described|asked|mapped|checked|attached|planned|resolved|shown)\(": (
        "def judged(rows):",
        None,
    ),
}
FILES = {
    "cells", "wire", "draw", "upkeep", "words", "chain", "layout", "stage", "generating",
    "treatment", "canon", "atoms", "shapes", "stated", "inline", "context", "guard_",
}  # fmt: skip
IRREGULAR = {"made", "found", "shown", "taken", "held", "left", "told", "given", "written", "known"}
IRREGULAR |= {"drawn", "kept", "built"}
NO_PARTICIPLES = {"seed", "need", "feed", "speed", "embed", "shed", "bed", "red", "breed", "exceed"}


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
        # lists of English words that texts contain are no names of ours
        and not name.startswith("orion/answers/wording/")
        and Path(name).suffix in suffixes
        and (ROOT / name).is_file()
    ]


@pytest.mark.parametrize("pattern", OLD)
def test_no_old_name_is_left(pattern):
    line, allowed = OLD[pattern]
    assert re.search(pattern, line), "the pattern does not find what it is for"
    found = []
    for path in tracked():
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            place = f"{path.relative_to(ROOT)}:{number} {text.strip()}"
            if re.search(pattern, text) and not (allowed and re.search(allowed, place)):
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
    assert not found, "\n".join(found)
