"""The keys of the augmentations, checked; nothing heavy is imported here."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from sslkit.core.patches import ROUNDING
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


@dataclass
class PatchesConfig:
    """The patches of the discrimination game: an anchor, A of the same image, B of the neighbour.

    Every `p` below is one number: anchor, A and B are changed alike, since what is done to one of them alone
    would tell which is which.
    """

    size: int = 64
    """Side of the network's input, pixels, >= 1."""
    scale: list[float] = field(default_factory=lambda: [0.2, 0.3])
    """Range of a patch's side as a share of the image's shorter side, above 0 to 1 / (2 + gap), drawn for
    each patch by itself (Doersch et al. 2015, Sec. 3: about 0.25)."""
    gap: float = 0.5
    """Least distance between the borders of the anchor and A, across or down, in sides of the larger of the
    two, >= -1 (Doersch et al. 2015: 0.5). Below 0 they may overlap; -1 asks for nothing: the shortcut of
    pixels that both have."""
    same_place: bool = True
    """Whether B lies where A lies in its own image, so that the place tells nothing. Otherwise B's place is
    drawn as A's is, but for an anchor of its own: that A is never where the anchor is gives it away."""
    flip: FlipConfig = field(default_factory=FlipConfig)
    """Mirroring."""
    color_jitter: ColorJitterConfig = field(default_factory=ColorJitterConfig)
    """Colours; with p 1 a guard against the shortcut of an image's tint."""
    grayscale: GrayscaleConfig = field(default_factory=GrayscaleConfig)
    """No colours; with p 1 the guard against all shortcuts of hue."""
    blur: BlurConfig = field(default_factory=lambda: BlurConfig(p=0.0))
    """Blur, a guard against the shortcut of an image's noise and sharpness."""
    solarize: SolarizeConfig = field(default_factory=lambda: SolarizeConfig(p=0.0))
    """Solarisation."""
    standardize: bool = False
    """Whether each channel of each patch is brought to mean 0 and deviation 1 in place of the data's
    normalisation, so that mean colour, brightness and contrast tell nothing."""
    resample: Literal["antialias", "kornia"] = "antialias"
    """How patches are resized: antialias (bicubic, as PIL does), or kornia's own bilinear, which has none."""

    def __post_init__(self) -> None:
        _check("size", self.size, self.size >= 1, "1 or more")
        _check("gap", self.gap, -1 <= self.gap < math.inf, "-1 or more (sides of a patch)")
        _check_range("scale", self.scale, 0, 1)
        self._check_room()
        _check("resample", self.resample, self.resample in ("antialias", "kornia"), "antialias or kornia")
        for key in ("flip", "color_jitter", "grayscale", "blur", "solarize"):
            p = getattr(self, key).p
            one = "one number from 0 to 1 for anchor, A and B: a difference would tell A from B"
            _check(f"{key}.p", p, isinstance(p, int | float), one)

    def _check_room(self) -> None:
        """Raises unless two of the largest patches and the gap fit beside each other."""
        largest = 1 / (2 + self.gap)
        if self.scale[1] > largest + ROUNDING:
            raise RecipeError(
                f"'scale' is {self.scale!r}, but with 'gap' {self.gap:g} it must end at {_floor(largest):g}"
                " or less: the anchor, the gap and A have to fit into the image's shorter side"
                f"\n  or choose a gap of {_floor(1 / self.scale[1] - 2):g} or less"
            )


def _floor(value: float) -> float:
    """Down to four decimals, so that the number that is told is valid."""
    return math.floor(value * 1e4 + ROUNDING) / 1e4


def check_channels(
    config: MultiCropConfig | PatchesConfig, channels: int, is_used: Callable[[Probability], bool]
) -> None:
    """Raises `RecipeError` for operations on colours where there are none, with how to switch them off."""
    jitter, needy = config.color_jitter, []
    if is_used(jitter.p) and (jitter.saturation or jitter.hue):
        needy.append("augment.color_jitter")
    if is_used(config.grayscale.p):
        needy.append("augment.grayscale")
    if channels == 3 or not needy:
        return
    raise RecipeError(
        f"'{needy[0]}' needs images of 3 channels, but 'data.channels' is {channels}"
        f"\n  switch off what needs colours: {' '.join(f'{key}.p=0' for key in needy)}"
        "\n  or keep brightness and contrast: augment.color_jitter.saturation=0 augment.color_jitter.hue=0"
    )
