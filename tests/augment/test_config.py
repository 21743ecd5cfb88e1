"""Values that cannot work are refused by their key."""

from typing import Any

import pytest

from sslkit.augment.config import (
    BlurConfig,
    ColorJitterConfig,
    FlipConfig,
    MultiCropConfig,
    RotationConfig,
    per_kind,
)
from sslkit.errors import RecipeError


@pytest.mark.parametrize(
    ("cls", "key", "value"),
    [
        (FlipConfig, "p", 1.5),
        (FlipConfig, "p", [0.5, 0.5]),
        (FlipConfig, "p", [0.5, 0.5, -0.1]),
        (ColorJitterConfig, "brightness", -0.1),
        (ColorJitterConfig, "saturation", float("inf")),
        (ColorJitterConfig, "hue", 0.6),
        (BlurConfig, "sigma", [0.0, 2.0]),
        (BlurConfig, "sigma", [2.0, 1.0]),
        (BlurConfig, "sigma", [2.0]),
        (RotationConfig, "degrees", 181),
        (MultiCropConfig, "global_size", 0),
        (MultiCropConfig, "local_size", 0),
        (MultiCropConfig, "local_count", -1),
        (MultiCropConfig, "global_scale", [0.0, 1.0]),
        (MultiCropConfig, "global_scale", [0.5, 1.1]),
        (MultiCropConfig, "local_scale", [0.4, 0.05]),
        (MultiCropConfig, "local_scale", [0.1, 0.2, 0.3]),
        (MultiCropConfig, "resample", "bilinear"),
        (MultiCropConfig, "extra", [{"p": 0.5}]),
    ],
)
def test_an_impossible_value_is_refused_by_its_key(cls: type, key: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=f"'{key}' is .* but must be"):
        cls(**{key: value})


def test_an_extras_probability_is_checked_too() -> None:
    with pytest.raises(RecipeError, match=r"'extra' \(number 1, its p\) is 2"):
        MultiCropConfig(extra=[{"name": "RandomInvert"}, {"name": "RandomInvert", "p": 2}])


def test_the_ends_of_the_ranges_are_valid() -> None:
    MultiCropConfig(global_scale=[1.0, 1.0], local_count=0, flip=FlipConfig(p=[0, 1, 0.5]))
    ColorJitterConfig(hue=0.5, brightness=0)
    RotationConfig(degrees=180)


def test_one_number_is_for_all_kinds_of_views() -> None:
    assert per_kind(0.5) == (0.5, 0.5, 0.5)
    assert per_kind([1, 0.1, 0.5]) == (1.0, 0.1, 0.5)
