"""attention_masks.png: masks from the attention beside the true ones, from the best image to the worst."""

# h heads, rows x columns patches, H x W pixels

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sslkit.style import COLOURS, GREY, HEAT, OUTLINE, bare, new_figure, save, shown, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EACH = 2
"""Of the best, the middle and the worst images."""
MOST_HEADS = 6
CELL = 1.25
"""Width of a cell in inches."""
TRUTH = COLOURS[2]


BELOW = (
    "Green: the true outline. Orange: the patches that hold {:.0%} of the attention.\n"
    "Number: Jaccard index, in bold that of the head that fits best."
)
MARGIN = 0.25
"""Under each row, for its numbers, in inches."""


@dataclass(frozen=True)
class Example:
    """One image and what a network sees in it."""

    name: str
    """Which of the images it is, such as "best"."""
    image: Tensor
    """[C, H, W] in [0, 1]."""
    truth: Tensor
    """bool [H, W]."""
    attention: Tensor
    """[h, rows, columns]."""
    masks: Tensor
    """Those of the heads and of their mean, bool [h + 1, H, W]."""
    jaccard: Tensor
    """Of the masks, [h + 1]."""


def chosen(jaccard: Tensor) -> list[tuple[str, int]]:
    """The best, the middle and the worst of N images with their names; each once, where there are few."""
    order = jaccard.argsort(descending=True, stable=True).tolist()
    middle = max(0, (len(order) - EACH) // 2)
    named = {
        "best": order[:EACH],
        "median": order[middle : middle + EACH],
        "worst": order[-EACH:],
    }
    found: dict[int, str] = {}
    for name, rows in named.items():
        for row in rows:
            found.setdefault(row, name)
    return [(name, row) for row, name in found.items()]


def draw_masks(examples: Sequence[Example], heading: str, share: float, path: Path) -> Path:
    """One row an image: the true mask, each head's attention, the best head's mask and that of their mean."""
    heads = min(MOST_HEADS, len(examples[0].attention))
    names = ["truth", *(f"head {i + 1}" for i in range(heads)), "best head", "mean of heads"]
    heights = [CELL * x.image.shape[-2] / x.image.shape[-1] + MARGIN for x in examples]
    figure = new_figure(CELL * len(names) + 0.6, sum(heights) + 1.4)
    title(figure, heading, BELOW.format(share))
    grid: Any = figure.subplots(len(examples), len(names), squeeze=False, height_ratios=heights)
    for cells, example in zip(grid, examples, strict=True):
        _draw_row([bare(axes) for axes in cells], example)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, fontsize=9, color=GREY)
    return save(figure, path)


def _draw_row(cells: "Sequence[Axes]", example: Example) -> None:
    first, *heads, best, mean = cells
    first.set_ylabel(example.name, fontsize=9)
    _draw_mask(first, example.image, example.truth, TRUTH)
    size = (0, example.image.shape[-1], example.image.shape[-2], 0)
    winner = int(example.jaccard[:-1].argmax())
    for number, (axes, heat) in enumerate(zip(heads, example.attention, strict=False)):
        axes.imshow(heat.numpy(), cmap=HEAT, vmin=0, interpolation="nearest", extent=size)
        _write(axes, example.jaccard[number], bold=number == winner)
    for axes, number in ((best, winner), (mean, -1)):
        _draw_mask(axes, example.image, example.masks[number], OUTLINE)
        _outline(axes, example.truth, TRUTH)
        _write(axes, example.jaccard[number], bold=axes is best)


def _write(axes: "Axes", jaccard: Tensor, *, bold: bool) -> None:
    weight = "bold" if bold else "normal"
    axes.set_xlabel(
        f"{jaccard:.2f}", fontsize=8, color="black" if bold else GREY, labelpad=1, fontweight=weight
    )


def _draw_mask(axes: "Axes", image: Tensor, mask: Tensor, colour: str) -> None:
    """The image as it is where the mask [H, W] is, paler around it."""
    lit = mask[None].float()
    axes.imshow(shown(image * lit + (0.4 + 0.3 * image) * (1 - lit)), interpolation="nearest")
    _outline(axes, mask, colour)


def _outline(axes: "Axes", mask: Tensor, colour: str) -> None:
    if mask.any() and not mask.all():  # without a border matplotlib 3.10 warns
        axes.contour(mask.float().numpy(), levels=[0.5], colors=[colour], linewidths=1)
