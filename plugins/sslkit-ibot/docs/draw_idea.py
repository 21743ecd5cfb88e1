"""Draws docs/idea.png: iBOT in one picture, on a demo scene with a mask as the method draws it.

python docs/draw_idea.py
"""

# S side of the image in pixels, n x n patches; positions in hundredths of the picture's width

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from numpy.typing import NDArray

from sslkit.core.dataset import DataSource
from sslkit.data.demo import Demo
from sslkit_ibot import block_mask

BLUE, RED, GREEN, INK, GREY = "#0072B2", "#D55E00", "#009E73", "#222222", "#666666"
SIDE, GRID = 192, 6
UP, DOWN = 31.0, 11.0
"""The heights of the student's and of the teacher's row."""
ASKED = (2, 2)
"""Row and column of the hidden patch that the picture follows."""


class Part(NamedTuple):
    """Something drawn: its middle and half its width."""

    x: float
    y: float
    half: float


def main() -> None:
    image, mask = scene(), a_mask()
    figure = Figure(figsize=(7.5, 3.0), dpi=160, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(1, 41), autoscale_on=False)
    axes.axis("off")
    whole = picture(axes, Part(7, 21, 6), image, "a view")
    seen = picture(axes, Part(25, UP, 6), hidden(image, mask), "some is hidden")
    all_of_it = picture(axes, Part(25, DOWN, 6), image, "nothing is")
    for part in (seen, all_of_it):
        arrow(axes, (whole.x + whole.half, whole.y), (part.x - part.half, part.y), GREY)
    student, teacher = (
        box(axes, Part(44, UP, 6), "student", BLUE),
        box(axes, Part(44, DOWN, 6), "teacher", RED),
    )
    arrow(axes, (44, UP - 4), (44, DOWN + 4), RED, dashed=True)
    axes.text(51, 21, "moving\naverage", color=RED, fontsize=9, ha="center", va="center")
    for start, net, colour, words in ((seen, student, BLUE, "its patches"), (all_of_it, teacher, RED, "")):
        arrow(axes, (start.x + start.half, start.y), (net.x - net.half, net.y), GREY)
        arrow(axes, (net.x + net.half, net.y), (60, net.y), GREY)
        tokens(axes, Part(67, net.y, 6), mask, colour)
        axes.text(67, net.y + 7.4, words, color=GREY, fontsize=9, ha="center", va="center")
    for y, shares, colour in ((UP, (0.2, 0.42, 0.12, 0.16), BLUE), (DOWN, (0.04, 0.82, 0.04, 0.1), RED)):
        arrow(axes, (cell_x(ASKED[1]), cell_y(y, ASKED[0])), (80, y), colour)
        bars(axes, Part(85, y, 4), shares, colour)
    for foot, head in ((UP - 4.5, 21.3), (DOWN + 6, 20.7)):
        arrow(axes, (85, foot), (85, head), GREEN)
    words = "of a hidden\npatch the\nstudent must\nsay what the\nteacher says"
    axes.text(94, 21, words, color=GREEN, fontsize=9, ha="center", va="center")
    FigureCanvasAgg(figure).print_png(Path(__file__).with_name("idea.png"))  # type: ignore[no-untyped-call]


def scene() -> NDArray[np.uint8]:
    """[S, S, 3]."""
    config = Demo.Config(count=3, image_size=SIDE, scale=[0.75, 0.85], rotation=12)
    return Demo(config, DataSource(None, "train"))[2].image


def a_mask() -> NDArray[np.bool_]:
    """The first that hides the patch which the picture follows, bool [n, n]."""
    torch.manual_seed(0)
    while not (mask := block_mask((GRID, GRID), 13.0).numpy())[ASKED]:
        pass
    return mask


def hidden(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    pixels = np.kron(mask, np.ones((SIDE // GRID, SIDE // GRID), dtype=bool))  # [S, S]
    return np.where(pixels[..., None], np.uint8(70), image)


def picture(axes: Axes, at: Part, image: NDArray[np.uint8], below: str) -> Part:
    extent = (at.x - at.half, at.x + at.half, at.y - at.half, at.y + at.half)
    axes.imshow(image, extent=extent, aspect="auto", zorder=2)
    axes.text(at.x, at.y - at.half - 1.8, below, color=GREY, fontsize=9, ha="center", va="center")
    return at


def box(axes: Axes, at: Part, words: str, colour: str) -> Part:
    shape = "round,pad=0,rounding_size=1"
    corner = (at.x - at.half, at.y - 3.5)
    axes.add_patch(FancyBboxPatch(corner, 2 * at.half, 7, boxstyle=shape, fc=f"{colour}22", ec=colour))
    axes.text(at.x, at.y, words, color=INK, fontsize=9, ha="center", va="center")
    return at


def tokens(axes: Axes, at: Part, mask: NDArray[np.bool_], colour: str) -> None:
    """The patches' tokens; those that are compared stand out."""
    for row, column in np.ndindex(GRID, GRID):
        x, y = cell_x(column) - 0.85, cell_y(at.y, row) - 0.85
        strong = "ff" if (row, column) == ASKED else "88" if mask[row, column] else "1a"
        axes.add_patch(Rectangle((x, y), 1.7, 1.7, fc=f"{colour}{strong}"))


def cell_x(column: int) -> float:
    return 62 + 2 * column


def cell_y(middle: float, row: int) -> float:
    return middle + 5 - 2 * row


def bars(axes: Axes, at: Part, shares: tuple[float, ...], colour: str) -> None:
    """A distribution over prototypes."""
    lefts = [at.x - at.half + 2 * at.half * i / len(shares) for i in range(len(shares))]
    axes.bar(lefts, [8 * share for share in shares], 1.5, at.y - 3, align="edge", color=colour)
    axes.plot([at.x - at.half, at.x + at.half], [at.y - 3] * 2, color=colour, lw=1)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, *, dashed: bool = False
) -> None:
    style = {"arrowstyle": "-|>,head_width=0.22,head_length=0.42", "color": colour, "lw": 1.3}
    axes.annotate("", end, start, arrowprops={**style, "ls": "--" if dashed else "-"})


if __name__ == "__main__":
    main()
