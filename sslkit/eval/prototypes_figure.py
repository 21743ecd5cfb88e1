"""figures/prototypes/prototypes.png: the images that fire the most used prototypes, and how many each has."""

# N images, K prototypes, C channels, S side of an image

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sslkit.core.evaluator import ImageSet
from sslkit.style import COLOURS, GREY, bare, new_figure, save, shown, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sslkit.eval.prototypes import Assigned, Members


def draw_prototypes(
    claimed: "Assigned", members: "Sequence[Members]", images: ImageSet, path: Path, rows: int, columns: int
) -> Path:
    """One row a prototype, its strongest images first; below, the images of each prototype that has some."""
    most = members[:rows]
    strongest = [_strongest(claimed, each.prototype, columns) for each in most]
    figure = new_figure(1.9 + 0.85 * columns, 2.9 + 0.9 * len(most))
    title(
        figure,
        f"{len(members):,} of {claimed.prototypes:,} prototypes have an image",
        f"{len(claimed.winners):,} held-out images, each with the prototype of its largest probability."
        " Rows: the most used prototypes and the images that fire them most strongly.",
    )
    parts: Any = figure.subfigures(2, 1, height_ratios=[0.9 * len(most), 1.5])
    grid: Any = parts[0].subplots(len(most), columns, squeeze=False)
    pixels = _pixels(images, sorted({place for places in strongest for place in places}))
    for axes, each, places in zip(grid, most, strongest, strict=True):
        _draw_row(axes, each, [pixels[place] for place in places])
    _draw_usage(parts[1].subplots(), members, claimed)
    return save(figure, path)


def _strongest(claimed: "Assigned", prototype: int, count: int) -> list[int]:
    places = (claimed.winners == prototype).nonzero().flatten()
    order = claimed.strength[places].argsort(descending=True, stable=True)[:count]
    return places[order].tolist()


def _pixels(images: ImageSet, places: Sequence[int]) -> dict[int, Tensor]:
    """Images in [0, 1] by place, [C, S, S] each."""
    part = images.part(places, "gallery")
    found = torch.cat([batch.images for batch in part.batches()]) * images.std + images.mean
    return dict(zip(places, found, strict=True))


def _draw_row(row: "Sequence[Axes]", each: "Members", pictures: Sequence[Tensor]) -> None:
    row[0].set_ylabel(_label(each), rotation=0, fontsize=9, horizontalalignment="right")
    row[0].yaxis.set_label_coords(-0.12, 0.28)
    for axes, picture in zip(row, pictures, strict=False):
        bare(axes).imshow(shown(picture), interpolation="nearest")
    for axes in row[len(pictures) :]:
        axes.axis("off")


def _label(each: "Members") -> str:
    label = f"#{each.prototype}: {each.images} image{'' if each.images == 1 else 's'}"
    if each.commonest is None or each.commonest_share is None:
        return label
    return f"{label}\n{100 * each.commonest_share:.0f} % {each.commonest}"


def _draw_usage(axes: "Axes", members: "Sequence[Members]", claimed: "Assigned") -> None:
    edges = [rank + 0.5 for rank in range(len(members) + 1)]
    axes.stairs([each.images for each in members], edges, fill=True, color=COLOURS[0])
    even = len(claimed.winners) / claimed.prototypes
    axes.axhline(even, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        "evenly",
        (1, even),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=GREY,
    )
    axes.set_xlim(0.4, claimed.prototypes + 0.6)
    axes.set_xlabel("prototypes, sorted", fontsize=9)
    axes.set_ylabel("images", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
