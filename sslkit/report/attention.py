"""figures/attention.png: what the trained network looks at in images that it was not trained on."""

# B images, C channels, S side of an image, h x w grid of patches

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.eval.attention import mass_mask
from sslkit.eval.attention_maps import Maps, attention_maps
from sslkit.hookspecs import hookimpl
from sslkit.style import GREY, HEAT, OUTLINE, bare, new_figure, save, shown, title

if TYPE_CHECKING:
    from sslkit.recipe.load import Loaded

FILE_NAME = "attention.png"
MOST_IMAGES = 6
MOST_HEADS = 12
SMALLEST_WIDTH = 5.0
"""Of the picture, inches."""
SHARE = 0.6
"""Of the attention, that the outlined patches hold (Caron et al. 2021, Fig. 4)."""


@hookimpl
def sslkit_run_finished(run_dir: Path, error: BaseException | None) -> None:
    from sslkit.train.export import FILE_NAME as BACKBONE

    if error is not None or not (run_dir / BACKBONE).is_file():
        return
    from sslkit.report.reopen import recipe_of
    from sslkit.train.export import load_backbone

    loaded = recipe_of(run_dir)
    images, normalised = held_out_images(loaded)
    maps = attention_maps(load_backbone(run_dir, loaded.registry), normalised)
    draw_attention(images, maps, run_dir / "figures" / FILE_NAME)


def held_out_images(loaded: "Loaded", most: int = MOST_IMAGES) -> tuple[Tensor, Tensor]:
    """Some images of the evaluation split, cropped: [B, C, S, S] in [0, 1], and the same normalised."""
    from sslkit.augment.build import image_format
    from sslkit.stations import open_eval_sets

    recipe = loaded.recipe
    few = replace(recipe.eval, max_images=most, batch_size=most)
    small = replace(recipe, eval=few, data=replace(recipe.data, workers=0))
    images = next(iter(open_eval_sets(small, loaded.registry).test.batches())).images
    formats = image_format(recipe)
    shift, scale = (torch.tensor(x).view(-1, 1, 1) for x in (formats.mean, formats.std))  # [C, 1, 1]
    return images * scale + shift, images


def draw_attention(images: Tensor, maps: Maps, path: Path) -> Path:
    """One row an image: the image, each heat map, and what holds most of it.

    Args:
        images: in [0, 1], [B, C, S, S].
    """
    values = maps.values[:, :MOST_HEADS]
    columns = ["image", *_names(maps), f"{SHARE:.0%} of it"]
    rows = len(images)
    side = max(1.15, SMALLEST_WIDTH / len(columns))  # inches of a cell
    figure = new_figure(side * len(columns) + 0.4, (side + 0.05) * rows + 1.1)
    title(figure, _title(maps), _below(maps))
    grid: Any = figure.subplots(rows, len(columns), squeeze=False)
    for row, (image, heat, whole) in enumerate(zip(images, values, maps.values, strict=True)):
        _draw_row([bare(axes) for axes in grid[row]], image, heat, whole.mean(0))
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, fontsize=9, color=GREY)
    return save(figure, path)


def _draw_row(cells: Sequence[Any], image: Tensor, heat: Tensor, mean: Tensor) -> None:
    """Image [C, S, S], heat maps [maps, h, w] and their mean [h, w]."""
    cells[0].imshow(shown(image), interpolation="nearest")
    for axes, each in zip(cells[1:-1], heat, strict=True):
        axes.imshow(each.numpy(), cmap=HEAT, vmin=0, interpolation="nearest")
        axes.set_xlabel(f"{_peak(each):.1f}x", fontsize=7, color=GREY, labelpad=1)
    size = (image.shape[-2], image.shape[-1])
    mask = mass_mask(mean.flatten(), SHARE).view(1, 1, *mean.shape)  # [1, 1, h, w]
    lit = F.interpolate(mask.float(), size=size, mode="nearest")[0]  # [1, S, S]
    cells[-1].imshow(shown(image * lit + (0.35 + 0.3 * image) * (1 - lit)), interpolation="nearest")
    if 0 < mask.sum() < mask.numel():  # without a border matplotlib 3.10 warns
        cells[-1].contour(lit[0].numpy(), levels=[0.5], colors=[OUTLINE], linewidths=1)


def _peak(heat: Tensor) -> float:
    """The strongest patch against the average one; 1 for an even map."""
    return float(heat.max() / heat.mean().clamp(min=torch.finfo(heat.dtype).tiny))


def _names(maps: Maps) -> list[str]:
    count = min(maps.values.shape[1], MOST_HEADS)
    return [f"head {i + 1}" for i in range(count)] if maps.is_attention else ["strength"]


def _title(maps: Maps) -> str:
    count = maps.values.shape[1]
    if not maps.is_attention:
        return "Where the last feature map is strong (this network has no attention of a CLS token)"
    of = f", the first {MOST_HEADS} of {count} heads" if count > MOST_HEADS else ""
    return f"What CLS attends to in the last block, on held-out images{of}"


def _below(maps: Maps) -> str:
    if not maps.is_attention:
        return (
            "Length of the feature vector at each place, bright is long.\n"
            f"Number: longest against the average. Outlined: the places with {SHARE:.0%} of the sum."
        )
    return (
        "Each map from black, no attention, to its own largest."
        " Number: strongest patch against the average (1 = even).\n"
        f"Outlined: the patches that hold {SHARE:.0%} of the attention, mean of all heads."
    )
