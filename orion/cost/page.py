"""The page of ``orion cost``: the tables as one HTML file without scripts.

Inputs: tables of texts. Output: HTML. It is no part of the report, which holds no durations.
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

# title, rows with their heads, note
Table = tuple[str, list[list[str]], str]


def render(*tables: Table) -> str:
    """The page; every text is escaped."""
    return _template().render(tables=tables)


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2")
