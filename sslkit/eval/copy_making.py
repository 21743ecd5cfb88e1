"""Makes copies of images as people make them: cropped, recompressed, turned, written on, in a screenshot."""

# H, W size of an image, C channels, h, w size of the copy

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from sslkit.core.dataset import Sample, UInt8Array
from sslkit.core.randomness import seed_of

COMBINED = (2, 3)
"""Changes in a combination: at least and at most."""
WORDS = (
    "only",
    "today",
    "free",
    "share",
    "best",
    "look",
    "new",
    "sale",
    "more",
    "wow",
    "like",
    "this",
    "news",
)
Colours = npt.NDArray[np.uint8]  # [C]
Generator = np.random.Generator


def make_copy(image: UInt8Array, kind: str, key: str) -> UInt8Array:
    """A copy of an image [H, W, C], any C, as [h, w, C]; the same for the same image, kind and key.

    Kinds, with the strength drawn evenly: `crop` to .3 to .6 of the area; `jpeg` at quality 5 to 15; `blur`
    by .025 to .06 of the short side; `rotate` by 10 to 90 degrees either way, on a plain ground; `text` in 2
    to 4 bars; `colour` (contrast, brightness and, with three channels, hue and saturation); `screenshot`, the
    image as .2 to .55 of a screen; `combination` of two or three of these.
    """
    return KINDS[kind](image, np.random.default_rng(seed_of("copy", kind, key)))


@dataclass(frozen=True)
class MakeCopy:
    """Changes samples into copies, each by its own kind."""

    kinds: Mapping[str, str]
    """Kind of copy by the sample's key."""

    def __call__(self, sample: Sample) -> Sample:
        kind = self.kinds.get(sample.key)
        if kind is None:  # it stands in for an image that cannot be read
            kind = next(iter(self.kinds.values()))
        return replace(sample, image=make_copy(sample.image, kind, sample.key), mask=None, objects=None)


def _crop(image: UInt8Array, rng: Generator) -> UInt8Array:
    height, width = image.shape[:2]
    side = rng.uniform(0.3, 0.6) ** 0.5
    h, w = max(1, round(side * height)), max(1, round(side * width))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return np.ascontiguousarray(image[top : top + h, left : left + w])


def _jpeg(image: UInt8Array, rng: Generator) -> UInt8Array:
    quality = int(rng.integers(5, 16))

    def compressed(picture: Image.Image) -> Image.Image:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_picture(image, compressed)


def _blur(image: UInt8Array, rng: Generator) -> UInt8Array:
    radius = rng.uniform(0.025, 0.06) * min(image.shape[:2])
    return _by_picture(image, lambda picture: picture.filter(ImageFilter.GaussianBlur(radius)))


def _rotate(image: UInt8Array, rng: Generator) -> UInt8Array:
    angle = float(rng.choice([-1, 1]) * rng.uniform(10, 90))
    ground = _colour(image.shape[2], rng)

    def turned(picture: Image.Image) -> Image.Image:
        return picture.rotate(angle, Image.Resampling.BICUBIC, expand=True)

    inside = np.array(turned(Image.new("L", image.shape[1::-1], 255)))[..., None] / 255.0  # [h, w, 1]
    return _mixed(ground, _by_picture(image, turned), inside)


def _text(image: UInt8Array, rng: Generator) -> UInt8Array:
    height, width = image.shape[:2]
    lines = int(rng.integers(2, 5))
    size = max(6, round(height / (2 * lines + 1)))
    font = ImageFont.load_default(size)
    copy = image.copy()
    for line in range(lines):
        top = round((line + rng.uniform(0, 0.4)) * height / lines)
        bar = slice(top, min(height, top + round(1.25 * size)))
        copy[bar] = _colour(image.shape[2], rng)
        words = Image.new("L", (width, height), 0)
        text = " ".join(rng.choice(WORDS, int(rng.integers(2, 5))))
        ImageDraw.Draw(words).text((round(rng.uniform(0, 0.1) * width), top), text, 255, font)
        copy = _mixed(copy, _colour(image.shape[2], rng), np.array(words)[..., None] / 255.0)
    return copy


def _recolour(image: UInt8Array, rng: Generator) -> UInt8Array:
    if image.shape[2] == 3:
        image = _turned_hue(image, rng)
    contrast, brightness = _far_from_one(rng), _far_from_one(rng)
    mean = image.mean()
    copy: UInt8Array = ((image - mean) * contrast + mean * brightness).clip(0, 255).round().astype(np.uint8)
    return copy


def _turned_hue(image: UInt8Array, rng: Generator) -> UInt8Array:
    hue, saturation, value = Image.fromarray(image).convert("HSV").split()
    turn, more = int(rng.integers(40, 217)), _far_from_one(rng)
    hue, saturation = hue.point(lambda h: (h + turn) % 256), saturation.point(lambda s: s * more)
    return np.array(Image.merge("HSV", (hue, saturation, value)).convert("RGB"))


def _far_from_one(rng: Generator) -> float:
    return float(rng.uniform(0.4, 0.7) if rng.random() < 0.5 else rng.uniform(1.4, 2.0))


def _screenshot(image: UInt8Array, rng: Generator) -> UInt8Array:
    """A dark or a light page with the image among lines of text, a bar above and a bar below."""
    height, width, channels = image.shape
    share = rng.uniform(0.2, 0.55)
    page_width = round(width / share**0.5 * rng.uniform(0.75, 1))
    page_height = max(round(height * width / share / page_width), round(1.2 * height))
    dark = bool(rng.random() < 0.5)
    ground, ink = (20, 200) if dark else (245, 60)
    page = np.full((page_height, page_width, channels), ground, np.uint8)
    bar = max(2, page_height // 16)
    page[:bar] = _colour(channels, rng)
    page[-bar:] = _colour(channels, rng)
    top = bar + round(rng.uniform(0.25, 0.75) * (page_height - 2 * bar - height))
    top = max(0, min(top, page_height - height))  # a bar of a tiny page covers more of it
    left = (page_width - width) // 2
    thickness = max(1, bar // 4)
    for y in range(bar + 2 * thickness, page_height - bar - thickness, 3 * thickness):
        page[y : y + thickness, left : left + round(rng.uniform(0.3, 0.95) * width)] = ink
    page[max(0, top - thickness) : top + height + thickness] = ground
    page[top : top + height, left : left + width] = image
    return page


def _combination(image: UInt8Array, rng: Generator) -> UInt8Array:
    single = [kind for kind in KINDS if kind != "combination"]
    chosen = rng.choice(single, int(rng.integers(COMBINED[0], COMBINED[1] + 1)), replace=False)
    for kind in sorted(chosen, key=single.index):
        image = KINDS[kind](image, rng)
    return image


KINDS: dict[str, Callable[[UInt8Array, Generator], UInt8Array]] = {
    "crop": _crop,
    "rotate": _rotate,
    "colour": _recolour,
    "text": _text,
    "screenshot": _screenshot,
    "blur": _blur,
    "jpeg": _jpeg,
    "combination": _combination,
}
"""In the order in which a combination applies them."""


def _by_picture(image: UInt8Array, change: Callable[[Image.Image], Image.Image]) -> UInt8Array:
    """Change an image through Pillow: RGB as one picture, other channels one by one."""
    if image.shape[2] == 3:
        return np.array(change(Image.fromarray(image)))
    planes = [np.array(change(Image.fromarray(plane))) for plane in _planes(image)]
    return np.stack(planes, axis=-1)  # [h, w, C]


def _planes(image: UInt8Array) -> Sequence[UInt8Array]:
    return [np.ascontiguousarray(image[..., channel]) for channel in range(image.shape[2])]


def _mixed(under: UInt8Array, over: UInt8Array, share: npt.NDArray[np.float64]) -> UInt8Array:
    """`over` where share [h, w, 1] is 1, `under` where it is 0."""
    mixed: UInt8Array = (share * over + (1 - share) * under).round().astype(np.uint8)
    return mixed


def _colour(channels: int, rng: Generator) -> Colours:
    return rng.integers(0, 256, channels).astype(np.uint8)  # [C]
