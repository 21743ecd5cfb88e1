"""The keys of multi-crop, checked; nothing heavy is imported here."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from sslkit.errors import RecipeError

Probability = float | list[float]
"""One number, or one each for the first global crop, the second and the local ones."""
VIEW_KINDS = ("first global", "second global", "local")


def per_kind(p: Probability) -> tuple[float, float, float]:
    """A probability for each of `VIEW_KINDS`."""
    first, second, local = p if isinstance(p, list | tuple) else (p, p, p)
    return float(first), float(second), float(local)


def check_probability(p: Any, key: str = "p", of: str = "") -> None:
    """Raises `RecipeError` unless p is one number from 0 to 1, or three."""
    values = p if isinstance(p, list | tuple) else [p, p, p]
    numbers = all(isinstance(value, int | float) and 0 <= value <= 1 for value in values)
    valid = f"a number from 0 to 1, or three of them: {', '.join(VIEW_KINDS)}"
    _check(key, p, len(values) == 3 and numbers, valid, of)


def _check(key: str, value: Any, holds: bool, valid: str, of: str = "") -> None:
    if not holds:
        raise RecipeError(f"'{key}'{of} is {value!r}, but must be {valid}")


def _check_range(key: str, values: list[float], low: float, high: float) -> None:
    """Raises unless there are two numbers with low < first <= second <= high."""
    holds = len(values) == 2 and low < values[0] <= values[1] <= high and math.isfinite(values[1])
    most = "" if math.isinf(high) else f" and at most {high:g}"
    _check(key, values, holds, f"two numbers, the smaller first, above {low:g}{most}")


@dataclass
class FlipConfig:
    """Mirror left and right."""

    p: Probability = 0.5
    """Probability, 0 to 1: one number, or [first global, second global, local] (DINO: 0.5)."""

    def __post_init__(self) -> None:
        check_probability(self.p)


@dataclass
class ColorJitterConfig:
    """Brightness, contrast, saturation and hue, in an order drawn for each view of a batch."""

    p: Probability = 0.8
    """Probability, 0 to 1: one number, or [first global, second global, local] (DINO: 0.8)."""
    brightness: float = 0.4
    """Factor between max(0, 1 - x) and 1 + x, x >= 0 (DINO: 0.4)."""
    contrast: float = 0.4
    """Factor between max(0, 1 - x) and 1 + x, x >= 0 (DINO: 0.4)."""
    saturation: float = 0.2
    """Factor between max(0, 1 - x) and 1 + x, x >= 0 (DINO: 0.2); needs 3 channels unless 0."""
    hue: float = 0.1
    """Share of the colour circle turned by at most, 0 to 0.5 (DINO: 0.1); needs 3 channels unless 0."""

    def __post_init__(self) -> None:
        check_probability(self.p)
        for key in ("brightness", "contrast", "saturation"):
            _check(key, getattr(self, key), 0 <= getattr(self, key) < math.inf, "0 or more")
        _check("hue", self.hue, 0 <= self.hue <= 0.5, "from 0 to 0.5 (of the colour circle)")


@dataclass
class GrayscaleConfig:
    """Colour taken away (the luma of ITU-R 601)."""

    p: Probability = 0.2
    """Probability, 0 to 1: one number, or [first global, second global, local] (DINO: 0.2).
    Needs 3 channels."""

    def __post_init__(self) -> None:
        check_probability(self.p)


@dataclass
class BlurConfig:
    """Gaussian blur."""

    p: Probability = field(default_factory=lambda: [1.0, 0.1, 0.5])
    """Probability, 0 to 1: one number, or [first global, second global, local] (DINO: 1.0, 0.1, 0.5)."""
    sigma: list[float] = field(default_factory=lambda: [0.1, 2.0])
    """Range of the standard deviation in pixels of the crop, > 0: PIL's radius (DINO: 0.1 to 2)."""

    def __post_init__(self) -> None:
        check_probability(self.p)
        _check_range("sigma", self.sigma, 0, math.inf)


@dataclass
class SolarizeConfig:
    """Values from a half on turned into 1 - value."""

    p: Probability = field(default_factory=lambda: [0.0, 0.2, 0.0])
    """Probability, 0 to 1: one number, or [first global, second global, local] (DINO: 0, 0.2, 0)."""

    def __post_init__(self) -> None:
        check_probability(self.p)


@dataclass
class RotationConfig:
    """Rotation about the centre, black where nothing is."""

    p: Probability = 0.0
    """Probability, 0 to 1: one number, or [first global, second global, local] (DINO has none: 0)."""
    degrees: float = 0.0
    """Up to so many degrees either way, 0 to 180; 0 rotates nothing."""

    def __post_init__(self) -> None:
        check_probability(self.p)
        _check("degrees", self.degrees, 0 <= self.degrees <= 180, "from 0 to 180")


@dataclass
class MultiCropConfig:
    """Two global crops and any number of local ones, made on the device."""

    global_size: int = 224
    """Side of a global crop, pixels, >= 1 (DINO: 224)."""
    global_scale: list[float] = field(default_factory=lambda: [0.4, 1.0])
    """Range of a global crop's share of the image's area, above 0 to 1 (DINO: 0.4 to 1)."""
    local_count: int = 8
    """Local crops, >= 0 (DINO: 8)."""
    local_size: int = 96
    """Side of a local crop, pixels, >= 1 (DINO: 96)."""
    local_scale: list[float] = field(default_factory=lambda: [0.05, 0.4])
    """Range of a local crop's share of the image's area, above 0 to 1 (DINO: 0.05 to 0.4)."""
    flip: FlipConfig = field(default_factory=FlipConfig)
    """Mirroring."""
    color_jitter: ColorJitterConfig = field(default_factory=ColorJitterConfig)
    """Colours."""
    grayscale: GrayscaleConfig = field(default_factory=GrayscaleConfig)
    """No colours."""
    blur: BlurConfig = field(default_factory=BlurConfig)
    """Blur."""
    solarize: SolarizeConfig = field(default_factory=SolarizeConfig)
    """Solarisation."""
    rotation: RotationConfig = field(default_factory=RotationConfig)
    """Rotation."""
    resample: Literal["antialias", "kornia"] = "antialias"
    """How crops are resized: antialias (bicubic, as PIL does), or kornia's own bilinear, which has none."""
    extra: list[dict[str, Any]] = field(default_factory=list)
    """Any 2-d augmentations of kornia, after the others and before normalisation, such as
    {name: RandomErasing, p: [0, 0.5, 0], scale: [0.02, 0.1]}: a class of `kornia.augmentation`, its own
    arguments, and p, one number or [first global, second global, local] (left out: the class's own)."""

    def __post_init__(self) -> None:
        for key, least in (("global_size", 1), ("local_size", 1), ("local_count", 0)):
            _check(key, getattr(self, key), getattr(self, key) >= least, f"{least} or more")
        for key in ("global_scale", "local_scale"):
            _check_range(key, getattr(self, key), 0, 1)
        _check("resample", self.resample, self.resample in ("antialias", "kornia"), "antialias or kornia")
        for i, entry in enumerate(self.extra):
            _check("extra", entry, isinstance(entry.get("name"), str), f"a mapping with a name (number {i})")
            if "p" in entry:
                check_probability(entry["p"], "extra", f" (number {i}, its p)")
