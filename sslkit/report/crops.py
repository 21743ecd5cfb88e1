"""figures/crops.png: training images beside the crops that step 0 gets of them."""

# B images, G global crops, L local crops, C channels, S side of the canvas

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sslkit.core.augmentation import Augmentation
from sslkit.core.method import Views
from sslkit.hookspecs import hookimpl
from sslkit.style import GREY, bare, new_figure, save, shown, title

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

    from sslkit.plugins import Registry
    from sslkit.recipe.schema import Recipe

FILE_NAME = "crops.png"
MOST_IMAGES = 5
MOST_LOCAL = 8


@hookimpl
def sslkit_run_started(recipe: "Recipe", run_dir: Path) -> None:
    path = run_dir / "figures" / FILE_NAME
    if path.exists():  # a resumed run: they are the same
        return
    from sslkit.report.reopen import registry_of

    registry = registry_of(run_dir)
    canvas, size, views = first_views(recipe, registry)
    name = registry.get("augmentations", recipe.augment.name).global_name
    draw_crops(canvas, size, views, path, name=name)


def first_views(
    recipe: "Recipe", registry: "Registry", most: int = MOST_IMAGES
) -> tuple[Tensor, Tensor, Views]:
    """The first images of step 0 and exactly the views that training gets of them, made on the CPU.

    Returns:
        Canvases uint8 [B, C, S, S], their original (height, width) [B, 2], and views in [0, 1].
    """
    from sslkit.augment.build import build_augmentation, image_format
    from sslkit.core.augmentation import draw_for_step
    from sslkit.data.loader import canvas_for, train_loader
    from sslkit.data.open import open_train

    data, augmentation = open_train(recipe, registry), build_augmentation(recipe, registry)
    batch_size = recipe.optim.batch_size
    rows = slice(0, min(most, batch_size))
    loader = train_loader(
        data,
        seed=recipe.seed,
        batch_size=batch_size,
        canvas_size=canvas_for(data, augmentation.canvas_size, recipe.data),
        start_step=0,
        end_step=1,
        rows=rows,
        data=replace(recipe.data, workers=0, max_broken=1.0),
    )
    batch = next(loader)
    params = draw_for_step(augmentation, seed=recipe.seed, step=0, batch_size=batch_size).rows(rows)
    with torch.no_grad():
        views = augmentation.apply(batch.canvas, batch.size, params)
    formats = image_format(recipe)
    return batch.canvas, batch.size, _in_unit_range(views, formats.mean, formats.std)


def _in_unit_range(views: Views, mean: tuple[float, ...], std: tuple[float, ...]) -> Views:
    shift, scale = (torch.tensor(x).view(-1, 1, 1) for x in (mean, std))  # [C, 1, 1]
    local = None if views.local_views is None else views.local_views * scale + shift
    return Views(views.global_views * scale + shift, local)


def draw_crops(
    canvas: Tensor, size: Tensor, views: Views, path: Path, *, name: str = Augmentation.global_name
) -> Path:
    """One row an image: the whole of it, its global crops, its local crops.

    Args:
        canvas: uint8 [B, C, S, S], images squashed to squares; drawn in their own proportions.
        size: (height, width) of the images, [B, 2].
        views: in [0, 1]: global [G, B, C, H, W], local [L, B, C, h, w] or None.
        path: where the picture goes.
        name: what the global views are called.
    """
    count, local = len(canvas), views.local_views
    columns = _columns(views)
    widths = [1.15, len(views.global_views), 0.62 * (len(columns[2]) if len(columns) > 2 else 0)]
    figure = new_figure(1.45 * sum(widths) + 0.3, 1.45 * count + 0.9)
    title(figure, f"What step 0 shows the network: {count} training images and their crops", _below(local))
    parts = figure.subfigures(1, len(columns), width_ratios=widths[: len(columns)], squeeze=False)[0]
    whole = [canvas.float() / 255]  # [B, C, S, S]
    _draw_column(parts[0], "image", whole, size)
    _draw_column(parts[1], f"{len(columns[1])} {name} of {_pixels(views.global_views)}", columns[1])
    if len(columns) > 2:
        assert local is not None
        shown_of = "" if len(columns[2]) == len(local) else f"{len(columns[2])} of "
        heading = f"{shown_of}{len(local)} local crops of {_pixels(local)}"
        _draw_column(parts[2], heading, columns[2])
    return save(figure, path)


def _columns(views: Views) -> list[list[Tensor]]:
    """What is drawn beside each other; the first place is the whole image's."""
    local = views.local_views
    columns: list[list[Tensor]] = [[], list(views.global_views)]
    return columns if local is None or not len(local) else [*columns, list(local[:MOST_LOCAL])]


def _draw_column(part: "SubFigure", heading: str, images: list[Tensor], size: Tensor | None = None) -> None:
    """Images [B, C, h, w] each, one column of axes for each of them."""
    part.suptitle(heading, fontsize=10, color=GREY)
    grid: Any = part.subplots(len(images[0]), len(images), squeeze=False)
    for column, batch in enumerate(images):
        for row, image in enumerate(batch):
            axes = bare(grid[row, column])
            axes.imshow(shown(image), interpolation="nearest")
            if size is not None:
                height, width = size[row].tolist()
                axes.set_aspect(height / width)


def _pixels(views: Tensor) -> str:
    height, width = views.shape[-2:]
    return f"{height} px" if height == width else f"{height} x {width} px"


def _below(local: Tensor | None) -> str:
    if local is None:
        return "Exactly the pixels of the first training step."
    return "Exactly the pixels of the first training step. All crops of an image should get the same answer."
