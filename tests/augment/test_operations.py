"""Each operation against torchvision and PIL on real photos, and against kornia's own way to apply it."""

import math
from collections.abc import Callable
from typing import Any

import kornia.augmentation as K
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from augment.photos import NAMES, error, levels, square, unit
from kornia.enhance import adjust_hue
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from sslkit.augment.config import MultiCropConfig, RotationConfig
from sslkit.augment.ops import ColorJitter, Drawn, Operation, shift_hue
from sslkit.augment.pipeline import build_pipeline

SIDE = 96
FACTORS = (0.6, 1.4)
TURNS = (-0.1, 0.05, 0.3)
NAMES_OF_OPERATIONS = ("flip", "rotation", "color_jitter", "grayscale", "blur", "solarize")

# Mean difference in grey levels of 255 allowed to (torchvision v2 on floats, PIL). PIL rounds to whole
# levels after each step, which alone makes .25; its blur is three box blurs.
ALLOWED = {
    "flip": (0.0, 0.0),
    "brightness": (1e-4, 0.45),
    "contrast": (0.01, 0.6),
    "saturation": (0.01, 0.5),
    "hue": (1e-3, 1.2),
    "grayscale": (0.02, 0.3),
    "blur": (0.12, 0.7),
    "solarize": (0.0, 1e-4),
    "rotation": (1e-3, 0.75),
}
Outcome = tuple[Tensor, Tensor, Image.Image]
"""Ours, torchvision's and PIL's."""


def operation(name: str, p: float = 1.0) -> Operation:
    config = MultiCropConfig(global_size=SIDE, rotation=RotationConfig(p=p, degrees=30))
    for key in NAMES_OF_OPERATIONS:
        getattr(config, key).p = p if key == name else 0.0
    (found,) = build_pipeline(config, 0, 3).operations
    return found


def photos() -> Tensor:
    return torch.stack([unit(square(name, SIDE)) for name in NAMES] * 3)[:8]  # [8, 3, SIDE, SIDE]


def applied(name: str, image: Image.Image, **values: float) -> Tensor:
    """The operation with some of its drawn values given, on one image."""
    found = operation(name)
    drawn = found.draw(1)
    given = {key: torch.tensor([value]) for key, value in values.items()}
    return found.apply(unit(image)[None], Drawn({**drawn.values, **given}, drawn.per_image))[0]


def jittered(image: Image.Image, **values: float) -> Tensor:
    neutral = {"brightness_factor": 1.0, "contrast_factor": 1.0, "saturation_factor": 1.0, "hue_factor": 0.0}
    return applied("color_jitter", image, **{**neutral, **values})


def flip(image: Image.Image) -> list[Outcome]:
    return [(applied("flip", image), tv.horizontal_flip(unit(image)), ImageOps.mirror(image))]


def rotation(image: Image.Image) -> list[Outcome]:
    bilinear = tv.InterpolationMode.BILINEAR
    return [
        (
            applied("rotation", image, degrees=angle),
            tv.rotate(unit(image), angle, bilinear),
            image.rotate(angle, Image.Resampling.BILINEAR),
        )
        for angle in (10.0, -25.0)
    ]


def brightness(image: Image.Image) -> list[Outcome]:
    return [
        (
            jittered(image, brightness_factor=x),
            tv.adjust_brightness(unit(image), x),
            ImageEnhance.Brightness(image).enhance(x),
        )
        for x in FACTORS
    ]


def contrast(image: Image.Image) -> list[Outcome]:
    return [
        (
            jittered(image, contrast_factor=x),
            tv.adjust_contrast(unit(image), x),
            ImageEnhance.Contrast(image).enhance(x),
        )
        for x in FACTORS
    ]


def saturation(image: Image.Image) -> list[Outcome]:
    return [
        (
            jittered(image, saturation_factor=x),
            tv.adjust_saturation(unit(image), x),
            ImageEnhance.Color(image).enhance(x),
        )
        for x in FACTORS
    ]


def hue(image: Image.Image) -> list[Outcome]:
    return [
        (jittered(image, hue_factor=x), tv.adjust_hue(unit(image), x), tv.adjust_hue(image, x)) for x in TURNS
    ]


def grayscale(image: Image.Image) -> list[Outcome]:
    return [
        (
            applied("grayscale", image),
            tv.rgb_to_grayscale(unit(image), 3),
            image.convert("L").convert("RGB"),
        )
    ]


def blur(image: Image.Image) -> list[Outcome]:
    return [
        (
            applied("blur", image, sigma=sigma),
            tv.gaussian_blur(unit(image), [17, 17], [sigma, sigma]),
            image.filter(ImageFilter.GaussianBlur(sigma)),
        )
        for sigma in (0.1, 0.5, 1.0, 2.0)
    ]


def solarize(image: Image.Image) -> list[Outcome]:
    return [(applied("solarize", image), tv.solarize(unit(image), 0.5), ImageOps.solarize(image, 128))]


OUTCOMES: tuple[Callable[[Image.Image], list[Outcome]], ...] = (
    flip,
    rotation,
    brightness,
    contrast,
    saturation,
    hue,
    grayscale,
    blur,
    solarize,
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outcomes", OUTCOMES)
def test_as_torchvision_and_pil(outcomes: Callable[[Image.Image], list[Outcome]], name: str) -> None:
    to_torchvision, to_pil = ALLOWED[outcomes.__name__]
    image = square(name, 300)
    for ours, theirs, pil in outcomes(image):
        assert error(ours, theirs) <= to_torchvision
        assert error(ours, pil) <= to_pil
        if outcomes is not blur:  # with a sigma of .1 it changes nothing
            assert error(ours, unit(image)) > 1


def test_a_jitters_steps_come_in_the_order_drawn_for_the_batch() -> None:
    x, found = photos(), operation("color_jitter")
    drawn = found.draw(8)
    steps = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    keys = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        ours = found.apply(x.clone(), Drawn({**drawn.values, "order": torch.tensor(order)}, drawn.per_image))
        for i in range(8):
            theirs = x[i]
            for step in order:
                theirs = steps[step](theirs, float(drawn.values[keys[step]][i]))
            assert error(ours[i], theirs) < 0.05


def test_the_quick_hue_is_kornias() -> None:
    grey = torch.rand(2, 1, SIDE, SIDE).expand(2, 3, SIDE, SIDE)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3).T.reshape(1, 3, 9, 3)
    for images in (photos(), grey, corners, torch.zeros(1, 3, 4, 4), torch.rand(1, 3, 50, 50) * 1e-30):
        for turns in (-0.5, -0.1, 0.0, 0.03, 0.5):
            angle = torch.full((len(images),), turns * 2 * math.pi)
            torch.testing.assert_close(shift_hue(images, angle), adjust_hue(images, angle), atol=5e-6, rtol=0)


def kornias_own(name: str, p: float) -> Any:
    """The plain kornia augmentation that computes all images and selects."""
    ways: dict[str, Callable[[], Any]] = {
        "flip": lambda: K.RandomHorizontalFlip(p=p),
        "rotation": lambda: K.RandomRotation(30.0, p=p),
        "color_jitter": lambda: ColorJitter(0.4, 0.4, 0.2, 0.1, p=p),
        "grayscale": lambda: K.RandomGrayscale(p=p),
        "blur": lambda: K.RandomGaussianBlur(17, (0.1, 2.0), border_type="replicate", p=p),
        "solarize": lambda: K.RandomSolarize((0.5, 0.5), (0.0, 0.0), p=p),
    }
    return ways[name]()


@pytest.mark.parametrize("name", NAMES_OF_OPERATIONS)
def test_computing_the_chosen_alone_gives_exactly_kornias_values(name: str) -> None:
    x = photos()
    torch.manual_seed(3)
    wanted = kornias_own(name, 0.5)(x)
    found = operation(name, 0.5)
    torch.manual_seed(3)
    drawn = found.draw(8)
    assert 0 < drawn.values["batch_prob"].sum() < 8
    assert torch.equal(found.apply(x.clone(), drawn), wanted)
    assert not torch.equal(wanted, x)


@pytest.mark.parametrize("count", [4, 2, 1])
@pytest.mark.parametrize("name", NAMES_OF_OPERATIONS)
def test_rows_of_the_batch_are_the_batch_of_the_rows(name: str, count: int) -> None:
    x, found = photos(), operation(name, 0.5)
    torch.manual_seed(4)
    drawn = found.draw(8)
    whole = found.apply(x.clone(), drawn)
    parts = [slice(i, i + count) for i in range(0, 8, count)]
    split = torch.cat([found.apply(x[part].clone(), drawn.rows(part)) for part in parts])
    if torch.get_num_threads() == 1:
        assert torch.equal(split, whole)
    torch.testing.assert_close(split, whole, atol=1e-6, rtol=0)
    assert not torch.equal(whole, x)


def test_a_probability_is_met() -> None:
    found = operation("flip", 0.3)
    torch.manual_seed(0)
    chosen = torch.cat([found.draw(1000).values["batch_prob"] for _ in range(4)])
    assert abs(float(chosen.mean()) - 0.3) < 0.03


def test_blur_reaches_far_enough_for_any_sigma() -> None:
    impulse = torch.zeros(1, 1, 65, 65)
    impulse[..., 32, 32] = 1
    config = MultiCropConfig()
    config.flip.p = config.color_jitter.p = config.grayscale.p = config.solarize.p = 0.0
    config.blur.sigma, config.blur.p = [5.0, 5.0], 1.0
    (found,) = build_pipeline(config, 0, 1).operations
    spread = found.apply(impulse, found.draw(1))[0, 0]  # [65, 65]
    variance = (spread.sum(0) * (torch.arange(65) - 32) ** 2).sum()
    assert math.isclose(variance, 25, rel_tol=0.01)


def test_solarize_turns_at_the_half() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256)
    found = operation("solarize").apply(ramp / 255, operation("solarize").draw(1))
    wanted = levels(ImageOps.solarize(Image.fromarray(ramp[0, 0].numpy()), 128))
    assert torch.equal((found[0] * 255).round().byte(), wanted)
