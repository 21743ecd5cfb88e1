"""Arms from axes: all combinations, or one factor at a time against the baseline."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from sslkit.errors import RecipeError, nearest
from sslkit.recipe.document import Document
from sslkit.recipe.layers import Change
from sslkit.recipe.load import changes_at
from sslkit.recipe.places import Path, shown

MODES = ("one_factor", "full")


@dataclass
class GridSection:
    """Named axes, each with its points."""

    axes: dict[str, Any]
    """By name: a list of values, where the name is a recipe key such as optim.lr; or a mapping of points,
    each with a name and its changes."""
    mode: str = "one_factor"
    """full: every combination of points; one_factor: each point alone, all else as in the baseline."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            near = nearest(self.mode, MODES)
            raise RecipeError(f"'mode' is '{self.mode}', but must be one of {', '.join(MODES)}{near}")
        for name, points in self.axes.items():
            if not isinstance(points, list | dict) or not points:
                raise RecipeError(
                    f"'axes' has '{name}' as {shown(points)}, but an axis is a list of values, or a mapping of"
                    " points"
                )
        if not self.axes:
            raise RecipeError("'axes' is empty, but a grid has at least one")

    def points(self) -> Mapping[str, Mapping[str, Any]]:
        """By axis its points by name: the value of its key, or its changes."""
        return {
            axis: points if isinstance(points, dict) else {_label(axis, value): value for value in points}
            for axis, points in self.axes.items()
        }


@dataclass(frozen=True)
class Cell:
    """An arm before its recipe is resolved."""

    name: str
    at: Path
    """Where in the file it is written."""
    changes: tuple[Change, ...]
    points: Mapping[str, str] = field(default_factory=dict)
    """By axis the name of its point."""


def cells(grid: GridSection, document: Document) -> Iterator[Cell]:
    """The arms of a grid, in the order of its axes.

    Raises:
        RecipeError: a point's changes are no mapping, or change what a study cannot.
    """
    axes = grid.points()
    if grid.mode == "one_factor":
        for axis, points in axes.items():
            for point in points:
                yield _cell(grid, document, {axis: point})
        return
    for names in product(*axes.values()):
        yield _cell(grid, document, dict(zip(axes, names, strict=True)))


def _cell(grid: GridSection, document: Document, points: Mapping[str, str]) -> Cell:
    changes = [change for axis, point in points.items() for change in _changes(grid, document, axis, point)]
    return Cell(",".join(points.values()), ("grid", "axes", next(iter(points))), tuple(changes), points)


def _changes(grid: GridSection, document: Document, axis: str, point: str) -> list[Change]:
    at: Path = ("grid", "axes", axis)
    if isinstance(grid.axes[axis], dict):
        return changes_at(document, (*at, point), f"{axis} {point}")
    value = grid.points()[axis][point]
    return [Change(tuple(axis.split(".")), value, lambda _: document.place(at))]


def _label(key: str, value: Any) -> str:
    """`lr=0.001`: the last word of a key with a value that can stand in a folder's name."""
    text = shown(value).replace(" ", "").replace("/", "_").replace("'", "")
    return f"{key.rpartition('.')[2]}={text}"
