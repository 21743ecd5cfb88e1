"""Images to the size that a batch needs, antialiased, through Pillow."""

# H, W size of the image, S side of the canvas, C channels

import numpy as np
import numpy.typing as npt
from PIL import Image

from sslkit.core.dataset import UInt8Array

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the image


def squashed(image: UInt8Array, side: int) -> UInt8Array:
    """The whole image [H, W, C] as a square [side, side, C]; its proportions are lost."""
    height, width = image.shape[:2]
    return _resampled(image, (0, 0, width, height), side)


def centre_cropped(image: UInt8Array, resize: int, crop: int) -> UInt8Array:
    """Short side to `resize`, then the middle [crop, crop, C], in one resampling; 0 < crop <= resize."""
    return _resampled(image, centre_box(image.shape[0], image.shape[1], resize, crop), crop)


def centre_cropped_mask(mask: npt.NDArray[np.bool_], resize: int, crop: int) -> npt.NDArray[np.bool_]:
    """A mask [H, W] cropped as `centre_cropped` does it, by the nearest pixel."""
    return centre_cropped_objects(mask.astype(np.uint8), resize, crop) > 0


def centre_cropped_objects(objects: UInt8Array, resize: int, crop: int) -> UInt8Array:
    """Object numbers [H, W] cropped as `centre_cropped` does it, by the nearest pixel."""
    box = centre_box(objects.shape[0], objects.shape[1], resize, crop)
    return np.array(Image.fromarray(objects).resize((crop, crop), Image.Resampling.NEAREST, box=box))


def centre_box(height: int, width: int, resize: int, crop: int) -> Box:
    """What torchvision's Resize(resize) and CenterCrop(crop) keep, in pixels of the original."""
    short = min(height, width)
    box = []
    for length in (width, height):
        resized = resize * length // short
        first = round((resized - crop) / 2)
        box.append((first * length / resized, min((first + crop) * length / resized, length)))
    (left, right), (top, bottom) = box
    return left, top, right, bottom


def _resampled(image: UInt8Array, box: Box, side: int) -> UInt8Array:
    """Bicubic with antialias; channel by channel unless RGB: the fourth of four need not be alpha."""
    height, width, channels = image.shape
    if (height, width) == (side, side) and box == (0, 0, width, height):
        return image
    if channels == 3:
        return _resampled_picture(image, box, side)
    planes = [_resampled_picture(np.ascontiguousarray(image[..., c]), box, side) for c in range(channels)]
    return np.stack(planes, axis=-1)  # [side, side, C]


def _resampled_picture(array: UInt8Array, box: Box, side: int) -> UInt8Array:
    picture = Image.fromarray(array).resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.array(picture)
