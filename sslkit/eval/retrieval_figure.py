"""figures/retrieval/neighbours.png: queries and what they found first."""

# C channels, S side of an image

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sslkit.core.evaluator import Estimate, EvalData, ImageSet
from sslkit.style import COLOURS, GREY, bare, new_figure, save, shown, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sslkit.eval.retrieval import Answer

RIGHT, WRONG = ("✓", COLOURS[2]), ("✗", COLOURS[1])
"""Sign and colour, so that neither is needed to read the other."""
CELL = 0.86
"""Side of an image in the picture, inches."""
TITLES = {
    "class": "of the query's class",
    "instance": "of the very object of the query",
    "easy": "listed as easy answers",
    "medium": "listed as answers, easy or hard",
    "hard": "listed as hard answers",
}


def draw_neighbours(
    answer: "Answer", queries: Sequence[int], asked_for: str, found: Estimate, data: EvalData, path: Path
) -> Path:
    """Some queries, one in each row, with their nearest images, right ones and wrong ones marked."""
    nearest = answer.nearest[queries]  # [rows, <= 10]
    pictures = thumbnails(data.train, nearest[nearest >= 0].tolist())
    asked = thumbnails(data.test, queries)
    columns = nearest.shape[1]
    figure = new_figure(CELL * (columns + 1.9), CELL * len(queries) + 1.1)
    title(
        figure,
        f"Held-out images and their nearest: mAP {100 * found.value:.1f} %",
        f"✓ and ✗: {asked_for}, or not. The upper rows are queries with the best average precision (AP), the"
        f" lower ones those with the worst, of {found.count:,}.",
    )
    grid: Any = figure.subplots(
        len(queries), columns + 1, squeeze=False, gridspec_kw={"width_ratios": [1.25] + [1] * columns}
    )
    for row, query in enumerate(queries):
        draw_image(grid[row, 0], asked[query])
        grid[row, 0].set_ylabel(
            f"AP {answer.average_precision[query]:.2f}",
            fontsize=8,
            rotation=0,
            horizontalalignment="right",
            verticalalignment="center",
        )
        for column, position in enumerate(nearest[row].tolist()):
            if position < 0:
                grid[row, column + 1].set_axis_off()
            else:
                draw_image(grid[row, column + 1], pictures[position])
                mark(grid[row, column + 1], bool(answer.right[query, column]))
    grid[0, 0].set_title("query", fontsize=9, color=GREY)
    for column in range(columns):
        grid[0, column + 1].set_title(str(column + 1), fontsize=9, color=GREY)
    return save(figure, path)


def chosen(average_precision: Tensor, most: int, labels: Sequence[int] | None = None) -> list[int]:
    """The queries with the highest and the lowest average precision, falling; ties by their place.

    With labels each of both halves has as many different ones as there are.
    """
    known = (~average_precision.isnan()).nonzero()[:, 0]  # [K]
    order: list[int] = known[average_precision[known].argsort(descending=True, stable=True)].tolist()
    if len(order) <= most:
        return order
    best = _varied(order, most - most // 2, labels)
    worst = _varied([query for query in reversed(order) if query not in best], most // 2, labels)
    rank = {query: place for place, query in enumerate(order)}
    return sorted([*best, *worst], key=rank.__getitem__)


def _varied(queries: Sequence[int], count: int, labels: Sequence[int] | None) -> list[int]:
    """The first queries of different labels, then others."""
    firsts = queries if labels is None else {labels[query]: query for query in reversed(queries)}.values()
    first = set(firsts)
    return sorted(queries, key=lambda query: query not in first)[:count]


def thumbnails(image_set: ImageSet, places: Sequence[int]) -> dict[int, Tensor]:
    """Some images as the network sees them, [C, S, S] in [0, 1], by their place."""
    wanted = sorted(set(places))
    if not wanted:
        return {}
    batches = image_set.part(wanted, "shown").batches()
    images = torch.cat([batch.images for batch in batches]) * image_set.std + image_set.mean  # [n, C, S, S]
    return dict(zip(wanted, images, strict=True))


def draw_image(axes: "Axes", image: Tensor) -> None:
    bare(axes).imshow(shown(image), interpolation="lanczos")


def mark(axes: "Axes", is_right: bool) -> None:
    """A frame and a sign in the corner."""
    sign, colour = RIGHT if is_right else WRONG
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.5)
    axes.text(
        0.97,
        0.97,
        sign,
        transform=axes.transAxes,
        horizontalalignment="right",
        verticalalignment="top",
        fontsize=8,
        color="white",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2},
    )
