"""Render the page: report.json's content and the figures → one self-contained index.html.

The template only formats: every number is asked for by its place in the document (``streets/0/table/3/accuracy``) and
carries that place as ``data-key``, so that a test can look each one up.
"""

import re
from collections.abc import Callable
from typing import Any

import jinja2
from markupsafe import Markup

from orion.report.figures import colour

ABSENT = "–"


def show(value: Any, form: str) -> str:
    """A value as the page prints it; ``form`` is one of FORMS."""
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
    """The value at a place like ``streets/0/base/accuracy``."""
    for part in key.split("/"):
        doc = doc[int(part)] if isinstance(doc, list) else doc[part]
    return doc


def number(doc: dict, key: str, form: str) -> Markup:
    """A number with the place it comes from."""
    text = show(look_up(doc, key), form)
    return Markup('<span class="n" data-key="{}" data-format="{}">{}</span>').format(
        key, form, text
    )


def inline(svg: str, prefix: str) -> Markup:
    """A figure for embedding: without the XML head, its identifiers made unique by a prefix."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'((?:xlink:)?href="|url\()#', rf"\g<1>#{prefix}-", body)
    # fixed sizes would defeat the style sheet; the viewBox keeps the proportions
    body = re.sub(r'^<svg ([^>]*?)\bheight="[^"]*" ?', r"<svg \1", body, count=1)
    body = re.sub(r'^<svg ([^>]*?)\bwidth="[^"]*" ?', r"<svg \1", body, count=1)
    return Markup(body)


def render(doc: dict, figures: dict[str, str]) -> str:
    """The page's HTML. ``figures`` maps "place of the street/name" (``0/accuracy``) to SVG texts drawn by this package."""
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
        n=lambda key, form: number(doc, key, form),
        colour=colour,
        figure=lambda key: (
            inline(figures[key], "f" + key.replace("/", "-")) if key in figures else None
        ),
    )
