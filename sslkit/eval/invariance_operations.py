"""What is done to images, and how strong it was in training.

Each operation is kornia's own at a fixed strength: 0 changes nothing, 1 is the most that training drew, 2 is
twice that. Colours and turns go up for one half of the images and down for the other.
"""

# N images, C channels, S side

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import kornia.enhance as enhance
import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import rotate, translate
from PIL import Image
from torch import Tensor

from sslkit.augment.config import MultiCropConfig, PatchesConfig, Probability, per_kind
from sslkit.augment.crop import resample
from sslkit.augment.ops import shift_hue
from sslkit.augment.pipeline import BLUR_REACH
from sslkit.core.dataset import UInt8Array
from sslkit.core.randomness import seed_of

Change = Callable[[Tensor, float, Tensor], Tensor]
"""Images [N, C, S, S] in [0, 1], a strength > 0, and for each image up (1) or down (-1) [N] -> images."""

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
"""Strengths of what was not trained on: those of DINO."""
SIGMA = 2.0
"""Pixels: DINO's largest blur."""
SHARE = 0.4
"""Of the area: DINO's smallest global crop."""
DEGREES = 30.0
SHIFT = 0.125
"""Of the side."""
NOISE = 0.1
"""Standard deviation in images from 0 to 1."""
QUALITY = 25
"""Of a JPEG file, 1 to 100."""
EXTRAS = {
    "RandomRotation": "rotation",
    "RandomTranslate": "translation",
    "RandomGaussianNoise": "noise",
    "RandomJPEG": "jpeg",
    "RandomAffine": "rotation, translation",
}
"""What entries of `augment.extra` train on."""


@dataclass(frozen=True)
class Operation:
    """One way of changing images."""

    name: str
    trained: bool
    """Whether the network was trained to ignore it."""
    change: Change
    meaning: str
    """What strength 1 is."""
    largest: float = 2.0
    """The strength beyond which there is nothing more."""
    whole: bool = False
    """Whether it is there or not, nothing between."""
    colours: bool = False
    """Whether it needs RGB images."""

    def strengths(self, wanted: Sequence[float]) -> list[float]:
        """Those that it has, without 0."""
        return [s for s in wanted if 0 < s <= self.largest and (s == 1 or not self.whole)]

    def __call__(self, pixels: Tensor, strength: float) -> Tensor:
        """Images [N, C, S, S] in [0, 1], the even ones changed upwards, the odd ones downwards."""
        sign = 1.0 - 2.0 * (torch.arange(len(pixels)) % 2)  # [N]
        return self.change(pixels, strength, sign).clamp(0, 1)


def operations(augment: Any) -> list[Operation]:
    """All operations, with the strengths that an augmentation's config gives them.

    Another config than multi-crop's or the patches' trains on none of them, as far as is known here.
    """
    known = augment if isinstance(augment, MultiCropConfig | PatchesConfig) else None
    return [*_colours(known), *_shapes(known), *_others(known)]


Known = MultiCropConfig | PatchesConfig | None


def _colours(config: Known) -> Iterator[Operation]:
    jitter = None if config is None else config.color_jitter
    changes: dict[str, Callable[[float], Change]] = {
        "brightness": lambda x: (
            lambda p, s, sign: enhance.adjust_brightness_accumulative(p, _factor(x, s, sign))
        ),
        "contrast": lambda x: (
            lambda p, s, sign: enhance.adjust_contrast_with_mean_subtraction(p, _factor(x, s, sign))
        ),
        "saturation": lambda x: (
            lambda p, s, sign: enhance.adjust_saturation_with_gray_subtraction(p, _factor(x, s, sign))
        ),
        "hue": lambda x: lambda p, s, sign: shift_hue(p, 2 * math.pi * min(x * s, 0.5) * sign),
    }
    for name, make in changes.items():
        strength = 0.0 if jitter is None else float(getattr(jitter, name))
        trained = strength > 0 and _is_used(config, "color_jitter")
        x = strength if trained else JITTER[name]
        meaning = f"±{x:g} of the circle" if name == "hue" else f"factor 1 ± {x:g}"
        yield Operation(name, trained, make(x), meaning, colours=name in ("saturation", "hue"))
    yield Operation(
        "greyscale",
        _is_used(config, "grayscale"),
        _greyer,
        "grey",
        largest=1.0,
        colours=True,
    )
    blur = None if config is None else config.blur
    blurred = _is_used(config, "blur")
    sigma = blur.sigma[1] if blur and blurred else SIGMA
    yield Operation("blur", blurred, lambda p, s, _: _blurred(p, sigma * s), f"sigma {sigma:g} px")
    solarized = _is_used(config, "solarize")
    yield Operation(
        "solarise",
        solarized,
        lambda p, s, _: enhance.solarize(p, thresholds=max(0.0, 1 - s / 2)),
        "inverted from 0.5 on",
    )


def _shapes(config: Known) -> Iterator[Operation]:
    if isinstance(config, PatchesConfig):
        share, cropped = config.scale[0] ** 2, True
    else:
        share, cropped = (SHARE, False) if config is None else (config.global_scale[0], True)
    cropped = cropped and share < 1
    share = share if cropped else SHARE
    yield Operation("crop", cropped, lambda p, s, _: _cropped(p, share**s), f"{share:.2g} of the area")
    flipped = _is_used(config, "flip")
    yield Operation("flip", flipped, lambda p, *_: p.flip(-1), "mirrored", largest=1.0, whole=True)
    rotation = config.rotation if isinstance(config, MultiCropConfig) else None
    by_key = bool(rotation and rotation.degrees) and _is_used(config, "rotation")
    degrees = rotation.degrees if rotation and by_key else DEGREES
    yield Operation(
        "rotation",
        by_key or _is_extra(config, "rotation"),
        lambda p, s, sign: rotate(p, (min(degrees * s, 180.0) * sign).to(p), padding_mode="border"),
        f"±{degrees:g}°",
    )


def _others(config: Known) -> Iterator[Operation]:
    """What multi-crop has no key for."""
    yield Operation(
        "translation", _is_extra(config, "translation"), _shifted, f"{SHIFT:g} of the side, sideways"
    )
    yield Operation("noise", _is_extra(config, "noise"), _noisy, f"sigma {NOISE:g}")
    yield Operation("jpeg", _is_extra(config, "jpeg"), _compressed, f"quality {QUALITY}")


def _is_used(config: Known, key: str) -> bool:
    section = getattr(config, key, None)
    return section is not None and _is_drawn(config, section.p)


def _is_drawn(config: Known, p: Probability) -> bool:
    first, second, local = per_kind(p)
    has_local = not isinstance(config, MultiCropConfig) or config.local_count > 0
    return bool(first or second or (local and has_local))


def _is_extra(config: Known, name: str) -> bool:
    entries = config.extra if isinstance(config, MultiCropConfig) else []
    return any(
        name in EXTRAS.get(entry["name"], "") and _is_drawn(config, entry.get("p", 1.0)) for entry in entries
    )


def _factor(x: float, strength: float, sign: Tensor) -> Tensor:
    """[N], as in training: from max(0, 1 - x) to 1 + x."""
    return (1 + x * strength * sign).clamp(min=0)


def _greyer(pixels: Tensor, share: float, _: Tensor) -> Tensor:
    from kornia.color import rgb_to_grayscale

    return torch.lerp(pixels, rgb_to_grayscale(pixels).expand_as(pixels), share)


def _blurred(pixels: Tensor, sigma: float) -> Tensor:
    kernel = 2 * math.ceil(BLUR_REACH * sigma) + 1
    return gaussian_blur2d(pixels, (kernel, kernel), (sigma, sigma), border_type="replicate")


def _cropped(pixels: Tensor, share: float) -> Tensor:
    """A square of a share of the area, at a place of each image's own, enlarged to the image's size."""
    n, side = len(pixels), pixels.shape[-1]
    extent = max(1, round(math.sqrt(share) * side))
    place = torch.rand(n, 2, generator=_generator("crop"))  # [N, 2]
    corner = (place * (side - extent)).round().long()
    boxes = torch.cat([corner, corner + extent], 1)  # top, left, bottom, right [N, 4]
    return resample((pixels * 255).round().to(torch.uint8), boxes, side)


def _shifted(pixels: Tensor, strength: float, sign: Tensor) -> Tensor:
    by = SHIFT * strength * pixels.shape[-1] * sign  # [N]
    return translate(pixels, torch.stack([by, torch.zeros_like(by)], 1), padding_mode="border")


def _noisy(pixels: Tensor, strength: float, _: Tensor) -> Tensor:
    return pixels + NOISE * strength * torch.randn(pixels.shape, generator=_generator("noise"))


def _compressed(pixels: Tensor, strength: float, _: Tensor) -> Tensor:
    """As JPEG files and back: of quality 100 without strength, a quarter of that at 1."""
    quality = max(1, round(100 * (QUALITY / 100) ** strength))
    images = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()  # [N, S, S, C]
    return torch.stack([_through_jpeg(image, quality) for image in images])


def _through_jpeg(image: UInt8Array, quality: int) -> Tensor:
    """[S, S, C] of one or three channels -> [C, S, S] in [0, 1]."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "JPEG", quality=quality)
    decoded = np.array(Image.open(file)).reshape(image.shape)
    return torch.from_numpy(decoded).permute(2, 0, 1) / 255


def _generator(what: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of("invariance", what))
