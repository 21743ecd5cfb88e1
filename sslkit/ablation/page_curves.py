"""The arms' curves over the images seen, made ready for the page's charts."""

from collections.abc import Sequence
from typing import Any

from sslkit.ablation.result import ArmResult, StudyResult
from sslkit.ablation.study import Arm, Study
from sslkit.comparison.groups import Spread

COLOURS = 6
"""Of the page's palette; its last one is near the text's and stays the baseline's."""
DASHES = 3


def styles(study: Study) -> list[dict[str, Any]]:
    """How each arm is drawn: in a full grid of two axes colour and dashes tell where it stands."""
    axes = grid_axes(study)
    others = iter(range(len(study.arms)))
    found = []
    for arm in study.arms:
        is_baseline = arm is study.baseline
        colour, dash = _in_grid(arm, axes) if axes else (None, 0) if is_baseline else _in_order(next(others))
        found.append({"name": arm.name, "baseline": is_baseline, "colour": colour, "dash": dash})
    return found


def grid_axes(study: Study) -> dict[str, list[str]]:
    """The axes of a full grid of exactly two, with their points; else none."""
    grid = study.section.grid
    return study.axes if grid is not None and grid.mode == "full" and len(study.axes) == 2 else {}


def _in_order(number: int) -> tuple[int, int]:
    return number % COLOURS, number // COLOURS % DASHES


def _in_grid(arm: Arm, axes: dict[str, list[str]]) -> tuple[int | None, int]:
    """The longer axis has the colours; an arm outside the grid is drawn as a baseline is."""
    longer, shorter = sorted(axes, key=lambda axis: -len(axes[axis]))
    if longer not in arm.points or shorter not in arm.points:
        return None, 0
    places = axes[longer].index(arm.points[longer]), axes[shorter].index(arm.points[shorter])
    return places[0] % COLOURS, places[1] % DASHES


def curves(result: StudyResult) -> list[dict[str, Any]]:
    """A chart for each distinct metric that was evaluated, the main one first."""
    names = dict.fromkeys(metric.name for metric in result.study.metrics)
    charts = [{"title": name, "lines": [_line(arm, name) for arm in result.arms]} for name in names]
    return [chart for chart in charts if any(chart["lines"])]


def _line(arm: ArmResult, metric: str) -> dict[str, Any] | None:
    """Mean, least and greatest value over the seeds by the images seen; None without a finished run."""
    at: dict[int, list[float]] = {}
    for run in arm.runs:
        for point in run.curves.get(metric, ()):
            at.setdefault(point.images, []).append(point.value)
    if not at:
        return None
    images = sorted(at)
    values = [at[x] for x in images]
    return {
        "x": images,
        "mean": [_rounded(Spread(tuple(v)).mean) for v in values],
        "low": _rounded_all(map(min, values)),
        "high": _rounded_all(map(max, values)),
        "n": list(map(len, values)),
    }


def _rounded_all(values: "Sequence[float] | map[float]") -> list[float]:
    return [_rounded(value) for value in values]


def _rounded(value: float | None) -> float:
    assert value is not None
    return float(f"{value:.5g}")
