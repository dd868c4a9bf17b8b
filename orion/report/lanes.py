"""Pictures inside table rows: intervals and bars as SVG whose lengths are percentages.

Such a lane fills whatever width its column has and takes its colours from the style sheet, so one
figure serves a wide screen, a phone, the dark mode and print, and its labels are ordinary text.
Input: numbers. Output: markup; no text of data or models reaches it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

# steps between the marks of an axis, by powers of ten; about this many marks
STEPS, MARKS = (1, 2, 2.5, 5, 10), 6
# an interval may reach this far beyond the rest before it is cut: one on two runs may be very wide
REACH = 1.6
# the room at both ends, as a share of the range
ROOM = 0.04


@dataclass(frozen=True)
class Axis:
    """A linear axis. ``marks``: values with a label."""

    low: float
    high: float
    marks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value lies, in percent of the width; values beyond the axis lie at its end."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 1)


def make_axis(values: Iterable[float | None], far: Iterable[float | None] = ()) -> Axis:
    """An axis that holds the values. Of ``far`` it holds what is not far beyond them."""
    known = [value for value in values if value is not None] or [0.0]
    low, high = min(known), max(known)
    edge = REACH * max(abs(low), abs(high))
    reached = [min(edge, max(-edge, value)) for value in far if value is not None]
    low, high = min([low, *reached]), max([high, *reached])
    width = (high - low) or 0.1
    low, high = low - ROOM * width, high + ROOM * width
    step = _choose_step((high - low) / MARKS)
    first, last = math.ceil(low / step), math.floor(high / step)
    return Axis(low, high, tuple(round(i * step, 10) for i in range(first, last + 1)))


def _choose_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in STEPS if step * power >= least - 1e-12)


def draw_scale(axis: Axis, unit: float = 100.0) -> Markup:
    """The labels of an axis, in ``unit`` parts of one."""
    labels = "".join(
        f'<text x="{axis.place(mark)}%" y="75%">{_write(mark * unit)}</text>' for mark in axis.marks
    )
    return Markup(f'<svg class="lane scale" aria-hidden="true">{labels}</svg>')


def draw_grid(axis: Axis) -> str:
    """Lines at the marks as a picture of the style sheet, for the columns of all lanes at once.

    Its greys serve the light and the dark mode, since such a picture knows no variables.
    """
    lines = "".join(
        f"<line x1='{axis.place(mark)}%' x2='{axis.place(mark)}%' y2='100%' "
        f"stroke='{'#7c838d' if mark == 0 else '#80808055'}'/>"
        for mark in axis.marks
    )
    svg = f"<svg xmlns='http://www.w3.org/2000/svg'>{lines}</svg>"
    return f'url("data:image/svg+xml,{quote(svg)}")'


def _write(value: float) -> str:
    return f"{value:,.6g}".replace("-", "−")


def _draw_line(kind: str, axis: Axis, value: float) -> str:
    at = axis.place(value)
    return f'<line class="{kind}" x1="{at}%" x2="{at}%" y2="100%"/>'


def _draw_bar(kind: str, axis: Axis, ends: Sequence[float | None]) -> str:
    """A horizontal line between two values, with an arrow where one is beyond the axis."""
    low, high = ends
    if low is None or high is None:
        return ""
    text = (
        f'<line class="{kind}" x1="{axis.place(low)}%" x2="{axis.place(high)}%" y1="50%" y2="50%"/>'
    )
    if low < axis.low:
        text += '<use href="#arrow-left" x="0" y="50%"/>'
    if high > axis.high:
        text += '<use href="#arrow-right" x="100%" y="50%"/>'
    return text


def draw_lane(
    axis: Axis,
    value: float | None,
    *,
    thick: Sequence[float | None] = (None, None),
    thin: Sequence[float | None] = (None, None),
    band: Sequence[float | None] = (None, None),
    ticks: Iterable[float] = (),
    diamond: float | None = None,
    dashed: float | None = None,
    colour: str | None = None,
) -> Markup:
    """One row of a figure: a dot, up to two intervals, a shaded band, ticks and a diamond.

    ``dashed``: a value at which a dashed line runs through the lane.
    ``colour``: of the palette of ``orion.report.figures``; grey without one.
    """
    parts = ""
    if None not in band:
        low, high = (axis.place(end or 0.0) for end in band)
        parts += f'<rect class="band" x="{low}%" width="{round(high - low, 1)}%" height="100%"/>'
    if dashed is not None:
        parts += _draw_line("dashed", axis, dashed)
    parts += _draw_bar("thin", axis, thin) + _draw_bar("thick", axis, thick)
    for tick in ticks:
        at = axis.place(tick)
        parts += f'<line class="tick" x1="{at}%" x2="{at}%" y1="22%" y2="78%"/>'
    if value is not None:
        parts += f'<circle cx="{axis.place(value)}%" cy="50%" r="4"/>'
    if diamond is not None:
        parts += f'<use href="#diamond" x="{axis.place(diamond)}%" y="50%"/>'
    style = f' style="color:{colour}"' if colour else ""
    return Markup(f'<svg class="lane" aria-hidden="true"{style}>{parts}</svg>')


def draw_parts(shares: Iterable[tuple[str, float]]) -> Markup:
    """A bar of parts: (class of the style sheet, share of the width) from left to right."""
    parts, left = "", 0.0
    for kind, share in shares:
        if share > 0:
            parts += (
                f'<rect class="{kind}" x="{100 * left:.2f}%" width="{100 * share:.2f}%" '
                'y="18%" height="64%"/>'
            )
        left += share
    return Markup(f'<svg class="lane" aria-hidden="true">{parts}</svg>')


def draw_contrast(
    axis: Axis, row: dict[str, Any], colour: str | None, ticks: Iterable[float]
) -> Markup:
    """The lane of a comparison.

    The band is where the arm counts as not inferior though below, or as equivalent.
    """
    margin, kind = row["margin"], row["kind"]
    band: tuple[float | None, float | None] = (None, None)
    if margin is not None:
        band = (-margin, margin if kind == "equivalence" else 0.0)
    return draw_lane(
        axis,
        row["difference"],
        thick=(row["low"], row["high"]),
        thin=(row["low_runs"], row["high_runs"]),
        band=band,
        ticks=ticks,
        colour=colour,
    )


def make_contrast_axis(rows: Sequence[dict[str, Any]]) -> Axis:
    """The one axis of all comparisons: zero, their differences, intervals and margins."""
    near = [0.0]
    for row in rows:
        near += [row[key] for key in ("difference", "low", "high") if row[key] is not None]
        if row["margin"] is not None:
            near += [-row["margin"], row["margin"] if row["kind"] == "equivalence" else 0.0]
    return make_axis(near, [row[key] for row in rows for key in ("low_runs", "high_runs")])
