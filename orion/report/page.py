"""Render the page: the content of report.json and the figures → one self-contained index.html.

The template only formats. It asks for every number by its place in the document, e.g.
``results/0/table/3/accuracy``, and writes that place as ``data-key``, so that a test can look each
number up. Every text of data, models and configuration goes through ``clean`` and is escaped.
"""

import base64
import functools
import hashlib
import re
from collections.abc import Callable
from typing import Any

import jinja2
from markupsafe import Markup, escape

from orion.report import contrasts, lanes
from orion.report.examples import truncate
from orion.report.figures import colour

ABSENT = "–"
# of the whole page, in UTF-8
MAX_BYTES = 5_000_000
# characters of any one text of the page but the examples', whose own bound is smaller
MAX_TEXT = 5000
# what the page shows of a grid at most, and what it shows at least however large that is; of a grid
# that does not fit, DETAILS are halved first
DETAILS = {
    "examples": (100, 2),
    "characters": (4000, 500),
    "warnings": (60, 10),
}
OVERVIEW = {"contrasts": (400, 20), "overview_arms": (120, 4), "students": (40, 1)}
FEWEST_ARMS = 4
# so many times the largest size are far too large
FAR = 1.5
# sections of a student: id and title in the navigation
SECTIONS = (
    ("summary", "Summary"),
    ("comparisons", "Comparisons"),
    ("accuracy", "Accuracy"),
    ("lengths", "Tokens"),
    ("steps", "Truth"),
    ("sampling", "Samples"),
    ("failures", "Failures"),
    ("levels", "Levels"),
    ("flips", "Flips"),
    ("coherence", "Coherence"),
    ("stability", "Stability"),
    ("student", "Student"),
    ("reflections", "Reflections"),
    ("filters", "Filters"),
    ("training", "Cost"),
    ("examples", "Examples"),
)
# parts of a bar: the filters in their order, from light to dark
SHADES = (
    *("#f6c667", "#eea63a", "#dd8a1f", "#c66f14", "#aa5710", "#8d4310"),
    *("#9d7bb5", "#7f5f9e", "#624785", "#7d8590", "#5d6570", "#b06a79"),
)
# control characters as their pictures; what turns the direction of text, and halves of pairs, as
# the sign for an unknown character, so that offsets into a text stay what they are
_CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10)}
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
_CONTROLS |= dict.fromkeys([0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """The text without what would act on the page or a terminal instead of being shown there."""
    return _SURROGATES.sub("\ufffd", text.translate(_CONTROLS))


def _finalize(value: Any) -> Any:
    """What every expression of the template passes; markup is the report's own."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return clean(truncate(value, MAX_TEXT) or "")


def mark_step(text: str | None, step: dict[str, Any] | None = None, *, most: int) -> Markup:
    """A text of at most ``most`` characters, with its first false step marked.

    ``step``: start and end, offsets into the text.
    """
    shown = clean(truncate(text, most) or "")
    if step is None:
        return escape(shown)
    if step["start"] >= min(most, len(text or "")):
        return escape(f"{shown}\n[its first false step is behind this part]")
    end = min(step["end"], most)
    parts = (shown[: step["start"]], shown[step["start"] : end], shown[end:])
    return Markup("{}<mark>{}</mark>{}").format(*parts)


def format_value(value: Any, form: str) -> str:
    """The text of a value on the page; ``form`` is a key of FORMS."""
    if value is None:
        return ABSENT
    return FORMS[form](value)


FORMS: dict[str, Callable[[Any], str]] = {
    "percent": lambda v: f"{100 * v:.1f}",
    "points": lambda v: f"{100 * v:+.1f}".replace("-", "−"),
    "integer": lambda v: f"{round(v):,}",
    "decimal": lambda v: f"{v:,.1f}",
    "plain": lambda v: f"{v:g}",
    "p": lambda v: "< 0.001" if v < 0.001 else f"{v:.3f}",
    "text": str,
}


def look_up(doc: Any, key: str) -> Any:
    """The value at a place like ``results/0/base/accuracy``."""
    for part in key.split("/"):
        doc = doc[int(part)] if isinstance(doc, list) else doc[part]
    return doc


def format_number(doc: dict, key: str, form: str) -> Markup:
    """A number as HTML, with its place in the document."""
    # keys and forms are the template's own words
    text = format_value(look_up(doc, key), form)
    text = soften(text) if form == "text" else escape(text)
    return Markup(f'<span data-key="{key}" data-format="{form}">{text}</span>')


def embed_figure(svg: str, prefix: str) -> Markup:
    """A figure to embed: without the XML head, and with a prefix that makes its ids unique.

    Its ink takes the colours of the style sheet, so that it can be read in the dark mode too.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'((?:xlink:)?href="|url\()#', rf"\g<1>#{prefix}-", body)
    # the style sheet sets the size; the viewBox keeps the proportions
    body = re.sub(r'^<svg ([^>]*?)\bheight="[^"]*" ?', r"<svg \1", body, count=1)
    body = re.sub(r'^<svg ([^>]*?)\bwidth="[^"]*" ?', r"<svg \1", body, count=1)
    body = body.replace("fill: #ffffff", "fill: none")
    for ink, variable in (
        (("#22262b", "#3d434c"), "ink"),
        (("#5b626c", "#8a8f98"), "soft"),
        (("#e4e7eb",), "line"),
    ):
        body = re.sub("|".join(ink), f"var(--{variable})", body)
    return Markup(body)


def soften(text: str) -> Markup:
    """A name that may break behind an underscore or dot, and within a long run of characters."""
    parts = re.findall(r"[^_.]{1,9}[_.]*|[_.]+", clean(truncate(text, MAX_TEXT) or ""))
    return Markup("<wbr>").join(escape(part) for part in parts)


def group_rows(rows: list[dict], *columns: str) -> dict[tuple, list[int]]:
    """The numbers of the rows by their values of these columns, in the order of the rows."""
    found: dict[tuple, list[int]] = {}
    for number, row in enumerate(rows):
        found.setdefault(tuple(row[column] for column in columns), []).append(number)
    return found


def divide(rows: list[dict], most: int) -> list[tuple[bool, list[int]]]:
    """(whether added after results, the numbers of such rows) among the first ``most`` rows."""
    found: dict[bool, list[int]] = {}
    for number, row in enumerate(rows[:most]):
        found.setdefault(row["status"] == "added", []).append(number)
    return sorted(found.items())


def list_removing(rows: list[dict]) -> list[tuple[str, int]]:
    """The filters that removed a reflection of any arm, with the number of their shade."""
    removing = {row["filter"]: row["order"] for row in rows if row["removed"]}
    return sorted(
        ((name, order % len(SHADES)) for name, order in removing.items()), key=lambda each: each[1]
    )


def draw_waterfall(rows: list[dict], places: list[int]) -> Markup:
    """The bar of one arm: what is left, then what each filter removed."""
    own = [rows[place] for place in places]
    total = max(1, own[0]["reflections"])
    removed = ((f"f{row['order'] % len(SHADES)}", row["removed"] / total) for row in own)
    return lanes.draw_parts([("kept", own[-1]["left"] / total), *removed])


def _make_axis(rows: list[dict], *columns: str, start: float | None = None) -> lanes.Axis:
    return lanes.make_axis([start, *(row[column] for row in rows for column in columns)])


def _find_base_accuracy(item: dict, benchmark: str) -> float | None:
    rows = (r for r in item["table"] if (r["arm"], r["benchmark"]) == ("base", benchmark))
    return next((row["accuracy"] for row in rows), None)


def render_page(doc: dict, figures: dict[str, str]) -> str:
    """The page's HTML; ``doc["bounds"]`` says how much of the grid it shows.

    ``figures``: SVG texts of ``orion.report.figures`` by index in ``results`` and name, e.g.
    ``0/curves-loss``.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("orion.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = Markup("\n" + environment.get_template("script.js.j2").render())
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        doc=doc,
        n=lambda key, form: format_number(doc, key, form),
        text=functools.partial(mark_step, most=doc["bounds"]["characters"]),
        value=lambda key: look_up(doc, key),
        soft=soften,
        colour=colour,
        group=group_rows,
        divide=divide,
        list_removing=list_removing,
        sections=SECTIONS,
        shades=SHADES,
        script=script,
        # nothing is loaded, and no script runs but the page's own
        policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; script-src 'sha256-{digest}'",
        contrasts=contrasts.make_figure(doc, doc["bounds"]["contrasts"]),
        draw_scale=lanes.draw_scale,
        draw_grid=lanes.draw_grid,
        draw_lane=lanes.draw_lane,
        draw_contrast=contrasts.draw_row,
        draw_waterfall=draw_waterfall,
        make_axis=_make_axis,
        share_axis=lanes.make_axis([0.0, 1.0]),
        base_accuracy=_find_base_accuracy,
        figure=lambda key: (
            embed_figure(figures[key], "f" + key.replace("/", "-")) if key in figures else None
        ),
    )


def fit_page(doc: dict, figures: dict[str, str]) -> str:
    """The page with as much of the grid as MAX_BYTES hold.

    Sets ``doc["bounds"]`` and ``doc["arms_shown"]`` to what it shows.
    """
    doc["bounds"] = {name: most for name, (most, _) in (DETAILS | OVERVIEW).items()}
    before = 0
    while True:
        html = render_page(doc, figures)
        size = len(html.encode())
        # far too large, or the details are no longer what makes it large
        is_far = size > FAR * MAX_BYTES or 0 < before < 1.1 * size
        if size <= MAX_BYTES or not _halve(doc, is_far=is_far):
            return html
        before = size


def _halve(doc: dict, *, is_far: bool) -> bool:
    """Halve the details, and the overview too where the page is far from its size.

    False where nothing is left to halve.
    """
    before = (doc["bounds"], doc["arms_shown"])
    bounds, arms = before
    halved = {
        name: max(least, bounds[name] // 2) for name, (_, least) in (DETAILS | OVERVIEW).items()
    }
    details = {name: halved[name] for name in DETAILS}
    doc["arms_shown"] = max(min(FEWEST_ARMS, arms), arms // 2)
    doc["bounds"] = bounds | details
    if is_far or before == (doc["bounds"], doc["arms_shown"]):
        doc["bounds"] = bounds | halved
    return before != (doc["bounds"], doc["arms_shown"])
