"""kornia's augmentations as operations that are drawn for a whole batch and applied to any rows of it.

kornia draws every parameter and carries out every operation; added here are the crop's antialias, a quicker
hue, and that only the images that an operation was drawn for are computed. Not imported to learn names, since
kornia takes seconds to import.
"""

# B images, C channels, S side of the canvas, s side of a crop

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import kornia.augmentation as K
import torch
from kornia.augmentation.random_generator import ResizedCropGenerator
from kornia.geometry.transform import crop_by_indices
from torch import Tensor

from sslkit.augment.crop import ASPECTS, CANDIDATES, canvas_boxes, choose_boxes, resample

SHAPE = "forward_input_shape"
CHOSEN = "batch_prob"
POSITION = "batch_idx"
"""kornia's names for what must follow the rows: the batch's shape, who is chosen, places in the batch."""

Shape = tuple[int, int, int]
"""Of one image, (C, s, s)."""


@dataclass(frozen=True)
class Drawn:
    """What kornia drew for one operation on a batch, by kornia's names."""

    values: Mapping[str, Tensor]
    per_image: frozenset[str]
    """Names of the values with one entry for each image; the others hold for the whole batch."""

    def rows(self, part: slice | Tensor) -> "Drawn":
        """The values of some images, by a slice or by their positions [n] int64."""
        values = {
            name: value[part] if name in self.per_image else value for name, value in self.values.items()
        }
        count = len(values[CHOSEN])
        if POSITION in values:
            values[POSITION] = torch.arange(count).view_as(values[POSITION])
        values[SHAPE] = torch.cat([torch.tensor([count]), values[SHAPE][1:]])
        return Drawn(values, self.per_image)


class Operation:
    """One kornia augmentation of float images [B, C, s, s] in [0, 1]."""

    def __init__(self, name: str, make: Callable[[float], Any], p: float, shape: Shape) -> None:
        """Wrap an augmentation.

        Args:
            name: tells its draws from those of other operations.
            make: builds the augmentation for a probability.
            p: probability of an image to be changed.
            shape: of one image, (C, s, s).
        """
        self.name = name
        self._draws, self._applies = make(p), make(1.0)
        self._shape = shape
        self._per_image = _per_image_names(self._draws, shape)

    def draw(self, n: int) -> Drawn:
        """From torch's global CPU generator."""
        return Drawn(self._draws.forward_parameters(torch.Size((n, *self._shape))), self._per_image)

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """Change the images [B, C, s, s] that are drawn for it, in place where it can; draws nothing.

        kornia would compute all images and select; the chosen ones' values are the same.
        """
        chosen = (drawn.values[CHOSEN] > 0.5).nonzero().flatten()  # on the CPU: waits for no device
        if len(chosen) == 0:
            return x
        if len(chosen) == len(x):
            return self._applies(x, params=dict(drawn.values))  # type: ignore[no-any-return]
        index = chosen.to(x.device, non_blocking=True)
        changed = self._applies(x[index], params=dict(drawn.rows(chosen).values))
        return x.index_copy_(0, index, changed)


def _per_image_names(augmentation: Any, shape: Shape) -> frozenset[str]:
    """Which of its parameters have an entry for each image: those whose length follows the batch."""
    with torch.random.fork_rng(devices=[]):
        few, many = (augmentation.forward_parameters(torch.Size((n, *shape))) for n in (3, 5))
    return frozenset(name for name in few if _length(few[name]) == 3 and _length(many[name]) == 5)


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, Tensor) and value.ndim else None


class CandidateGenerator(ResizedCropGenerator):
    """Draws candidates for crops of images whose size is not known yet."""

    def forward(self, batch_shape: tuple[int, ...], same_on_batch: bool = False) -> dict[str, Tensor]:
        """Shares of the area and aspects [B, K], and a place in [0, 1) [B, 2]."""
        n = batch_shape[0]
        low, high = self.scale
        share = self.rand_sampler.rsample(torch.Size((n, CANDIDATES)))  # [B, K]
        return {
            "area": share * (high - low) + low,
            "aspect": self.log_ratio_sampler.rsample(torch.Size((n, CANDIDATES))).exp(),  # [B, K]
            "place": self.rand_sampler.rsample(torch.Size((n, 2))),  # [B, 2]
        }


class RandomResizedCrop(K.RandomResizedCrop):  # type: ignore[misc]
    """kornia's crop with torchvision's choice among the candidates, and with antialias.

    Takes uint8 canvases [B, C, S, S] that hold squashed images; the parameter `size` has the images' own
    (height, width), [B, 2]. Gives float32 in [0, 1], [B, C, s, s].
    """

    def __init__(self, side: int, scale: tuple[float, float], *, antialias: bool) -> None:
        super().__init__((side, side), scale=scale, ratio=ASPECTS)
        self._param_generator = CandidateGenerator((side, side), scale, ASPECTS)
        self._side, self._antialias = side, antialias

    def transform_tensor(self, input: Tensor, **_: Any) -> Tensor:
        """kornia refuses uint8 here; canvases are turned into floats crop by crop."""
        return input

    def apply_func(self, in_tensor: Tensor, params: dict[str, Tensor], flags: Any = None) -> Tensor:
        size = params["size"]
        area, aspect, place = (
            params[name].to(size.device, non_blocking=True) for name in ("area", "aspect", "place")
        )
        boxes = canvas_boxes(choose_boxes(area, aspect, place, size), size, in_tensor.shape[-1])  # [B, 4]
        return cut_out(in_tensor, boxes, self._side, antialias=self._antialias)


def cut_out(canvas: Tensor, boxes: Tensor, side: int, *, antialias: bool) -> Tensor:
    """Boxes (top, left, bottom, right) int64 [B, 4] of canvases uint8 [B, C, S, S], resized.

    Returns:
        float32 in [0, 1], [B, C, s, s]: bicubic with antialias, or as kornia's RandomResizedCrop does it.
    """
    if antialias:
        return resample(canvas, boxes, side)
    return crop_by_indices(canvas.float() / 255, _corners(boxes), (side, side), align_corners=True)


def _corners(boxes: Tensor) -> Tensor:
    """(top, left, bottom, right) [B, 4] -> the corner pixels' (x, y) clockwise, inclusive, [B, 4, 2]."""
    top, left, bottom, right = boxes.unbind(1)
    bottom, right = bottom - 1, right - 1
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return torch.stack([torch.stack(corner, -1) for corner in corners], 1).float()


class ColorJitter(K.ColorJitter):  # type: ignore[misc]
    """kornia's ColorJitter with `shift_hue`, which is more than three times as quick on a CPU."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert hasattr(self, "_hue_fn"), "kornia names its steps otherwise now"
        self._hue_fn = shift_hue


def shift_hue(image: Tensor, angle: Tensor) -> Tensor:
    """Turn the hue of RGB images [B, 3, H, W] in [0, 1] by angles [B] in radians.

    What `kornia.enhance.adjust_hue` computes, without the way to HSV and back: value V and chroma D stay, and
    each channel is V - D * clip(2 - |k - 2|, 0, 1) for k = (n + hue) mod 6, n = 5, 3, 1 for R, G, B (the
    conversion from HSV in its closed form).
    """
    value = image.amax(1, keepdim=True)  # [B, 1, H, W]
    chroma = value - image.amin(1, keepdim=True)
    red, green, blue = image.split(1, 1)
    per_chroma = chroma.clamp(min=torch.finfo(image.dtype).tiny).reciprocal_()
    by_green = torch.where(green == value, (blue - red) * per_chroma + 2, (red - green) * per_chroma + 4)
    hue = torch.where(red == value, (green - blue) * per_chroma, by_green)  # in sextants
    hue += angle.to(hue.device, hue.dtype, non_blocking=True).view(-1, 1, 1, 1) * (3 / math.pi)
    out = torch.empty_like(image)
    for channel, offset in enumerate((5, 3, 1)):
        k = hue + offset
        k.sub_((k / 6).floor_().mul_(6)).sub_(2).abs_().neg_().add_(2).clamp_(0, 1)
        torch.addcmul(value, chroma, k, value=-1, out=out[:, channel : channel + 1])
    return out
