"""Random crops as torchvision chooses them, cut out of a squashed canvas.

Pure functions: the candidates that were drawn in, boxes and pixels out.
"""

# B images, C channels, K candidates, S side of the canvas, s side of a crop

import torch
import torch.nn.functional as F
from torch import Tensor

CANDIDATES = 10
"""Tries for each image, as in torchvision and kornia."""
ASPECTS = (3 / 4, 4 / 3)
"""Range of width / height of a crop, as in torchvision."""
CUBIC = -0.5
"""The bicubic kernel's constant in PIL, and in torch with antialias."""


def choose_boxes(area: Tensor, aspect: Tensor, place: Tensor, size: Tensor) -> Tensor:
    """The first candidate that fits each image, or the largest centred box of a valid aspect where none does.

    Args:
        area: share of the image's area, [B, K].
        aspect: width / height, [B, K].
        place: where the box goes, in [0, 1) of the free rows and columns, [B, 2].
        size: height and width of the images, [B, 2].

    Returns:
        (top, left, height, width) in whole pixels of the image, [B, 4].

    Source: `torchvision.transforms.RandomResizedCrop.get_params`.
    """
    size = size.to(area)
    height, width = size[:, :1], size[:, 1:]  # [B, 1]
    target = area * height * width  # [B, K]
    candidates = torch.stack([(target / aspect).sqrt(), (target * aspect).sqrt()], -1).round()  # [B, K, 2]
    fits = ((candidates > 0) & (candidates <= size[:, None])).all(-1)  # [B, K]
    first = (fits & (fits.int().cumsum(1) == 1)).int().argmax(1)  # [B]; one maximum: no tie to break
    chosen = candidates[torch.arange(len(size), device=size.device), first]  # [B, 2]
    largest = torch.cat([(width / ASPECTS[0]).round(), (height * ASPECTS[1]).round()], 1).minimum(size)
    found = fits.any(1, keepdim=True)  # [B, 1]
    extent = torch.where(found, chosen, largest)  # [B, 2]
    free = size - extent
    start = torch.where(found, (place * (free + 1)).floor().minimum(free), (free / 2).floor())
    return torch.cat([start, extent], 1)


def canvas_boxes(boxes: Tensor, size: Tensor, side: int) -> Tensor:
    """Boxes of the images, [B, 4] as from `choose_boxes`, on canvases of side S that hold them squashed.

    Returns:
        (top, left, bottom, right) int64 [B, 4], to the nearest pixel of the canvas, at least one pixel large.
    """
    scale = side / size.to(boxes)  # [B, 2]
    start = (boxes[:, :2] * scale).round().clamp(0, side - 1)
    stop = ((boxes[:, :2] + boxes[:, 2:]) * scale).round().clamp(max=side)
    return torch.cat([start, stop.maximum(start + 1)], 1).long()


def resample(canvas: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Cut out and resize bicubically with antialias, the quicker way on the device.

    Args:
        canvas: uint8 [B, C, S, S].
        boxes: (top, left, bottom, right) int64 [B, 4].
        side: s.

    Returns:
        float32 in [0, 1], [B, C, s, s].
    """
    by = resample_by_loop if canvas.device.type == "cpu" else resample_by_matrices
    return by(canvas, boxes, side)


def resample_by_loop(canvas: Tensor, boxes: Tensor, side: int) -> Tensor:
    """`resample`, image by image."""
    out = canvas.new_empty((len(canvas), canvas.shape[1], side, side), dtype=torch.float32)
    for i, (top, left, bottom, right) in enumerate(boxes.tolist()):
        crop = canvas[i : i + 1, :, top:bottom, left:right].float()  # [1, C, h, w]
        out[i] = F.interpolate(crop, (side, side), mode="bicubic", antialias=True)[0]
    return out.clamp_(0, 255).div_(255)


def resample_by_matrices(canvas: Tensor, boxes: Tensor, side: int) -> Tensor:
    """`resample`, all images at once: rows and columns are weighted by a matrix each."""
    length = canvas.shape[-1]
    rows = resize_weights(boxes[:, 0], boxes[:, 2], length, side)  # [B, s, S]
    columns = resize_weights(boxes[:, 1], boxes[:, 3], length, side)  # [B, s, S]
    out = rows[:, None] @ canvas.float() @ columns[:, None].mT  # [B, C, s, s]
    return out.clamp_(0, 255).div_(255)


def resize_weights(start: Tensor, stop: Tensor, length: int, side: int) -> Tensor:
    """What each of `length` pixels gives to each of s pixels that the range [start, stop) is resized to.

    Bicubic, widened for antialias where it shrinks, nothing from outside the range: PIL's resize of a crop.

    Args:
        start, stop: int64 [B].

    Returns:
        float32 [B, s, length]; each row sums to 1.
    """
    pixel = torch.arange(length, device=start.device, dtype=torch.float32)  # [length]
    low, high = (x.float()[:, None, None] for x in (start, stop))  # [B, 1, 1]
    scale = (high - low) / side
    output = torch.arange(side, device=start.device, dtype=torch.float32)[:, None]  # [s, 1]
    centre = low + (output + 0.5) * scale  # [B, s, 1]
    weights = cubic((pixel + 0.5 - centre) / scale.clamp(min=1))  # [B, s, length]
    weights = torch.where((pixel >= low) & (pixel < high), weights, 0.0)
    return weights / weights.sum(-1, keepdim=True)


def cubic(x: Tensor) -> Tensor:
    """The bicubic kernel at distances x (Keys 1981), 0 from a distance of 2 on."""
    x = x.abs()
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
