"""figures/part_whole.png: how often a crop finds its image, by its size, and what it found instead."""

# N images, C channels, S side of an image, s side of a crop

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.part_whole import Finding
from sslkit.style import COLOURS, GREY, bare, new_figure, save, shown, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

SHOWN = 8
"""Crops in the picture."""
RIGHT, WRONG = COLOURS[2], COLOURS[1]
LINES = {
    "": ("this backbone", COLOURS[0], "-"),
    "untrained": ("untrained", COLOURS[4], "-."),
    "pixels": ("pixels", GREY, ":"),
}
ROWS = ("crop", "found", "its own")


def draw_findings(findings: Mapping[float, Finding], wholes: Tensor, n: int, path: Path) -> Path:
    """Accuracy by size beside its floors, and crops of one size with the wholes [N, C, S, S] they found."""
    figure = new_figure(11, 3.6)
    areas = sorted(findings)
    middle = areas[(len(areas) - 1) // 2]
    share = 100 * float(findings[middle].ranks[""].top1.mean())
    title(
        figure,
        f"Which image is this a part of? {share:.0f} % found with {100 * middle:g} % of the area",
        f"Each crop is compared with {n} whole images ({len(wholes):,} crops a size). Bands: 95 % of the"
        f" bootstrap over crops. Dashed: chance, 1/{n}. Right: crops of {100 * middle:g} % of the area, green"
        " where the nearest whole is their own.",
    )
    parts: Any = figure.subfigures(1, 2, width_ratios=[1, 2])
    _draw_accuracy(parts[0].subplots(), {area: findings[area] for area in areas}, n)
    _draw_crops(parts[1], findings[middle], wholes)
    return save(figure, path)


def _draw_accuracy(axes: "Axes", findings: Mapping[float, Finding], n: int) -> None:
    areas = list(findings)
    for name, (label, colour, line) in LINES.items():
        known = [f.ranks[name] for f in findings.values() if name in f.ranks]
        if known:
            estimates = [mean_estimate(ranks.top1) for ranks in known]
            low, high = [e.low for e in estimates], [e.high for e in estimates]
            axes.fill_between(areas, low, high, color=colour, alpha=0.15, linewidth=0)
            values = [e.value for e in estimates]
            axes.plot(areas, values, line, marker="o", markersize=3.5, color=colour, label=label)
    axes.axhline(1 / n, color="#aaaaaa", linestyle="--", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(areas, [f"{100 * area:g} %" for area in areas])
    axes.minorticks_off()
    axes.set_xlabel("crop, share of the image's area", fontsize=9)
    axes.set_ylabel("share that find their image", fontsize=9)
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_crops(part: "SubFigure", finding: Finding, wholes: Tensor) -> None:
    ranks = finding.ranks[""]
    columns = min(SHOWN, len(wholes))
    grid: Any = part.subplots(len(ROWS), columns, squeeze=False)
    for i in range(columns):
        found = int(ranks.nearest[i])
        for row, image in enumerate((finding.crops[i], wholes[found], wholes[i])):
            bare(grid[row, i]).imshow(shown(image), interpolation="nearest")
        for spine in grid[1, i].spines.values():
            spine.set(color=RIGHT if found == i else WRONG, linewidth=2.5)
    for axes, name in zip(grid[:, 0], ROWS, strict=True):
        axes.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
