"""comparison.png: the main metric over the images seen and over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from sslkit.comparison.groups import Group
from sslkit.comparison.reading import Point, Run
from sslkit.comparison.result import Comparison
from sslkit.style import COLOURS, GREY, new_figure, save, title
from sslkit.train.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE_NAME = "comparison.png"
STYLES = tuple((colour, marker) for marker, colour in product(("o", "s", "^", "D"), COLOURS))
"""Colour and marker of each group; they begin again after the last."""

Place = Callable[[Run, Point], float | None]
"""Where a point stands on the horizontal axis."""


@dataclass(frozen=True)
class Panel:
    """One horizontal axis."""

    label: str
    place: Place
    budget: float | None
    """Where all runs are compared at equal cost."""


def draw(comparison: Comparison, path: Path) -> Path:
    """Mean and standard deviation of each group, with what the untrained network reaches dashed."""
    metric = comparison.metrics[0]
    scale = 100.0 if _is_share(comparison, metric) else 1.0
    figure = new_figure(11.5, 4.6)
    title(figure, metric + (", %" if scale == 100 else ""), BELOW)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, panel in zip(axes, _panels(comparison), strict=True):
        for i, group in enumerate(comparison.groups):
            colour, marker = STYLES[i % len(STYLES)]
            _draw_group(axis, group, metric, panel.place, scale, colour=colour, marker=marker)
        _finish(axis, panel)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", fontsize=9, frameon=False)
    return save(figure, path)


BELOW = (
    "Mean over seeds, band: standard deviation; dashed: the same network untrained; small dots: "
    "evaluations that not every run of a group has; dotted: as far as every run came."
)


def _is_share(comparison: Comparison, metric: str) -> bool:
    return all(0 <= p.value <= 1 for run in comparison.runs for p in run.curves.get(metric, ()))


def _panels(comparison: Comparison) -> list[Panel]:
    """Epochs where an epoch is the same for all runs, else images; and time."""
    budget = comparison.budget
    minutes = None if budget.seconds is None else budget.seconds / 60
    time = Panel("training time, minutes", _minutes, minutes)
    epochs = {run.steps_per_epoch and run.steps_per_epoch * run.batch_size for run in comparison.runs}
    images = epochs.pop()
    if images is None or epochs:
        return [
            Panel("thousand images seen", lambda _, point: point.images / 1000, budget.images / 1000),
            time,
        ]
    return [Panel("epochs", lambda _, point: point.images / images, budget.images / images), time]


def _minutes(_: Run, point: Point) -> float | None:
    return None if point.seconds is None else point.seconds / 60


def _draw_group(
    axes: "Axes", group: Group, metric: str, place: Place, scale: float, *, colour: str, marker: str
) -> None:
    curves = [
        {p.step: (x, scale * p.value) for p in run.curves.get(metric, ()) if (x := place(run, p)) is not None}
        for run in group.runs
    ]
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    xs, means, spreads = _means(curves, shared)
    label = f"{group.name}{' *' if group.marks else ''}, {counted(len(group.seeds), 'seed')}"
    axes.plot(xs, means, color=colour, marker=marker, markersize=4, linewidth=1.5, label=label)
    low, high = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
    axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    others = [at for curve in curves for step, at in curve.items() if step not in shared]
    axes.scatter([x for x, _ in others], [y for _, y in others], color=colour, s=6, alpha=0.6)
    untrained = [curve[0][1] for curve in curves if 0 in curve]
    if untrained:
        axes.axhline(fmean(untrained), color=colour, linestyle="--", linewidth=1, alpha=0.6)


def _means(
    curves: Sequence[dict[int, tuple[float, float]]], steps: Sequence[int]
) -> tuple[list[float], list[float], list[float]]:
    """Place, mean and deviation (0 of a single run) at steps that every curve has."""
    points = [[curve[step] for curve in curves] for step in steps]
    xs = [fmean(x for x, _ in at) for at in points]
    means = [fmean(y for _, y in at) for at in points]
    return xs, means, [stdev(y for _, y in at) if len(at) > 1 else 0.0 for at in points]


def _finish(axes: "Axes", panel: Panel) -> None:
    if panel.budget is not None:
        axes.axvline(panel.budget, color=GREY, linestyle=":", linewidth=1)
    axes.set_xlabel(panel.label, fontsize=9)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
