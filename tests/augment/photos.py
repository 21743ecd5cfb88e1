"""Real photos, as PIL images and as tensors."""

from functools import cache

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor

NAMES = ("astronaut", "chelsea", "coffee")


@cache
def photo(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)())


@cache
def square(name: str, side: int) -> Image.Image:
    """The middle of a photo, uncut pixels."""
    image = photo(name)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def levels(image: Image.Image) -> Tensor:
    """uint8 [C, H, W]."""
    array = np.asarray(image)
    return torch.tensor(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))


def unit(image: Image.Image) -> Tensor:
    """float32 in [0, 1], [C, H, W]."""
    return levels(image).float() / 255


def error(got: Tensor, wanted: Tensor | Image.Image) -> float:
    """Mean difference in grey levels of 255; `got` and a tensor `wanted` in [0, 1]."""
    expected = unit(wanted) if isinstance(wanted, Image.Image) else wanted
    return float((got - expected).abs().mean() * 255)
