"""A full grid of two axes as a heat map of the main metric."""

from dataclasses import dataclass

from sslkit.ablation.page_curves import grid_axes
from sslkit.ablation.page_forest import marks
from sslkit.ablation.result import ArmResult, StudyResult
from sslkit.ablation.tables import DECIMALS, metric_words, signed


@dataclass(frozen=True)
class Cell:
    """An arm's place in the grid."""

    name: str
    is_baseline: bool
    mean: str
    """Empty without a finished run."""
    difference: str
    share: float | None
    """Its mean between the lowest and the highest of the grid, 0 to 100."""
    marks: tuple[str, ...]


@dataclass(frozen=True)
class HeatMap:
    """Rows are the points of the first axis, columns those of the second."""

    metric: str
    row_axis: str
    column_axis: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    low: str
    high: str


def heat_map(result: StudyResult) -> HeatMap | None:
    """None where the study is no full grid of exactly two axes, or nothing has finished."""
    axes = grid_axes(result.study)
    if not axes:
        return None
    (row_axis, rows), (column_axis, columns) = axes.items()
    found = {(a.arm.points.get(row_axis), a.arm.points.get(column_axis)): a for a in result.arms}
    inside = [found[row, column] for row in rows for column in columns if (row, column) in found]
    means = [mean for arm in inside if (mean := arm.measures[0].spread.mean) is not None]
    if not means:
        return None
    low, high = min(means), max(means)
    table = tuple(
        (row, tuple(_cell(found.get((row, column)), result, low, high) for column in columns)) for row in rows
    )
    words = metric_words(result.study.metrics[0])
    edges = f"{low:.{DECIMALS}f}", f"{high:.{DECIMALS}f}"
    return HeatMap(words, row_axis, column_axis, tuple(columns), table, *edges)


def _cell(arm: ArmResult | None, result: StudyResult, low: float, high: float) -> Cell | None:
    if arm is None:
        return None
    measure = arm.measures[0]
    mean, found = measure.spread.mean, measure.difference
    share = None if mean is None else round(100 * (mean - low) / (high - low), 1) if high > low else 50.0
    return Cell(
        arm.name,
        arm is result.arms[0],
        "" if mean is None else f"{mean:.{DECIMALS}f}",
        "" if found is None else signed(found.mean),
        share,
        tuple(marks(arm)),
    )
