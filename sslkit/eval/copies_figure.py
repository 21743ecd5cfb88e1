"""figures/copies/copies.png: copies of each kind, and what was found for them."""

# C channels, S side of an image

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sslkit.core.evaluator import Estimate, ImageSet
from sslkit.eval.retrieval_figure import draw_image, mark, thumbnails
from sslkit.style import GREY, bare, new_figure, save, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sslkit.eval.copies import Found, Search

EXAMPLES = 3
"""Copies of each kind."""
CELL = 0.86
"""Side of an image in the picture, inches."""
WIDTHS = [1.0, 1.0, 1.0, 0.25]
"""Copy, what was found, original, gap."""


def draw_copies(task: "Search", found: "Found", estimates: Mapping[str, Estimate], path: Path) -> Path:
    """Per kind some copies, each with the nearest image, and with the original where that is another."""
    rows = examples(task)
    shown = [query for queries in rows.values() for query in queries]
    copies = thumbnails(task.queries, shown)
    first = found.first.tolist()
    original = {query: _original(task, query) for query in shown}
    images = _from_parts(task.database, [*(first[q] for q in shown), *original.values()])
    figure = new_figure(CELL * (EXAMPLES * sum(WIDTHS) + 1.6), CELL * len(rows) + 1.2)
    floor = estimates["thumbnail_micro_ap"]
    title(
        figure,
        f"The originals of copies: micro-AP {estimates['micro_ap'].value:.2f},"
        f" thumbnails of 8 x 8 pixels {floor.value:.2f}",
        "The first copies of each kind, each with the nearest image of the database: ✓ its original, ✗"
        " another. Left: share of the copies whose original is the nearest.",
    )
    grid: Any = figure.subplots(
        len(rows),
        EXAMPLES * len(WIDTHS),
        squeeze=False,
        gridspec_kw={"width_ratios": WIDTHS * EXAMPLES},
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (kind, queries) in enumerate(rows.items()):
        top1 = estimates.get(f"top1_{kind}", estimates["top1"])
        label = f"{kind}\n{100 * top1.value:.0f} % of {top1.count}"
        for column, query in enumerate(queries):
            cells = grid[row, column * len(WIDTHS) :]
            _draw_one(
                cells,
                copies[query],
                images[first[query]],
                images[original[query]],
                first[query] == original[query],
            )
        _label(grid[row, 0], label)
    for column in range(EXAMPLES):
        for place, name in enumerate(("copy", "nearest", "original")):
            axes = grid[0, column * len(WIDTHS) + place]
            axes.set_title(name, fontsize=9, color=GREY)
    return save(figure, path)


def examples(task: "Search") -> dict[str, list[int]]:
    """The first queries of each kind that have an original."""
    rows: dict[str, list[int]] = {}
    for query, wanted in enumerate(task.wanted.tolist()):
        of_kind = rows.setdefault("copy" if task.kinds is None else task.kinds[query], [])
        if wanted >= 0 and len(of_kind) < EXAMPLES:
            of_kind.append(query)
    return {kind: queries for kind, queries in sorted(rows.items()) if queries}


def _original(task: "Search", query: int) -> int:
    return int((task.instances == task.wanted[query]).nonzero()[0, 0])


def _from_parts(parts: Sequence[ImageSet], positions: Sequence[int]) -> dict[int, Tensor]:
    """Images by their position in all parts together."""
    images: dict[int, Tensor] = {}
    start = 0
    for part in parts:
        here = [p - start for p in positions if start <= p < start + len(part)]
        images |= {place + start: image for place, image in thumbnails(part, here).items()}
        start += len(part)
    return images


def _draw_one(cells: Sequence["Axes"], copy: Tensor, found: Tensor, original: Tensor, is_right: bool) -> None:
    for axes, image in zip(cells[:2], (copy, found), strict=True):
        axes.set_axis_on()
        draw_image(axes, image)
    mark(cells[1], is_right)
    if not is_right:
        cells[2].set_axis_on()
        draw_image(cells[2], original)


def _label(axes: "Axes", text: str) -> None:
    bare(axes).set_ylabel(
        text, fontsize=8, rotation=0, horizontalalignment="right", verticalalignment="center"
    )
