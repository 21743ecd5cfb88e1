"""figures/invariance: the curves, and what the operations look like."""

# N images, C channels, S side

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sslkit.core.evaluator import Estimate
from sslkit.eval.invariance import HELD, LOST, MOVED, STAYED, Curve, Point
from sslkit.eval.invariance_operations import Operation
from sslkit.style import COLOURS, GREY, bare, new_figure, save, shown, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 5
SIMILARITY, ANSWER, FLOOR = COLOURS[0], COLOURS[4], GREY
VERDICTS = {"ignored": COLOURS[2], "noticed": GREY, "kept": COLOURS[1], "unknown": GREY}


def draw_curves(curves: Sequence[Curve], path: Path) -> Path:
    """One panel for each operation: similarity, and kNN or the share that finds its own image."""
    rows = math.ceil(len(curves) / COLUMNS)
    figure = new_figure(11.5, 2.1 * rows + 1.4)
    labelled = curves[0].points[0.0].knn is not None
    answer = "kNN accuracy" if labelled else "share nearest to its own unchanged image"
    floor = "; grey diamond: the untrained network" if any(c.floor for c in curves) else ""
    ignored = f"similarity {STAYED:g} or more" + (f" and {HELD:.0%} of the kNN" if labelled else "")
    kept = f"below {MOVED:g}" + (f" or less than {LOST:.0%} of the kNN" if labelled else "")
    title(
        figure,
        "What this backbone ignores and what it keeps",
        "Similarity of changed and unchanged image (blue; 1: unchanged, 0: as far as another image"
        f"{floor}) and {answer} (orange), as each operation grows from none to twice its strength in"
        f" training. Bands: 95 % of the bootstrap over images.\nAt strength 1, ignored: {ignored}; kept:"
        f" {kept}; else noticed. *: not trained on.",
    )
    grid: Any = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    lowest = min(point.similarity.value for curve in curves for point in curve.points.values())
    for axes, curve in zip(grid.flat, curves, strict=False):
        _draw_curve(axes, curve)
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    grid[0, 0].set_ylim(min(-0.1, max(lowest, -0.6) - 0.05), 1.05)
    grid[0, 0].set_xticks([0, 1, 2])
    for axes in grid.flat[max(0, len(curves) - COLUMNS) : len(curves)]:
        axes.tick_params(labelbottom=True)
    return save(figure, path)


def _draw_curve(axes: "Axes", curve: Curve) -> None:
    operation, strengths = curve.operation, list(curve.points)
    points = list(curve.points.values())
    _draw_band(axes, strengths, [_answer(point) for point in points], ANSWER)
    _draw_band(axes, strengths, [point.similarity for point in points], SIMILARITY)
    if curve.floor is not None:
        axes.plot([1], [curve.floor.value], marker="D", markersize=4, color=FLOOR, fillstyle="none")
    axes.axvline(1, color="#cccccc", linewidth=0.8, zorder=0)
    axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
    axes.set_title(
        f"{operation.name}{'' if operation.trained else '*'}", fontsize=10, loc="left", fontweight="bold"
    )
    axes.set_title(curve.verdict, fontsize=9, loc="right", color=VERDICTS[curve.verdict])
    axes.set_xlabel(operation.meaning, fontsize=8, color=GREY)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _answer(point: Point) -> Estimate:
    return point.retrieved if point.knn is None else point.knn


def _draw_band(axes: "Axes", strengths: list[float], estimates: list[Estimate], colour: str) -> None:
    low, high = [e.low for e in estimates], [e.high for e in estimates]
    axes.fill_between(strengths, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(strengths, [e.value for e in estimates], marker="o", markersize=3, color=colour, linewidth=1.5)


def draw_examples(
    pixels: Tensor, operations: Sequence[Operation], strengths: Sequence[float], path: Path
) -> Path:
    """One row for each operation, the most colourful image [C, S, S] at each strength."""
    grown = sorted({0.0, *strengths})
    colourful = (pixels.amax(1) - pixels.amin(1)).mean((1, 2)).argmax()
    image = pixels[colourful][None]  # [1, C, S, S]: the first is changed upwards
    halves = math.ceil(len(operations) / 2)
    figure = new_figure(11.5, 0.86 * halves + 1.2)
    title(
        figure,
        "What was done to the images",
        "Columns: strength, 1 the most that training drew. Colours, turns and shifts also go the other way.",
    )
    grid: Any = figure.subplots(
        halves,
        2 * len(grown) + 3,
        squeeze=False,
        width_ratios=[2.2, *[1] * len(grown), 0.3, 2.2, *[1] * len(grown)],
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for place, operation in enumerate(operations):
        row, start = place % halves, (place // halves) * (len(grown) + 2)
        _label(grid[row, start], operation)
        there = {0.0, *operation.strengths(grown)}
        for axes, strength in zip(grid[row, start + 1 :], grown, strict=False):
            if row == 0:
                axes.set_title(f"{strength:g}", fontsize=8, color=GREY)
            if strength in there:
                axes.set_axis_on()
                changed = operation(image, strength) if strength else image
                bare(axes).imshow(shown(changed[0]), interpolation="nearest")
    return save(figure, path)


def _label(axes: "Axes", operation: Operation) -> None:
    star = "" if operation.trained else "*"
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right"}
    axes.text(1, 0.55, f"{operation.name}{star}", fontsize=9, fontweight="bold", va="bottom", **place)
    axes.text(1, 0.45, operation.meaning, fontsize=7, color=GREY, va="top", **place)
