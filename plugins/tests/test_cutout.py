"""The one-file plugin cutout.py: the conformance kit, and what it erases."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sslkit.core.augmentation import ImageFormat
from sslkit.core.randomness import seeded
from sslkit.errors import RecipeError
from sslkit.plugins import Registry
from sslkit.testing import check_augmentation

FILE = Path(__file__).parent.parent / "cutout.py"
COUNT = 64


@pytest.fixture(scope="module")
def cls() -> Any:
    return Registry.load([str(FILE)]).get("augmentations", "cutout")


def views(cls: Any, **keys: Any) -> torch.Tensor:
    """Of white images, [2, 64, 3, 32, 32]: 1 where something is left, 0 where not."""
    augmentation = cls(cls.Config(size=32, **keys), ImageFormat(3, (0.5,) * 3, (0.5,) * 3))
    canvas = torch.full((COUNT, 3, 40, 40), 255, dtype=torch.uint8)
    with seeded(0):
        drawn = augmentation.draw(COUNT)
    made: torch.Tensor = augmentation.apply(
        canvas, torch.tensor([[60, 40]]).expand(COUNT, 2), drawn
    ).global_views
    return made


def test_it_conforms(cls: Any) -> None:
    check_augmentation(cls, cls.Config(size=16))


def test_what_is_erased_is_a_rectangle_of_its_share(cls: Any) -> None:
    gone = views(cls, p=1.0, erased=[0.1, 0.3])[:, :, 0] == 0  # [2, 64, 32, 32]
    shares = gone.float().mean((-2, -1))  # [2, 64]
    assert 0.05 < shares.min() < 0.15  # to whole pixels, and cut off where one is long
    assert 0.25 < shares.max() < 0.32
    filled = gone.any(-1).sum(-1) * gone.any(-2).sum(-1)
    assert torch.equal(filled, gone.sum((-2, -1)))
    assert not torch.equal(gone[0], gone[1])


def test_p_says_how_many_lose_something_and_changes_nothing_else(cls: Any) -> None:
    none, half, all_ = (views(cls, p=p) for p in (0.0, 0.5, 1.0))
    lost = (half == 0).flatten(2).any(-1)  # [2, 64]
    assert not (none == 0).any()
    assert 0.35 < lost.float().mean() < 0.65
    assert torch.equal(half[lost], all_[lost])
    assert torch.equal(half[~lost], none[~lost])


def test_p_leaves_the_crops_as_they_are(cls: Any) -> None:
    """On noise, where no two crops are alike."""
    made = []
    for p in (0.0, 1.0):
        augmentation = cls(cls.Config(size=32, p=p), ImageFormat(3, (0.5,) * 3, (0.5,) * 3))
        with seeded(0):
            drawn, canvas = augmentation.draw(4), torch.randint(256, (4, 3, 40, 40), dtype=torch.uint8)
        made.append(augmentation.apply(canvas, torch.tensor([[40, 40]] * 4), drawn).global_views)
    seen = made[1] != 0
    assert torch.equal(made[0][seen], made[1][seen])
    assert 0.6 < seen.float().mean() < 0.95


@pytest.mark.parametrize("keys", [{"size": 0}, {"p": 1.5}, {"scale": [0.0, 1.0]}, {"erased": [0.3, 0.1]}])
def test_impossible_values_are_told(cls: Any, keys: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"'{next(iter(keys))}'.* must be"):
        cls.Config(**keys)
