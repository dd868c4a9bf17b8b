"""Compare the CSV files and the page with report.json, and check that the page needs no network.

``find_faults(results)`` returns one line per disagreement. The formats of numbers are written out
here again, so that a wrong format in the template is noticed.
"""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

FORMATS = {
    "percent": lambda v: f"{v * 100:.1f}",
    "points": lambda v: ("+" if v >= 0 else "−") + f"{abs(v * 100):.1f}",
    "integer": lambda v: format(round(v), ","),
    "decimal": lambda v: format(round(v, 1), ",.1f"),
    "plain": lambda v: format(v, "g"),
    "p": lambda v: f"{v:.3f}" if v >= 0.001 else "< 0.001",
    "text": str,
}
# file → key of a group in report.json
GROUP_TABLES = {"group_comparisons": "comparisons", "group_students": "alone"}
EXTERNAL = re.compile(
    r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//|@import""",
    re.IGNORECASE,
)


class Page(HTMLParser):
    """The page's marked numbers, the text of its number cells outside of them, and its headline."""

    def __init__(self):
        super().__init__()
        self.numbers: list[tuple[str, str, str]] = []
        self.loose: list[str] = []
        self.headline = ""
        self.tags: set[str] = set()
        self._open: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("span", "td", "div"):
            self._open.append((tag, dict(attrs)))
            if "data-key" in self._open[-1][1]:
                attributes = self._open[-1][1]
                self.numbers.append((attributes["data-key"], attributes["data-format"], ""))

    def handle_endtag(self, tag):
        if tag in ("span", "td", "div"):
            assert self._open and self._open[-1][0] == tag, f"<{tag}> closed out of turn"
            self._open.pop()

    def handle_data(self, data):
        if any(attributes.get("class") == "summary" for _, attributes in self._open):
            self.headline += data
        if not self._open:
            return
        tag, attributes = self._open[-1]
        if "data-key" in attributes:
            key, form, text = self.numbers[-1]
            self.numbers[-1] = (key, form, text + data)
        elif tag == "td" and attributes.get("class") != "t":
            self.loose.append(data)


def look_up(doc, key: str):
    """The value at a place like ``results/0/base/accuracy``."""
    for part in key.split("/"):
        doc = doc[int(part) if isinstance(doc, list) else part]
    return doc


def page_faults(folder: Path, doc: dict) -> list[str]:
    """Numbers that differ from report.json or have no place in it, and calls to the network."""
    html = (folder / "index.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    wrong = [
        f"index.html loads something from outside: {found}" for found in EXTERNAL.findall(html)
    ]
    if not page.numbers:
        wrong.append("index.html marks no number")
    for key, form, text in page.numbers:
        value = look_up(doc, key)
        expected = "–" if value is None else FORMATS[form](value)
        if text != expected:
            wrong.append(f"index.html shows {text!r} for {key}, report.json gives {expected!r}")
    wrong += [
        f"index.html: a number cell holds {text.strip()!r} without a place"
        for text in page.loose
        if _digits(text)
    ]
    # the only numbers of the headline that no table shows are counts of comparisons
    known = {text.strip("+−") for _, _, text in page.numbers}
    items = [*doc["results"], *doc["groups"]]
    known |= {str(n) for item in items for n in range(len(item["comparisons"]) + 1)}
    # tables of details leave arms out of a large grid; report.json has their rows
    left_out = set(doc["grid"]["arms"][doc["arms_shown"] :])
    for item in doc["results"]:
        for row in [*item["reflections"], *item["error_coverage"]]:
            shares = [v for v in row.values() if isinstance(v, float)]
            known |= {f"{100 * v:.1f}" for v in shares if row["arm"] in left_out}
    names = [*doc["grid"]["arms"], *doc["grid"]["benchmarks"], *(doc["grid"]["students"] or {})]
    prose = page.headline
    for name in sorted(names, key=len, reverse=True):
        prose = prose.replace(name, "")
    shown = re.findall(r"\d+(?:\.\d+)?", prose)
    wrong += [
        f"index.html: the headline's {number} stands in no table"
        for number in shown
        if number not in known
    ]
    return wrong


def _digits(text: str) -> bool:
    return any(c.isdigit() for c in text)


def csv_faults(folder: Path, doc: dict) -> list[str]:
    """CSV files that differ from report.json; the two long ones from the scores and logs."""
    wrong = []
    for path in sorted(folder.glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as handle:
            shown = list(csv.DictReader(handle))
        found = []
        kind = "group" if path.stem in GROUP_TABLES else "model"
        for item in doc["groups" if kind == "group" else "results"]:
            head = {"dataset": item["dataset"], kind: item[kind]}
            rows = item.get(GROUP_TABLES.get(path.stem, path.stem))
            rows = _read_long_table(folder.parent, doc, item, path.stem) if rows is None else rows
            found += [{**head, **row} for row in (rows if isinstance(rows, list) else [rows])]
        texts = [{k: "" if v is None else str(v) for k, v in row.items()} for row in found]
        if shown != texts:
            wrong.append(
                f"{path.name}: {len(shown)} rows differ from the {len(texts)} of report.json "
                "or of the files that it names"
            )
    return wrong


def _read_long_table(results: Path, doc: dict, item: dict, name: str) -> list[dict]:
    rows = []
    for arm in doc["grid"]["arms"]:
        for benchmark in doc["grid"]["benchmarks"] if name == "seeds" else [""]:
            for seed in doc["grid"]["seeds"]:
                student = results / "datasets" / item["dataset"] / item["model"]
                folder = student / arm / f"seed-{seed}"
                if name == "seeds":
                    scores = json.loads(
                        (folder / benchmark / "scores.json").read_text(encoding="utf-8")
                    )["rows"]
                    order = ("metric", "value", "low", "high", "n_problems", "k")
                    head = {"arm": arm, "benchmark": benchmark, "seed": seed}
                    rows += [
                        {**head, **{column: row[column] for column in order}} for row in scores
                    ]
                elif (folder / "train_log.jsonl").exists():
                    lines = (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
                    order = (
                        "loss",
                        "validation_loss",
                        "learning_rate",
                        "grad_norm",
                        "tokens",
                        "trained_tokens",
                        "accuracy",
                        "entropy",
                    )
                    for entry in map(json.loads, lines):
                        values = {column: _round(entry.get(column)) for column in order}
                        rows.append({"arm": arm, "seed": seed, "step": entry["step"], **values})
    return rows


def _round(value):
    return round(value, 10) if isinstance(value, float) else value


def find_faults(results: str | Path) -> list[str]:
    """One line per disagreement between a report's page and CSV files and its report.json."""
    folder = Path(results) / "report"
    doc = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return [*csv_faults(folder, doc), *page_faults(folder, doc)]
