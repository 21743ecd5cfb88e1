"""How each class fares and what it is taken for: the table and the picture of any classifier."""

# Q images, C classes

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from sslkit.core.evaluator import Estimate
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.csv_file import write_csv
from sslkit.style import COLOURS, GREY, new_figure, save, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WHOLE = 20
"""Classes of which the whole confusion matrix can be read; of more the most confused pairs are shown."""
PAIRS = 20
"""Pairs in the picture."""
LONGEST = 22
"""Letters of a class's name in the picture."""
TABLE, FIGURE = "per_class.csv", "confusion.png"


@dataclass(frozen=True)
class Pair:
    """Images of one class that were taken for another."""

    label: int
    taken_for: int
    images: int


@dataclass(frozen=True)
class Classified:
    """Images, what they show, and what a classifier takes them for."""

    labels: Tensor
    """[Q] int64 in [0, C), Q >= 1."""
    predicted: Tensor
    """[Q] int64; what is not in [0, C) stands for none of the classes."""
    names: Sequence[str]
    """Of the C classes."""

    @cached_property
    def by_class(self) -> dict[int, Estimate]:
        """Top-1 of each class that has images, in the order of the classes."""
        order = self.labels.argsort(stable=True)  # [Q]
        right = (self.predicted == self.labels)[order]
        sizes = self.labels.bincount(minlength=len(self.names)).tolist()  # [C]
        return {
            label: mean_estimate(part) for label, part in enumerate(right.split(sizes)) if part.numel() > 0
        }

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every two classes that were confused, those with the most images first."""
        classes = len(self.names)
        wrong = (self.predicted != self.labels) & (self.predicted >= 0) & (self.predicted < classes)
        codes, counts = (self.labels * classes + self.predicted)[wrong].unique(return_counts=True)
        found = [
            Pair(code // classes, code % classes, images)
            for code, images in zip(codes.tolist(), counts.tolist(), strict=True)
        ]
        return sorted(found, key=lambda pair: -pair.images)

    def shares(self, shown: Sequence[int]) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
        """For some classes, shares of each one's images by what they were taken for; NaN without images."""
        place = {label: row for row, label in enumerate(shown)}
        matrix = np.full((len(shown), len(shown)), np.nan)
        for label, top1 in self.by_class.items():
            matrix[place[label]] = 0
            matrix[place[label], place[label]] = top1.value
        for pair in self.pairs:
            matrix[place[pair.label], place[pair.taken_for]] = pair.images / self.by_class[pair.label].count
        return matrix


def class_names(known: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """The known names, filled up with numbers to so many classes."""
    known = known or ()
    return (*known, *map(str, range(len(known), classes)))


def write_by_class(
    classified: Classified, folder: Path, classifier: str
) -> tuple[Mapping[str, Path], Mapping[str, Path]]:
    """Writes `per_class.csv`, and `confusion.png` where images of two classes or more were classified.

    Args:
        folder: the evaluator's own.
        classifier: how it is called in the picture.

    Returns:
        Pictures and tables by title, as a `Result` has them.
    """
    tables = {f"{folder.name}_per_class": _write_table(classified, folder / TABLE)}
    if len(classified.by_class) < 2:
        return {}, tables
    return {f"{folder.name}_confusion": _draw(classified, folder / FIGURE, classifier)}, tables


def _write_table(classified: Classified, path: Path) -> Path:
    most: dict[int, Pair] = {}
    for pair in classified.pairs:
        most.setdefault(pair.label, pair)
    rows = []
    for label, top1 in classified.by_class.items():
        numbers = ("" if x != x else f"{x:.4f}" for x in (top1.value, top1.low, top1.high))
        worst = most.get(label)
        taken = ("", 0) if worst is None else (classified.names[worst.taken_for], worst.images)
        rows.append((classified.names[label], top1.count, *numbers, *taken))
    heading = ("class", "images", "top1", "low", "high", "most_taken_for", "images_taken")
    return write_csv(path, heading, rows)


# --- picture -----------------------------------------------------------------------------------------------


def _draw(classified: Classified, path: Path, classifier: str) -> Path:
    right = mean_estimate(classified.predicted == classified.labels)
    heading = f"{classifier}: {100 * right.value:.1f} % of {right.count:,} images right"
    taken = {pair.taken_for for pair in classified.pairs}
    shown = sorted(taken | set(classified.by_class))
    draw = _draw_matrix if len(shown) <= WHOLE else _draw_pairs
    return save(draw(classified, shown, heading), path)


def _draw_matrix(classified: Classified, shown: Sequence[int], heading: str) -> "Figure":
    figure = new_figure(max(5.0, 2.4 + 0.38 * len(shown)), max(4.0, 2.6 + 0.34 * len(shown)))
    title(figure, heading, "Each row: of 100 images of a class, how many are taken for which class.")
    shares = 100 * classified.shares(shown)  # [C, C]
    axes = figure.subplots()
    axes.imshow(np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    names = [shortened(classified.names[label]) for label in shown]
    axes.set_xticks(range(len(shown)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.set_xlabel("taken for", fontsize=9, color=GREY)
    axes.set_ylabel("shows", fontsize=9, color=GREY)
    axes.tick_params(length=0)
    axes.spines[:].set_color("#bbbbbb")
    for row, column in zip(*np.nonzero(shares >= 0.5), strict=True):  # NaN is not
        share = shares[row, column]
        colour = "white" if share > 55 else "black"
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7.5, color=colour)
    return figure


def _draw_pairs(classified: Classified, shown: Sequence[int], heading: str) -> "Figure":
    figure = new_figure(10.5, 6.2)
    title(
        figure,
        heading,
        f"Left: the most frequent mistakes among {len(shown):,} classes, and the share of the class's"
        " images.\nRight: each class's top-1, the classes sorted by it; shaded: 95 % confidence intervals.",
    )
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.2])
    _draw_bars(left, classified)
    _draw_spread(right, list(classified.by_class.values()))
    return figure


def _draw_bars(axes: "Axes", classified: Classified) -> None:
    pairs = classified.pairs[:PAIRS]
    names = [f"{_name(classified, pair.label)} → {_name(classified, pair.taken_for)}" for pair in pairs]
    bars: Any = axes.barh(range(len(pairs)), [pair.images for pair in pairs], color=COLOURS[0], height=0.7)
    shares = [pair.images / classified.by_class[pair.label].count for pair in pairs]
    axes.bar_label(bars, [f"{100 * share:.0f} %" for share in shares], fontsize=7.5, padding=3, color=GREY)
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("images", fontsize=9)
    _finish(axes)


def _name(classified: Classified, label: int) -> str:
    return shortened(classified.names[label])


def _draw_spread(axes: "Axes", by_class: Sequence[Estimate]) -> None:
    in_order = sorted(by_class, key=lambda top1: (top1.value, top1.low, top1.high))
    values, low, high = (
        [100 * x for x in numbers]
        for numbers in zip(*((e.value, e.low, e.high) for e in in_order), strict=True)
    )
    places = range(1, len(in_order) + 1)
    axes.fill_between(places, low, high, color=COLOURS[5], alpha=0.35, linewidth=0)
    axes.plot(places, values, color=COLOURS[0], linewidth=1.6)
    axes.set_ylim(0, 102)
    axes.set_xlim(1, len(in_order))
    axes.set_xlabel("classes, the hardest first", fontsize=9)
    axes.set_ylabel("top-1, % of a class's images", fontsize=9)
    _finish(axes)


def _finish(axes: "Axes") -> None:
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def shortened(name: str) -> str:
    """At most `LONGEST` letters; of several synonyms ("tench, Tinca tinca") the first."""
    first = name.split(",")[0].strip().replace("$", r"\$")
    return first if len(first) <= LONGEST else f"{first[: LONGEST - 1].rstrip()}…"
