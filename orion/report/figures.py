"""The report's figures as SVG files, and the curves of the page.

Intervals on the page are drawn by ``orion.report.lanes``. Input: the rows of one student's tables.
Output: deterministic SVG without a date and with fixed identifiers, whose text stays text.
"""

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "orion",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 8.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "text.color": "#3d434c",
    "axes.labelcolor": "#3d434c",
    "axes.titlesize": 8.6,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": "#5b626c",
    "ytick.color": "#3d434c",
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "xtick.major.size": 2.5,
    "lines.solid_capstyle": "butt",
    "legend.fontsize": 7.6,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.2,
    "figure.constrained_layout.use": True,
}
COLOURS = {
    "base": "#6b7280",
    "sft_answer": "#8b919a",
    "sft_teacher": "#3f96cb",
    "sft_teacher_matched": "#1f6fa8",
    "sft_own": "#2a9d72",
    "sft_rewrite": "#c08412",
    "orion_no_teacher": "#c47ab0",
    "orion_placebo": "#8067b7",
    "orion_sham": "#5a6bb0",
    "oracle": "#6b7f5c",
    "orion": "#d1495b",
}
# for arms that COLOURS does not name
OTHER_COLOURS = (
    *("#a0764c", "#3f8f88", "#a8557d", "#6d8f45"),
    *("#5f79c2", "#b0653f", "#8a6bb8", "#7f8452"),
)
# for curves of arms without a colour of their own
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
CURVE_TITLES = {"loss": "training loss", "accuracy": "token accuracy on the training text"}
# inches; narrow, so that the text stays readable where a phone shrinks the figure
WIDTH = 4.2
# inches of a figure of comparisons beside the names of its tests, and of a character of these
AXES_WIDTH, CHARACTER_WIDTH = 2.6, 0.065
# arms, or comparisons, of a figure; curves, and points of one; columns of a legend
ROWS, CURVES, POINTS, LEGEND_COLUMNS = 60, 24, 300, 3


def colour(arm: str) -> str:
    """The arm's colour on every figure; an unknown arm gets one from its name."""
    return COLOURS.get(arm, OTHER_COLOURS[sum(map(ord, arm)) % len(OTHER_COLOURS)])


def draw_figures(item: dict, benchmarks: list[str]) -> dict[str, str]:
    """Name → SVG text of every figure that the rows of this student can fill."""
    arms = set(list(dict.fromkeys(row["arm"] for row in item["table"]))[:ROWS])
    rows = [row for row in item["table"] if row["arm"] in arms]
    figures = {"accuracy": draw_accuracy(rows, benchmarks)}
    tested = [row for row in item["comparisons"] if row["difference"] is not None]
    if tested:
        figures["comparisons"] = draw_comparisons(tested[:ROWS])
    for metric in CURVE_TITLES:
        if any(row[metric] is not None for row in item["curves"]):
            figures[f"curves-{metric}"] = draw_curves(item["curves"], metric)
    return figures


def _render_svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    plt.close(figure)
    return re.sub(r"[ \t]+\n", "\n", buffer.getvalue())


def _set_label(figure: Figure, text: str) -> None:
    # centred on the figure: the axes are too narrow for the text
    figure.supxlabel(text, fontsize=STYLE["font.size"], color=STYLE["axes.labelcolor"])


def _set_row_names(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def draw_accuracy(rows: list[dict], benchmarks: list[str]) -> str:
    """One panel per benchmark: a dot with its interval per arm.

    The untrained student is also a dashed line.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(benchmarks),
            1,
            figsize=(WIDTH, len(benchmarks) * (0.19 * len(arms) + 0.55)),
            squeeze=False,
            sharex=True,
        )
        for axes, benchmark in zip(panels[:, 0], benchmarks, strict=True):
            for row in (row for row in rows if row["benchmark"] == benchmark):
                y, paint = arms.index(row["arm"]), colour(row["arm"])
                if row["arm"] == "base":
                    axes.axvline(
                        100 * row["accuracy"], color=paint, linewidth=1, linestyle=(0, (4, 3))
                    )
                axes.plot(
                    [100 * row["low"], 100 * row["high"]],
                    [y, y],
                    color=paint,
                    linewidth=2,
                    alpha=0.55,
                )
                axes.plot(100 * row["accuracy"], y, "o", color=paint, markersize=5)
                ends = [100 * row["lowest_seed"], 100 * row["highest_seed"]]
                axes.plot(ends, [y, y], "|", color="#22262b", markersize=5.5, markeredgewidth=0.8)
            _set_row_names(axes, arms)
            axes.set_title(benchmark)
        _set_label(figure, "accuracy, % (bar: interval over problems; ticks: seeds)")
        return _render_svg(figure)


def draw_group(item: dict) -> dict[str, str]:
    """Name → SVG text of the figures of a group of students; none where nothing was tested."""
    tested = {i: row for i, row in enumerate(item["comparisons"]) if row["difference"] is not None}
    if not tested:
        return {}
    ticks = [[s["difference"] for s in item["alone"] if s["test"] == i] for i in tested]
    unit = "students" if item["students"] > 1 else "draws of this student"
    label = f"points (thick: these models; thin: new {unit}; ticks: students)"
    rows = [*tested.values()][:ROWS]
    return {"comparisons": draw_comparisons(rows, ticks, label)}


def draw_comparisons(
    rows: list[dict],
    ticks: Sequence[Sequence[float]] = (),
    label: str = "difference in points (thick: these models; thin: new runs; grey: unclear)",
) -> str:
    """One row per test.

    The thick bar is the interval over problems, for these very models; the thin bar the one over
    problems and runs, or students; the vertical line is zero, the shaded part within the margin.
    ``ticks``: differences of each student, one list per row.
    """
    names = [_name_test(row) for row in rows]
    width = max(WIDTH, AXES_WIDTH + CHARACTER_WIDTH * max(map(len, names)))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(width, 0.22 * len(rows) + 0.6))
        axes.axvline(0, color="#22262b", linewidth=1)
        for y, row in enumerate(rows):
            is_grey = row["reading"] in ("unclear", "exploratory")
            paint = "#9aa0a8" if is_grey else colour(row["arm"])
            if row["margin"] is not None:
                high = row["margin"] if row["kind"] == "equivalence" else 0
                within = 100 * (high + row["margin"])
                axes.barh(y, within, left=-100 * row["margin"], height=0.8, color="#e3ebf3")
            if row["low_runs"] is not None:
                axes.plot(
                    [100 * row["low_runs"], 100 * row["high_runs"]],
                    [y, y],
                    color=paint,
                    linewidth=1.2,
                )
            axes.plot(
                [100 * row["low"], 100 * row["high"]],
                [y, y],
                color=paint,
                linewidth=3.4,
                alpha=0.55,
            )
            axes.plot(100 * row["difference"], y, "o", color=paint, markersize=5)
            if ticks:
                axes.plot(
                    [100 * each for each in ticks[y]],
                    [y] * len(ticks[y]),
                    "|",
                    color="#22262b",
                    markersize=5.5,
                    markeredgewidth=0.8,
                )
        _set_row_names(axes, names)
        _set_label(figure, label)
        return _render_svg(figure)


def _name_test(row: dict) -> str:
    kind = "" if row["kind"] == "superiority" else f", {row['kind']}"
    status = "" if row["status"] == "registered" else f", {row['status']}"
    return f"{row['arm']} − {row['against']}, {row['benchmark']}{kind}{status}"


def draw_curves(rows: list[dict], metric: str) -> str:
    """A curve of the training by step, one line per arm (mean over its seeds).

    ``metric``: loss, or accuracy. Arms beyond CURVES are left out.
    """
    by_arm: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row[metric] is not None:
            by_step = by_arm.setdefault(row["arm"], {})
            by_step.setdefault(row["step"], []).append(row[metric])
    shown = list(by_arm.items())[:CURVES]
    lines = math.ceil(len(shown) / LEGEND_COLUMNS)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 2.4 + 0.15 * lines))
        for number, (arm, by_step) in enumerate(shown):
            steps = _thin_out(sorted(by_step))
            means = [sum(by_step[step]) / len(by_step[step]) for step in steps]
            # arms that COLOURS does not name share few colours
            dashes = DASHES[number // len(OTHER_COLOURS) % len(DASHES)]
            style = "-" if arm in COLOURS else dashes
            axes.plot(steps, means, color=colour(arm), linewidth=1.1, linestyle=style, label=arm)
        axes.set_title(CURVE_TITLES[metric])
        axes.grid(axis="y")
        axes.set_xlabel("optimiser step (mean over seeds)")
        figure.legend(loc="outside upper center", ncols=LEGEND_COLUMNS)
        return _render_svg(figure)


def _thin_out(steps: list[int]) -> list[int]:
    """At most about POINTS of the steps, the first and the last among them."""
    stride = max(1, len(steps) // POINTS)
    return [*steps[:-1:stride], steps[-1]]
