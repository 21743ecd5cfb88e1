"""Features of several augmented views of held-out images, as the run's own training makes them."""

# N images, q views, n images at a time, G global views, C channels, S side of the canvas, D features

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sslkit.augment.build import build_augmentation
from sslkit.core.augmentation import Augmentation
from sslkit.core.backbone import Backbone
from sslkit.core.dataset import Sample
from sslkit.core.evaluator import EvalContext, ImageSet
from sslkit.core.randomness import seeded
from sslkit.data.fit import squashed
from sslkit.eval.features import eval_mode

if TYPE_CHECKING:
    from sslkit.recipe.schema import Recipe

AT_A_TIME = 64
"""Images whose views are made together."""


@torch.no_grad()
def view_features(backbone: Backbone, images: ImageSet, count: int, context: EvalContext) -> Tensor:
    """Features of `count` global views of each image that can be read, [N, q, D] on the CPU.

    The draws depend on the images' places alone, so that all subjects see the same views.
    """
    recipe = context.recipe
    most = recipe.data.canvas or build_augmentation(recipe, context.registry).canvas_size
    augmentation = build_augmentation(_without_local_crops(recipe), context.registry).to(context.device)
    features = []
    with eval_mode(backbone):
        for number, some in enumerate(_portions(images, context)):
            canvas, size = (x.to(context.device) for x in _canvases(some, most))
            views = _views(augmentation, canvas, size, count, number)  # [q, n, C, s, s]
            outputs = backbone(views.flatten(0, 1)).float().cpu()  # [q n, D]
            features.append(outputs.unflatten(0, (count, len(some))).transpose(0, 1))
    return torch.cat(features)


def _without_local_crops(recipe: "Recipe") -> "Recipe":
    """They are not asked for; each view draws from a seed of its own, so that the others stay as they are."""
    config = recipe.augment.config
    if not hasattr(config, "local_count"):
        return recipe
    return replace(recipe, augment=replace(recipe.augment, config=replace(config, local_count=0)))


def _portions(images: ImageSet, context: EvalContext) -> Iterator[list[Sample]]:
    portion: list[Sample] = []
    for _, sample in context.track(images.samples(), len(images), "augmented views"):
        portion.append(sample)
        if len(portion) == AT_A_TIME:
            yield portion
            portion = []
    if portion:
        yield portion


def _canvases(samples: Sequence[Sample], most: int) -> tuple[Tensor, Tensor]:
    """Squashed to squares as for training, uint8 [n, C, S, S], and (height, width) [n, 2]."""
    sizes = [sample.image.shape[:2] for sample in samples]
    side = min(most, max(max(size) for size in sizes))
    squares = [torch.from_numpy(squashed(sample.image, side)) for sample in samples]  # [S, S, C]
    return torch.stack(squares).permute(0, 3, 1, 2).contiguous(), torch.tensor(sizes)


def _views(augmentation: Augmentation, canvas: Tensor, size: Tensor, count: int, number: int) -> Tensor:
    """As many draws as it takes for `count` global views: [count, n, C, s, s]."""
    views: list[Tensor] = []
    while len(views) < count:
        with seeded("health", number, len(views)):
            params = augmentation.draw(len(canvas))
        views += augmentation.apply(canvas, size, params).global_views
    return torch.stack(views[:count])
