"""Render the page: the content of report.json and the figures → one self-contained index.html.

The template only formats. It asks for every number by its place in the document, e.g.
``results/0/table/3/accuracy``, and writes that place as ``data-key``, so that a test can look each
number up.
"""

import re
from collections.abc import Callable
from typing import Any

import jinja2
from markupsafe import Markup

from orion.report.figures import colour

ABSENT = "–"


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
    text = format_value(look_up(doc, key), form)
    return Markup('<span class="n" data-key="{}" data-format="{}">{}</span>').format(
        key, form, text
    )


def embed_figure(svg: str, prefix: str) -> Markup:
    """A figure to embed: without the XML head, and with a prefix that makes its ids unique."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'((?:xlink:)?href="|url\()#', rf"\g<1>#{prefix}-", body)
    # the style sheet sets the size; the viewBox keeps the proportions
    body = re.sub(r'^<svg ([^>]*?)\bheight="[^"]*" ?', r"<svg \1", body, count=1)
    body = re.sub(r'^<svg ([^>]*?)\bwidth="[^"]*" ?', r"<svg \1", body, count=1)
    return Markup(body)


def group_rows(rows: list[dict], *columns: str) -> dict[tuple, list[int]]:
    """The numbers of the rows by their values of these columns, in the order of the rows."""
    found: dict[tuple, list[int]] = {}
    for number, row in enumerate(rows):
        found.setdefault(tuple(row[column] for column in columns), []).append(number)
    return found


def render_page(doc: dict, figures: dict[str, str]) -> str:
    """The page's HTML.

    ``figures``: SVG texts of ``orion.report.figures`` by index in ``results`` and name, e.g.
    ``0/accuracy``, and those of groups, ``g0/comparisons``.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("orion.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return template.render(
        doc=doc,
        n=lambda key, form: format_number(doc, key, form),
        colour=colour,
        group=group_rows,
        figure=lambda key: (
            embed_figure(figures[key], "f" + key.replace("/", "-")) if key in figures else None
        ),
    )
