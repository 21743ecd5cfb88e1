"""An augmentation that conforms, and for each check one that does not."""

# B images, C channels, S side, n images drawn for

import random
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sslkit.core.augmentation import Augmentation, ImageFormat
from sslkit.core.method import Views
from sslkit.errors import RecipeError

SIDE = 16


@dataclass
class NoiseConfig:
    """Noise on two views."""

    strength: float = 0.1
    """Deviation of the brightness that is added, of images in [0, 1], >= 0."""


@dataclass(frozen=True)
class Drawn:
    """Brightness of each view of each image."""

    brightness: Tensor  # [2, n]

    def rows(self, part: slice) -> Self:
        return type(self)(self.brightness[:, part])


class Plain(Augmentation):
    """Two views of other brightness; the mistakes below inherit from it."""

    Config = NoiseConfig
    canvas_size = image_size = SIDE
    view_sizes: tuple[int, ...] = (SIDE,)

    def __init__(self, config: NoiseConfig, image_format: ImageFormat) -> None:
        super().__init__(config, image_format)
        self.config, self.format = config, image_format

    def draw(self, n: int) -> Any:
        return Drawn(self.config.strength * torch.randn(2, n))

    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        images = interpolate(canvas.float() / 255, (SIDE, SIDE))  # [B, C, S, S]
        return Views(
            torch.stack([self.normal(images + b.view(-1, 1, 1, 1).to(images)) for b in params.brightness])
        )

    def normal(self, images: Tensor) -> Tensor:
        mean, std = (
            torch.tensor(x, device=images.device).view(-1, 1, 1) for x in (self.format.mean, self.format.std)
        )
        return (images - mean) / std


class NeedsColours(Plain):
    def __init__(self, config: NoiseConfig, image_format: ImageFormat) -> None:
        super().__init__(config, image_format)
        if image_format.channels != 3:
            raise RecipeError("'augment.hue' needs three channels\n  set augment.hue=0")


class SaysNoSizes(Plain):
    view_sizes = ()


class GivesHalves(Plain):
    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        return Views(super().apply(canvas, size, params).global_views.half())


class SaysAnotherSize(Plain):
    view_sizes = (SIDE, 8)


class LeavesBytes(Plain):
    def normal(self, images: Tensor) -> Tensor:
        return images * 255


class LeavesShares(Plain):
    def normal(self, images: Tensor) -> Tensor:
        return images.clamp(0, 1)


class DrawsFromNumpy(Plain):
    def draw(self, n: int) -> Any:
        return Drawn(torch.from_numpy(np.random.randn(2, n)).float())


class WithLocalViews(Plain):
    """Conforms; its local views are the corners of the global ones. The next mistakes inherit from it."""

    view_sizes = (SIDE, SIDE // 2)

    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        views = super().apply(canvas, size, params).global_views
        return Views(views, self.local(views[..., : SIDE // 2, : SIDE // 2]))

    def local(self, corners: Tensor) -> Tensor:
        return corners


class LeavesLocalShares(WithLocalViews):
    def local(self, corners: Tensor) -> Tensor:
        return (corners * 0.25 + 0.45).clamp(0, 1)


class GivesTheSameTensorAgain(WithLocalViews):
    given: Tensor | None = None

    def local(self, corners: Tensor) -> Tensor:
        self.given = corners.clone() if self.given is None else self.given.add_(corners)
        return self.given


class DropsASingleImage(WithLocalViews):
    def local(self, corners: Tensor) -> Tensor:
        return corners.squeeze(1)


class ColoursLocalViews(WithLocalViews):
    def local(self, corners: Tensor) -> Tensor:
        return corners.expand(-1, -1, 3, -1, -1)


class CountsItsDraws(Plain):
    draws = 0

    def draw(self, n: int) -> Any:
        self.draws += 1
        return Drawn(torch.randn(2, n) * self.draws)


class DrawsLate(Plain):
    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        views = super().apply(canvas, size, params).global_views
        return Views(views + 0.01 * torch.randn(views.shape))


class WritesOnTheCanvas(Plain):
    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        return super().apply(canvas.clamp_(20, 235), size, params)


class KnowsTheBatch(Plain):
    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        views = super().apply(canvas, size, params).global_views
        return Views(views - views.mean(1, keepdim=True))


class CutsNothing(Plain):
    def draw(self, n: int) -> Any:
        return Uncut(self.config.strength * torch.randn(2, n))

    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        return super().apply(canvas, size, Drawn(params.brightness[:, : len(canvas)]))


@dataclass(frozen=True)
class Uncut(Drawn):
    def rows(self, part: slice) -> Self:
        return self


class KnowsItsCanvas(Plain):
    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        assert canvas.shape[-1] == SIDE, "the canvas is too small"
        return super().apply(canvas, size, params)


class BreaksOnGrey(Plain):
    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        canvas = canvas[:, [2, 1, 0]]
        return super().apply(canvas, size, params)


class SeedsEverybody(Plain):
    def draw(self, n: int) -> Any:
        random.seed(0)
        return super().draw(n)


class MakesTensorsOnTheCPU(Plain):
    def normal(self, images: Tensor) -> Tensor:
        return (images - torch.tensor(self.format.mean).view(-1, 1, 1)) / 0.25
