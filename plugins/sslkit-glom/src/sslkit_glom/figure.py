"""figures/islands.png: images, and their islands level by level, from parts to wholes."""

# H x W pixels, L levels

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import hsv_to_rgb

from sslkit.core.dataset import VOID
from sslkit.eval.in_memory import spread
from sslkit.style import bare, new_figure, save, shown, title
from sslkit_glom.islands import Labels
from sslkit_glom.measured import Images, Measured
from sslkit_glom.scores import Objects

Picture = npt.NDArray[np.float32]
"""[H, W, 3] in [0, 1]."""
DIMMED = 0.25


@dataclass(frozen=True)
class Column:
    """One kind of picture of each image."""

    name: str
    pictures: Sequence[Picture]


def draw_islands(
    images: Images, own: Measured, others: Mapping[str, Measured], most: int, path: Path
) -> Path:
    """Some of the images, spread evenly over all and not chosen: the image, the truth, the parse.

    Args:
        others: further networks by name, of which the last level and the attention are drawn.
        most: rows.
    """
    rows = spread(len(images.seen), most)
    columns = list(_columns(images, own, others, rows))
    figure = new_figure(1.25 * len(columns) + 0.2, 1.25 * len(rows) + 1.1)
    title(
        figure,
        "Islands of agreement, from parts to wholes",
        "Level 1 is the lowest. Islands of one hue belong together at the level above."
        " The images are spread evenly over those that were measured.",
    )
    grid: Any = figure.subplots(len(rows), len(columns), squeeze=False)
    for column, axes in zip(columns, grid.T, strict=True):
        axes[0].set_title(column.name, fontsize=8)
        for axis, picture in zip(axes, column.pictures, strict=True):
            bare(axis).imshow(picture, interpolation="nearest")
    return save(figure, path)


def _columns(
    images: Images, own: Measured, others: Mapping[str, Measured], rows: Sequence[int]
) -> Iterator[Column]:
    pictures = [shown(images.shown[row]) for row in rows]
    yield Column("image", pictures)
    if images.objects is not None:
        yield Column("truth", [truth_picture(images.objects[row]) for row in rows])
    yield from _parses(own, rows, "level")
    yield from _attended(own, pictures, rows, "attention")
    for name, other in others.items():
        *_, last = _parses(other, rows, f"{name},\nlevel")
        yield last
        yield from _attended(other, pictures, rows, f"{name},\nattention")


def _parses(measured: Measured, rows: Sequence[int], name: str) -> Iterator[Column]:
    parses = [parse_colours([level[row] for level in measured.islands]) for row in rows]
    for number, pictures in enumerate(zip(*parses, strict=True), 1):
        yield Column(f"{name} {number}", pictures)


def _attended(
    measured: Measured, pictures: Sequence[Picture], rows: Sequence[int], name: str
) -> Iterator[Column]:
    if measured.attention is not None:
        masks = [measured.attention.mean[row][..., None] for row in rows]
        yield Column(name, [np.where(mask, x, DIMMED * x) for mask, x in zip(masks, pictures, strict=True)])


def truth_picture(objects: Objects) -> Picture:
    """Objects in colours, the background white, what is not counted grey."""
    numbers = np.where(objects == VOID, 0, objects)
    hues = (0.1 + 0.618 * numbers) % 1  # far from the one before, whatever their number
    colours = np.stack([hues, np.full_like(hues, 0.7), np.full_like(hues, 0.9)], -1)
    picture = np.where((objects == 0)[..., None], 1.0, hsv_to_rgb(colours))
    return np.where((objects == VOID)[..., None], 0.5, picture).astype(np.float32)


def parse_colours(levels: Sequence[Labels]) -> list[Picture]:
    """Islands [H, W] of each level, the lowest first, in colours: parts have hues near their whole's.

    From the top: the islands of a level share their whole's range of hues by their size; an island's whole is
    the island of the level above that it lies in for the most part.
    """
    hues = {0: (0.0, 1.0)}
    above = np.zeros_like(levels[-1])
    pictures = []
    for level in reversed(levels):
        hues = _shared_hues(level, above, hues)
        pictures.append(_coloured(level, hues))
        above = level
    return pictures[::-1]


Hues = Mapping[int, tuple[float, float]]
"""From where to where an island's hues go, by its number."""


def _shared_hues(level: Labels, above: Labels, wholes: Hues) -> dict[int, tuple[float, float]]:
    sizes = np.bincount(level.ravel())
    whole_of = {n: int(np.bincount(above[level == n]).argmax()) for n in np.flatnonzero(sizes).tolist()}
    hues: dict[int, tuple[float, float]] = {}
    for whole in set(whole_of.values()):
        start, stop = wholes[whole]
        parts = [n for n, of in whole_of.items() if of == whole]
        ends = start + (stop - start) * np.cumsum([0, *sizes[parts]]) / sizes[parts].sum()
        hues |= {n: (float(ends[i]), float(ends[i + 1])) for i, n in enumerate(parts)}
    return hues


def _coloured(level: Labels, hues: Hues) -> Picture:
    """Neighbouring hues differ in lightness too."""
    colours = np.ones((level.max() + 1, 3), np.float32)
    for turn, (number, (start, stop)) in enumerate(sorted(hues.items(), key=lambda item: item[1])):
        value = (0.95, 0.7, 0.82)[turn % 3]
        colours[number] = hsv_to_rgb(((start + stop) / 2 % 1, 0.6, value))
    return colours[level]
