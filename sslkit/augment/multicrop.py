"""Multi-crop as a built-in augmentation (Caron et al. 2020, 2021)."""

# B images, C channels, S side of the canvas, G global crops, L local crops, s side of a crop

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sslkit.augment.config import MultiCropConfig, Probability, check_channels, per_kind
from sslkit.core.augmentation import Augmentation, ImageFormat
from sslkit.core.method import Views
from sslkit.core.randomness import seed_of
from sslkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from sslkit.augment.ops import Drawn
    from sslkit.augment.pipeline import Pipeline

LOCAL = 2
"""The local crops' place among the kinds of views."""


@dataclass(frozen=True)
class MultiCropParams:
    """What was drawn: for each view its operations' values, for all images."""

    views: tuple[tuple["Drawn", ...], ...]

    def rows(self, part: slice) -> "MultiCropParams":
        """The draws of some of the images."""
        return MultiCropParams(tuple(tuple(drawn.rows(part) for drawn in view) for view in self.views))


class MultiCrop(Augmentation):
    """Two global crops and `local_count` local ones of each image, each with operations of its own.

    Every operation of every view draws from a seed of its own, so switching one off leaves all other draws as
    they were.
    """

    Config = MultiCropConfig

    def __init__(self, config: MultiCropConfig, image_format: ImageFormat) -> None:
        """Build the operations.

        Raises:
            RecipeError: an operation cannot work with the channels, or an entry of `extra` not at all.
        """
        from sslkit.augment.pipeline import build_pipeline

        super().__init__(config, image_format)
        check_channels(config, image_format.channels, lambda p: _is_used(p, config))
        self.canvas_size = canvas_side_for(config)
        self.image_size = config.global_size
        self.view_sizes = tuple(
            {config.global_size: None} | ({config.local_size: None} if config.local_count else {})
        )
        kinds = [0, 1, *[LOCAL] * config.local_count]
        built = {kind: build_pipeline(config, kind, image_format.channels) for kind in sorted(set(kinds))}
        # A tuple, so that `.to(device)` does not reach kornia's samplers: they must stay on the CPU.
        self._pipelines: tuple[Pipeline, ...] = tuple(built[kind] for kind in kinds)
        # Plain tensors: `.half()` must not round them.
        self.mean = torch.tensor(image_format.mean, dtype=torch.float32).view(-1, 1, 1)  # [C, 1, 1]
        self.std = torch.tensor(image_format.std, dtype=torch.float32).view(-1, 1, 1)

    def draw(self, n: int) -> MultiCropParams:
        """All random choices for n images, from torch's global CPU generator; depends on n alone."""
        root = int(torch.randint(2**62, ()))
        with torch.random.fork_rng(devices=[]):
            views = tuple(
                pipeline.draw(n, seed_of(root, view)) for view, pipeline in enumerate(self._pipelines)
            )
        return MultiCropParams(views)

    def apply(self, canvas: Tensor, size: Tensor, params: MultiCropParams) -> Views:  # type: ignore[override]
        """uint8 canvases [B, C, S, S], original (height, width) [B, 2] -> float32 views; draws nothing."""
        with torch.no_grad(), torch.autocast(canvas.device.type, enabled=False):
            views = list(self._views(canvas, size, params))
        local = torch.stack(views[LOCAL:]) if views[LOCAL:] else None  # [L, B, C, s, s]
        return Views(torch.stack(views[:LOCAL]), local)  # [G, B, C, s, s]

    def _views(self, canvas: Tensor, size: Tensor, params: MultiCropParams) -> Iterator[Tensor]:
        mean, std = (x.to(canvas.device, non_blocking=True) for x in (self.mean, self.std))
        for pipeline, drawn in zip(self._pipelines, params.views, strict=True):
            yield pipeline.apply(canvas, size, drawn).sub_(mean).div_(std)  # [B, C, s, s]


def canvas_side_for(config: MultiCropConfig) -> int:
    """Side of the square that holds an image with enough pixels for the smallest local crop.

    Without local crops, for the smallest global one; never less than a global crop's side.
    """
    side, scale = (
        (config.local_size, config.local_scale)
        if config.local_count
        else (config.global_size, config.global_scale)
    )
    return max(math.ceil(side / math.sqrt(scale[0])), config.global_size)


def _is_used(p: Probability, config: MultiCropConfig) -> bool:
    first, second, local = per_kind(p)
    return bool(first or second or (local and config.local_count))


@hookimpl
def sslkit_augmentations() -> dict[str, type[Augmentation]]:
    return {"multicrop": MultiCrop}
