"""The report's figures as SVG texts.

Input: the rows of one student's tables. Output: deterministic SVG without a date and with fixed
identifiers, whose text stays text.
"""

import io
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
    "sft_answer": "#a3a8b0",
    "sft_teacher": "#4aa3d8",
    "sft_teacher_matched": "#1f6fa8",
    "sft_own": "#2a9d72",
    "sft_rewrite": "#d99a1c",
    "orion_no_teacher": "#c47ab0",
    "orion_placebo": "#8067b7",
    "orion_sham": "#4f5d9c",
    "oracle": "#3e4a3d",
    "orion": "#d1495b",
}
# for arms that COLOURS does not name
OTHER_COLOURS = ("#7a5c3e", "#3e7a74", "#7a3e5c", "#5c7a3e")
# inches; narrow, so that the text stays readable where a phone shrinks the figure
WIDTH = 4.8


def colour(arm: str) -> str:
    """The arm's colour on every figure; an unknown arm gets one from its name."""
    return COLOURS.get(arm, OTHER_COLOURS[sum(map(ord, arm)) % len(OTHER_COLOURS)])


def draw_figures(item: dict, benchmarks: list[str]) -> dict[str, str]:
    """Name → SVG text of every figure that the rows of this student can fill."""
    figures = {
        "accuracy": draw_accuracy(item["table"], benchmarks),
        "lengths": draw_lengths(item["lengths"], benchmarks),
    }
    tested = [row for row in item["comparisons"] if row["difference"] is not None]
    measured = [
        row for row in item["error_coverage"] if row["scope"] == "all" and row["rate"] is not None
    ]
    optional = {
        "comparisons": (draw_comparisons, tested),
        "error_coverage": (draw_error_coverage, measured),
        "waterfall": (draw_waterfall, item["waterfall"]),
        "curves": (draw_curves, item["curves"]),
    }
    return figures | {name: draw(rows) for name, (draw, rows) in optional.items() if rows}


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
    return {"comparisons": draw_comparisons([*tested.values()], ticks, label)}


def draw_comparisons(
    rows: list[dict],
    ticks: Sequence[Sequence[float]] = (),
    label: str = "difference in points (thick: these models; thin: new runs; grey: unclear)",
) -> str:
    """One row per test.

    The thick bar is the interval over problems, for these very models; the thin bar the one over
    problems and runs, or students; the vertical line is zero. ``ticks``: differences of each
    student, one list per row.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 0.22 * len(rows) + 0.6))
        axes.axvline(0, color="#22262b", linewidth=1)
        for y, row in enumerate(rows):
            is_grey = row["reading"] in ("unclear", "exploratory")
            paint = "#9aa0a8" if is_grey else colour(row["arm"])
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
        _set_row_names(
            axes,
            [
                f"{row['arm']} − {row['against']}, {row['benchmark']}"
                f"{'' if row['status'] == 'registered' else ', ' + row['status']}"
                for row in rows
            ],
        )
        _set_label(figure, label)
        return _render_svg(figure)


def draw_error_coverage(rows: list[dict]) -> str:
    """One row per arm: share of reflections that revisit the wrong step, its interval, chance."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 0.22 * len(rows) + 0.6))
        for y, row in enumerate(rows):
            paint = colour(row["arm"])
            axes.plot(
                [100 * row["low"], 100 * row["high"]],
                [y, y],
                color=paint,
                linewidth=3.4,
                alpha=0.55,
            )
            axes.plot(100 * row["rate"], y, "o", color=paint, markersize=5)
            axes.plot(100 * row["chance"], y, "d", color="#22262b", markersize=4, fillstyle="none")
        _set_row_names(axes, [row["arm"] for row in rows])
        axes.set_xlim(0, 100)
        _set_label(figure, "reflections that revisit the wrong step, % (hollow diamond: chance)")
        return _render_svg(figure)


def draw_lengths(rows: list[dict], benchmarks: list[str]) -> str:
    """One row per arm and mark per benchmark: mean completion tokens.

    The bar is from the median to the 90th percentile.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    marks = "os^Dvp"
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 0.24 * len(arms) + 0.8))
        for row in rows:
            index = benchmarks.index(row["benchmark"])
            y = arms.index(row["arm"]) + 0.22 * (index - (len(benchmarks) - 1) / 2)
            axes.plot(
                [row["median"], row["p90"]],
                [y, y],
                color=colour(row["arm"]),
                linewidth=2,
                alpha=0.45,
            )
            axes.plot(
                row["mean"], y, marks[index % len(marks)], color=colour(row["arm"]), markersize=5
            )
        for index, benchmark in enumerate(benchmarks):
            axes.plot(
                [], [], marks[index % len(marks)], color="#5b626c", markersize=5, label=benchmark
            )
        _set_row_names(axes, arms)
        axes.set_xlim(0, 1.05 * max(max(row["mean"], row["p90"]) for row in rows))
        _set_label(figure, "completion tokens (mark: mean; bar: median to 90th percentile)")
        figure.legend(loc="outside upper right", ncols=3)
        return _render_svg(figure)


def draw_waterfall(rows: list[dict]) -> str:
    """One stacked bar per arm: what each filter removed, and what was left."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    names = list(dict.fromkeys(row["filter"] for row in rows))
    shades = plt.get_cmap("YlOrBr")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 0.24 * len(arms) + 1.0))
        for y, arm in enumerate(arms):
            of_arm = [row for row in rows if row["arm"] == arm]
            total = max(1, of_arm[0]["reflections"])
            left = 100 * of_arm[-1]["left"] / total
            axes.barh(y, left, height=0.6, color="#2a9d72")
            for row in of_arm:
                width = 100 * row["removed"] / total
                shade = shades(0.25 + 0.7 * names.index(row["filter"]) / max(1, len(names) - 1))
                axes.barh(
                    y, width, left=left, height=0.6, color=shade, edgecolor="white", linewidth=0.5
                )
                left += width
        removing = [
            name for name in names if any(row["removed"] for row in rows if row["filter"] == name)
        ]
        axes.barh(0, 0, color="#2a9d72", label="kept")
        for name in removing:
            axes.barh(
                0,
                0,
                color=shades(0.25 + 0.7 * names.index(name) / max(1, len(names) - 1)),
                label=name,
            )
        _set_row_names(axes, arms)
        axes.set_xlim(0, 100)
        axes.set_xlabel("reflections, %")
        figure.legend(loc="outside upper center", ncols=4)
        return _render_svg(figure)


def draw_curves(rows: list[dict]) -> str:
    """Training loss by step, one line per arm (mean over its seeds).

    A second panel where the token accuracy was logged.
    """
    metrics = [m for m in ("loss", "accuracy") if any(row[m] is not None for row in rows)]
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(metrics), 1, figsize=(WIDTH, 1.6 * len(metrics) + 0.7), squeeze=False
        )
        for axes, metric in zip(panels[:, 0], metrics, strict=True):
            for arm in arms:
                by_step: dict[int, list[float]] = {}
                for row in rows:
                    if row["arm"] == arm and row[metric] is not None:
                        by_step.setdefault(row["step"], []).append(row[metric])
                steps = sorted(by_step)
                means = [sum(by_step[s]) / len(by_step[s]) for s in steps]
                axes.plot(
                    steps,
                    means,
                    color=colour(arm),
                    linewidth=1.1,
                    label=arm if metric == metrics[0] else None,
                )
            axes.set_title(
                {"loss": "training loss", "accuracy": "token accuracy on the training text"}[metric]
            )
            axes.grid(axis="y")
        panels[-1, 0].set_xlabel("optimiser step (mean over seeds)")
        figure.legend(loc="outside upper center", ncols=4)
        return _render_svg(figure)
