"""What the report shows against report.json: every CSV row, every number of the page, and that the page needs no network.

``faults(results)`` returns one line for every disagreement. Formats are written out here again, so that a wrong format in
the template shows. Used by ``recompute.py`` and the tests.
"""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

FORMATS = {
    "percent": lambda v: f"{v * 100:.1f}",
    "points": lambda v: ("+" if v >= 0 else "−") + f"{abs(v * 100):.1f}",
    "integer": lambda v: format(int(round(v)), ","),
    "decimal": lambda v: format(round(v, 1), ",.1f"),
    "plain": lambda v: format(v, "g"),
    "p": lambda v: f"{v:.3f}" if v >= 0.001 else "< 0.001",
    "text": str,
}
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
                found = self._open[-1][1]
                self.numbers.append((found["data-key"], found["data-format"], ""))

    def handle_endtag(self, tag):
        if tag in ("span", "td", "div"):
            assert self._open and self._open[-1][0] == tag, f"<{tag}> closed out of turn"
            self._open.pop()

    def handle_data(self, data):
        if any(found.get("class") == "says" for _, found in self._open):
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
    """The value at a place like ``streets/0/base/accuracy``."""
    for part in key.split("/"):
        doc = doc[int(part) if isinstance(doc, list) else part]
    return doc


def page_faults(folder: Path, doc: dict) -> list[str]:
    """Numbers of index.html that are not report.json's, numbers in cells without a place, and calls to the network."""
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
    # counts of sentences are the only numbers of the headline that no table shows
    known = {text.strip("+−") for _, _, text in page.numbers}
    known |= {str(n) for street in doc["streets"] for n in range(len(street["comparisons"]) + 1)}
    names = [*doc["grid"]["arms"], *doc["grid"]["benchmarks"]]
    prose = page.headline
    for name in sorted(names, key=len, reverse=True):
        prose = prose.replace(name, "")
    told = re.findall(r"\d+(?:\.\d+)?", prose)
    wrong += [
        f"index.html: the headline's {number} stands in no table"
        for number in told
        if number not in known
    ]
    return wrong


def _digits(text: str) -> bool:
    return any(c.isdigit() for c in text)


def csv_faults(folder: Path, doc: dict) -> list[str]:
    """Each CSV holds what report.json holds, as text; the two long ones what the files below hold."""
    wrong = []
    for path in sorted(folder.glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as handle:
            told = list(csv.DictReader(handle))
        found = []
        for street in doc["streets"]:
            head = {"dataset": street["dataset"], "model": street["model"]}
            rows = street.get(path.stem, None)
            rows = _long(folder.parent, doc, street, path.stem) if rows is None else rows
            found += [{**head, **row} for row in (rows if isinstance(rows, list) else [rows])]
        texts = [{k: "" if v is None else str(v) for k, v in row.items()} for row in found]
        if told != texts:
            wrong.append(
                f"{path.name}: {len(told)} rows differ from the {len(texts)} of report.json or the files it names"
            )
    return wrong


def _long(results: Path, doc: dict, street: dict, name: str) -> list[dict]:
    rows = []
    for arm in doc["grid"]["arms"]:
        for benchmark in doc["grid"]["benchmarks"] if name == "seeds" else [""]:
            for seed in doc["grid"]["seeds"]:
                folder = results / street["dataset"] / street["model"] / arm / f"seed-{seed}"
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
                        "learning_rate",
                        "grad_norm",
                        "tokens",
                        "trained_tokens",
                        "accuracy",
                        "entropy",
                    )
                    for entry in map(json.loads, lines):
                        values = {column: _short(entry.get(column)) for column in order}
                        rows.append({"arm": arm, "seed": seed, "step": entry["step"], **values})
    return rows


def _short(value):
    return round(value, 10) if isinstance(value, float) else value


def faults(results: str | Path) -> list[str]:
    """Every disagreement between what a results folder's report shows and its report.json; empty if there is none."""
    folder = Path(results) / "report"
    doc = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return [*csv_faults(folder, doc), *page_faults(folder, doc)]
