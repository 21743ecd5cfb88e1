"""Any kornia augmentation by name, tried out before training."""

from typing import Any

import kornia.augmentation as K
import pytest
import torch
from torch import Tensor

from sslkit.augment.config import MultiCropConfig
from sslkit.augment.extra import extra_classes, extra_operation
from sslkit.augment.multicrop import MultiCrop
from sslkit.core.augmentation import ImageFormat
from sslkit.errors import RecipeError

SHAPE = (3, 32, 32)
FORMAT = ImageFormat(3, (0.0,) * 3, (1.0,) * 3)


def refusal(entry: dict[str, Any], shape: tuple[int, int, int] = SHAPE) -> str:
    with pytest.raises(RecipeError) as caught:
        extra_operation(entry, 0, 0, shape)
    return str(caught.value)


def test_p_says_to_which_views() -> None:
    entry = {"name": "RandomInvert", "p": [0, 0.5, 1]}
    made = [extra_operation(entry, 0, kind, SHAPE) for kind in range(3)]
    assert made[0] is None
    assert made[1] is not None
    assert made[2] is not None
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(made[2].apply(x.clone(), made[2].draw(2)), 1 - x)


def test_without_p_the_classs_own_counts() -> None:
    found = extra_operation({"name": "RandomInvert"}, 0, 0, SHAPE)  # kornia: .5
    assert found is not None
    torch.manual_seed(0)
    chosen = found.draw(1000).values["batch_prob"].mean()
    assert 0.4 < chosen < 0.6


def test_lists_reach_kornia_as_tuples() -> None:
    entry = {"name": "RandomSaltAndPepperNoise", "p": 1.0, "amount": [0.3, 0.3], "salt_vs_pepper": [1.0, 1.0]}
    found = extra_operation(entry, 0, 0, SHAPE)
    assert found is not None
    salted = found.apply(torch.zeros(4, *SHAPE), found.draw(4))
    assert abs(float(salted.mean()) - 0.3) < 0.05


def test_extras_come_after_the_others_and_before_normalisation() -> None:
    config = MultiCropConfig(global_size=16, local_count=0, extra=[{"name": "RandomInvert", "p": 1}])
    plain = MultiCropConfig(global_size=16, local_count=0)
    canvas, size = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8), torch.full((2, 2), 20)
    views = []
    for keys in (config, plain):
        augmentation = MultiCrop(keys, ImageFormat(3, (0.5,) * 3, (0.5,) * 3))
        torch.manual_seed(0)
        views.append(augmentation.apply(canvas, size, augmentation.draw(2)).global_views)
    torch.testing.assert_close(views[0], -views[1])


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "RandomChannelDropout", "p": 0.5},
        {"name": "RandomPosterize", "bits": 3, "p": 0.5},
        {"name": "RandomAffine", "degrees": 20, "p": 0.5},
        {"name": "RandomGaussianNoise", "p": 0.5},
        {"name": "RandomMotionBlur", "kernel_size": 3, "angle": 30.0, "direction": 0.5, "p": 0.5},
        {"name": "RandomPlasmaShadow", "p": 0.5},
    ],
)
def test_rows_of_the_batch_are_the_batch_of_the_rows(entry: dict[str, Any]) -> None:
    found = extra_operation(entry, 0, 0, SHAPE)
    assert found is not None
    x = torch.rand(8, *SHAPE)
    torch.manual_seed(1)
    drawn = found.draw(8)
    whole = found.apply(x.clone(), drawn)
    split = [found.apply(x[i : i + 2].clone(), drawn.rows(slice(i, i + 2))) for i in range(0, 8, 2)]
    torch.testing.assert_close(torch.cat(split), whole, atol=1e-6, rtol=0)
    assert not torch.equal(whole, x)


def test_an_unknown_name_brings_the_nearest() -> None:
    told = refusal({"name": "RandomErasin"})
    assert "'augment.extra[0].name' is 'RandomErasin'" in told
    assert "did you mean 'RandomErasing'?" in told


def test_what_mixes_images_is_refused() -> None:
    assert "changes images one by one" in refusal({"name": "RandomMixUpV2"})
    assert "RandomMixUpV2" not in extra_classes()


def test_wrong_arguments_bring_the_right_ones() -> None:
    told = refusal({"name": "RandomErasing", "scal": [0.1, 0.2]})
    assert "'scal'" in told
    assert "scale:" in told


def test_what_changes_the_shape_is_refused() -> None:
    assert "changes the shape of an image to [3, 10, 10]" in refusal({"name": "CenterCrop", "size": 10})


class LikeItsBatch(K.IntensityAugmentationBase2D):
    def apply_transform(self, input: Tensor, *_: Any, **__: Any) -> Tensor:
        return input.mean(0, keepdim=True).expand_as(input)


class DrawsLate(K.IntensityAugmentationBase2D):
    def apply_transform(self, input: Tensor, *_: Any, **__: Any) -> Tensor:
        return input + torch.rand(len(input), 1, 1, 1)


@pytest.mark.parametrize(
    ("cls", "why"), [(LikeItsBatch, "depend on the others"), (DrawsLate, "draws at random while")]
)
def test_what_no_resume_could_repeat_is_refused(cls: type, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(K, "RandomStranger", cls, raising=False)
    assert why in refusal({"name": "RandomStranger"})


def test_what_needs_other_channels_is_refused() -> None:
    told = refusal({"name": "RandomPlanckianJitter", "p": 0.5}, (5, 32, 32))
    assert "cannot be used on first global crops [5, 32, 32]" in told


def test_trying_out_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    MultiCrop(MultiCropConfig(global_size=16, local_count=1, extra=[{"name": "RandomGaussianNoise"}]), FORMAT)
    assert torch.equal(torch.get_rng_state(), before)
