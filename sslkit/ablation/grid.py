"""Arms from axes: all combinations, or one factor at a time against the baseline."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from sslkit.errors import RecipeError, nearest
from sslkit.recipe.document import Document
from sslkit.recipe.layers import Change
from sslkit.recipe.load import FIXED, changes_at
from sslkit.recipe.places import Path, Place, shown

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
                    f"'axes' has '{name}' as {shown(points)}, but an axis is a list of values, or a mapping"
                    " of points"
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
        RecipeError: a point's changes are no mapping, or change what a study cannot; a value stands twice.
    """
    axes = [list(_points(axis, points, document)) for axis, points in grid.axes.items()]
    chosen = product(*axes) if grid.mode == "full" else ((point,) for axis in axes for point in axis)
    for points in chosen:
        changes = tuple(change for point in points for change in point.changes)
        name, at = ",".join(point.name for point in points), points[0].at
        yield Cell(name, at, changes, {point.axis: point.name for point in points})


@dataclass(frozen=True)
class _Point:
    """One choice of an axis."""

    axis: str
    name: str
    at: Path
    changes: tuple[Change, ...]


def _points(axis: str, given: Any, document: Document) -> Iterator[_Point]:
    at: Path = ("grid", "axes", axis)
    if isinstance(given, dict):
        for name in given:
            changes = changes_at(document, (*at, name), f"point {name} of axis {axis}")
            yield _Point(axis, name, (*at, name), tuple(changes))
        return
    names = [_label(axis, value) for value in given]
    for i, (name, value) in enumerate(zip(names, given, strict=True)):
        place = document.place((*at, i))
        if name in names[:i]:
            raise place.error(f"the axis '{axis}' has {name} twice\n  leave one of them out")
        yield _Point(axis, name, (*at, i), (_change(axis, value, place),))


def _change(axis: str, value: Any, place: Place) -> Change:
    key = tuple(axis.split("."))
    if key[0] in FIXED:
        raise place.error(f"an axis cannot change '{key[0]}', which only the file of a recipe can give")
    return Change(key, value, lambda _: place)


def _label(key: str, value: Any) -> str:
    """`lr=0.001`: the last word of a key with a value that can stand in a folder's name."""
    text = shown(value).replace(" ", "").replace("/", "_").replace("'", "")
    return f"{key.rpartition('.')[2]}={text}"
