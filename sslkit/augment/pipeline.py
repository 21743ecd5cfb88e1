"""The operations of one kind of view, in their order."""

# B images, C channels, S side of the canvas, s side of a crop

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import kornia.augmentation as K
import torch
from torch import Tensor

from sslkit.augment.config import MultiCropConfig, PatchesConfig, per_kind
from sslkit.augment.extra import extra_operation
from sslkit.augment.ops import ColorJitter, Drawn, Operation, RandomResizedCrop
from sslkit.core.randomness import seed_of

GLOBAL_KINDS = (0, 1)
BLUR_REACH = 4
"""Standard deviations that the blur's kernel reaches to either side: 17 pixels for a sigma of 2."""


@dataclass(frozen=True)
class Pipeline:
    """A crop, and what is done to it afterwards."""

    crop: "Crop"
    operations: tuple[Operation, ...]

    def draw(self, n: int, seed: int) -> tuple[Drawn, ...]:
        """Each operation from a seed of its own; leaves torch's CPU generator in another state."""
        return draw_all((self.crop, *self.operations), n, seed)

    def apply(self, canvas: Tensor, size: Tensor, drawn: tuple[Drawn, ...]) -> Tensor:
        """uint8 canvases [B, C, S, S] and sizes [B, 2] -> float32 in [0, 1], [B, C, s, s]; draws nothing."""
        return apply_all(self.operations, self.crop.cut(canvas, size, drawn[0]), drawn[1:])


def draw_all(operations: Sequence[Operation], n: int, seed: int) -> tuple[Drawn, ...]:
    """Each operation's draws for n images from a seed of its own; leaves torch's CPU generator elsewhere."""
    return tuple(_draw_seeded(operation, n, seed) for operation in operations)


def _draw_seeded(operation: Operation, n: int, seed: int) -> Drawn:
    torch.default_generator.manual_seed(seed_of(seed, operation.name))
    return operation.draw(n)


def apply_all(operations: Sequence[Operation], x: Tensor, drawn: Sequence[Drawn]) -> Tensor:
    """One operation after the other on images [B, C, s, s] in [0, 1], perhaps in place."""
    for operation, values in zip(operations, drawn, strict=True):
        x = operation.apply(x, values)
    return x


class Crop(Operation):
    """The crop, which every image gets."""

    def cut(self, canvas: Tensor, size: Tensor, drawn: Drawn) -> Tensor:
        """uint8 canvases [B, C, S, S] and sizes [B, 2] -> float32 in [0, 1], [B, C, s, s]."""
        out: Tensor = self._applies(canvas, params={**drawn.values, "size": size})
        return out


def build_pipeline(config: MultiCropConfig, kind: int, channels: int) -> Pipeline:
    """The operations of the views of one kind; those with a probability of 0 are left out.

    Raises `RecipeError` for an entry of `extra` that cannot be used.
    """
    is_global = kind in GLOBAL_KINDS
    side = config.global_size if is_global else config.local_size
    low, high = config.global_scale if is_global else config.local_scale
    shape = (channels, side, side)

    def make_crop(_: float) -> Any:
        return RandomResizedCrop(side, (low, high), antialias=config.resample == "antialias")

    steps = [
        Operation(name, make, per_kind(p)[kind], shape)
        for name, p, make in _steps(config)
        if per_kind(p)[kind] > 0
    ]
    extra = [extra_operation(entry, i, kind, shape) for i, entry in enumerate(config.extra)]
    return Pipeline(Crop("crop", make_crop, 1.0, shape), (*steps, *(step for step in extra if step)))


def patch_operations(config: PatchesConfig, channels: int) -> tuple[Operation, ...]:
    """The operations of a patch; those with a probability of 0 are left out."""
    shape = (channels, config.size, config.size)
    return tuple(Operation(name, make, p, shape) for name, p, make in _steps(config) if p > 0)


Step = tuple[str, Any, Callable[[float], Any]]
"""Name, probability (for multi-crop perhaps one for each kind of view), and what builds the step."""


def _steps(config: MultiCropConfig | PatchesConfig) -> Iterator[Step]:
    """Each step after the crop, in the authors' order."""
    yield "flip", config.flip.p, lambda p: K.RandomHorizontalFlip(p=p)
    if isinstance(config, MultiCropConfig) and config.rotation.degrees:
        degrees = config.rotation.degrees
        yield "rotation", config.rotation.p, lambda p: K.RandomRotation(degrees, p=p)
    yield from _colour_steps(config)


def _colour_steps(config: MultiCropConfig | PatchesConfig) -> Iterator[Step]:
    jitter, blur = config.color_jitter, config.blur
    strengths = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    yield "color_jitter", jitter.p, lambda p: ColorJitter(*strengths, p=p)
    yield "grayscale", config.grayscale.p, lambda p: K.RandomGrayscale(p=p)
    low, high = blur.sigma
    kernel = 2 * math.ceil(BLUR_REACH * high) + 1
    yield "blur", blur.p, lambda p: K.RandomGaussianBlur(kernel, (low, high), border_type="replicate", p=p)
    exact: dict[str, Any] = {
        "thresholds": (0.5, 0.5),
        "additions": (0.0, 0.0),
    }  # a scalar: a range
    yield "solarize", config.solarize.p, lambda p: K.RandomSolarize(**exact, p=p)
