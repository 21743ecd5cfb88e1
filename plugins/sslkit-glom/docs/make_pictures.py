"""Draws docs/columns.png: the idea in one picture.

python docs/make_pictures.py
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Rectangle

from sslkit.style import COLOURS, GREY, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
BLUE, RED, GREEN = COLOURS[0], COLOURS[1], COLOURS[2]
PLACES = (22, 43, 64)
LEVELS = ("parts", "larger parts", "wholes")
LIT = 1
"""The place whose middle level is updated in the picture."""
STATES = ((20, 100, 320), (60, 75, 330), (70, 70, 350))
"""By level and place: a state as a direction, degrees. Places of one island point the same way."""


def columns() -> Path:
    """Three columns of three levels, and the four things that one level becomes the mean of."""
    figure = new_figure(9, 4.6)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(0, 51), aspect="equal")
    axes.axis("off")
    for place, x in enumerate(PLACES):
        for level in range(len(LEVELS)):
            box(axes, x, height(level), STATES[level][place], lit=(place, level) == (LIT, 1))
        axes.add_patch(Rectangle((x - 3, 1), 6, 6, fc="#eeeeee", ec=GREY))
        arrow(axes, (x, 7.2), (x, height(0) - 3.4), GREY)
        axes.text(x, 4, "patch", ha="center", va="center", fontsize=8, color=GREY)
    for level, name in enumerate(LEVELS):
        axes.text(2, height(level), f"level {level + 1}\n{name}", fontsize=8, color=GREY, va="center")
    x, y = PLACES[LIT], height(1)
    arrow(axes, (x - 1.5, height(0) + 3.4), (x - 1.5, y - 3.4), BLUE)
    arrow(axes, (x + 1.5, height(2) - 3.4), (x + 1.5, y + 3.4), RED)
    for other in (PLACES[0], PLACES[2]):
        side = 1 if other < x else -1
        arrow(axes, (other + side * 5.4, y), (x - side * 5.4, y), GREEN)
    axes.add_patch(
        FancyArrowPatch(
            (x + 3.5, y + 3.2), (x + 5.2, y + 0.6), connectionstyle="arc3,rad=-1.6", arrowstyle="-|>",
            mutation_scale=9, color=COLOURS[4], lw=1.6,
        )
    )  # fmt: skip
    island(axes, (PLACES[0] + PLACES[1]) / 2, height(2), 39)
    legend(axes)
    return save(figure, HERE / "columns.png")


def height(level: int) -> float:
    return 15.0 + 12.5 * level


def box(axes: "Axes", x: float, y: float, state: float, *, lit: bool) -> None:
    """A level of a column, and in it its state as a direction."""
    shape = FancyBboxPatch(
        (x - 4.5, y - 2.6), 9, 5.2, boxstyle="round,pad=.5", fc="#fff3d6" if lit else "white",
        ec="black" if lit else GREY, lw=1.6 if lit else 0.8,
    )  # fmt: skip
    axes.add_patch(shape)
    dx, dy = 2.4 * math.cos(math.radians(state)), 2.4 * math.sin(math.radians(state))
    arrow(axes, (x - dx, y - dy), (x + dx, y + dy), "black")


def arrow(axes: "Axes", start: tuple[float, float], stop: tuple[float, float], colour: str) -> None:
    axes.add_patch(FancyArrowPatch(start, stop, arrowstyle="-|>", mutation_scale=10, color=colour, lw=1.6))


def island(axes: "Axes", x: float, y: float, width: float) -> None:
    axes.add_patch(Ellipse((x, y), width, 10, fc="none", ec=GREEN, ls="--", lw=1.2))
    axes.text(x, y + 5.6, "an island: nearly the same state", ha="center", fontsize=8, color=GREEN)


def legend(axes: "Axes") -> None:
    """The four that are averaged."""
    lines = (
        (height(2) - 6, RED, "the level above, through a\nnet that is told this place"),
        (height(1), GREEN, "the same level at other places,\nthe more the more they agree"),
        (height(1) - 7, COLOURS[4], "itself, a step ago"),
        (height(0) + 0.5, BLUE, "the level below, through a net"),
    )
    axes.text(75, height(2), "At each step a level becomes\nthe mean of", fontsize=9, va="center")
    for y, colour, text in lines:
        axes.text(75, y, text, fontsize=8, color=colour, va="center")


if __name__ == "__main__":
    columns()
