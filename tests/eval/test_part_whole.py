"""Part and whole, with backbones that know which image they see, and one that knows nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from oracle_backbones import Oracle, constant
from PIL import Image
from torch import Tensor

from sslkit.augment.config import MultiCropConfig, PatchesConfig
from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.errors import DataError, RecipeError
from sslkit.eval.part_whole import PartWhole, PartWholeConfig, cut, find, grouped
from sslkit.nn.pocket import vit_pocket
from sslkit.plugins import Registry
from sslkit.recipe.schema import Component

SIDE = 24


def levels(n: int = 22) -> Tensor:
    """Images of one grey each; normalised."""
    return ((torch.arange(n) * 10 + 10) / 255).view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE) * 4 - 2


def knows(x: Tensor) -> Tensor:
    """Which image it is, as a direction."""
    level = x.mean((1, 2, 3)) * 0.25 + 0.5
    return torch.stack([level.cos(), level.sin()], 1)


def asked(images: Tensor, net: Any, tmp_path: Path, augment: Any = None, **keys: Any) -> Result:
    subject = Subject(net)
    context = context_for(subject, tmp_path)
    context.recipe = replace(
        context.recipe,
        augment=Component("multicrop", augment or MultiCropConfig(local_size=8)),
        eval=replace(context.recipe.eval, crop=SIDE),
    )
    data = Pictures(images)
    return PartWhole(PartWholeConfig(**keys))(subject, EvalData(data, data), context)


def test_one_that_knows_the_image_finds_it(tmp_path: Path) -> None:
    net = Oracle(knows).train()
    result = asked(levels(), net, tmp_path, n=10)
    for area in ("0.05", "0.1", "0.2", "0.4", "0.8"):
        assert result.metrics[f"top1_{area}"] == result.metrics[f"mrr_{area}"] == 1
    assert result.counts["top1_0.1"] == 20  # two groups of ten; two images are left over
    assert net.modes == {False}
    assert net.training
    assert result.notes == ["Each crop, seen at 8 px, among 10 whole images: chance is 0.1."]


def test_one_that_knows_nothing_is_at_chance(tmp_path: Path) -> None:
    result = asked(levels(), Oracle(constant), tmp_path, n=10, areas=[0.2])
    assert result.metrics["top1_0.2"] == pytest.approx(0.1)
    assert result.metrics["mrr_0.2"] == pytest.approx(1 / 5.5)  # the mean of the ranks 1 to 10
    assert result.intervals["top1_0.2"] == pytest.approx((0.1, 0.1))


def test_fewer_images_are_one_group(tmp_path: Path) -> None:
    result = asked(levels(7), Oracle(constant), tmp_path, areas=[0.2])
    assert result.metrics["top1_0.2"] == pytest.approx(1 / 7)
    assert result.counts["top1_0.2"] == 7


def test_ranks_are_those_of_sorted_cosines() -> None:
    rng = np.random.default_rng(0)
    crops, wholes = rng.normal(size=(2, 12, 3))
    wholes[1] = wholes[0]
    for x in (crops, wholes):
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = find(torch.from_numpy(crops), torch.from_numpy(wholes), 6)
    for i in range(12):
        group = range(i // 6 * 6, i // 6 * 6 + 6)
        cosine = {j: float(crops[i] @ wholes[j]) for j in group}
        nearer = sum(c > cosine[i] + 1e-9 for c in cosine.values())
        equal = sum(abs(c - cosine[i]) < 1e-9 for j, c in cosine.items() if j != i)
        assert (int(found.nearer[i]), int(found.equal[i])) == (nearer, equal)
        assert found.top1[i] == (0 if nearer else 1 / (1 + equal))
        assert cosine[int(found.nearest[i])] == pytest.approx(max(cosine.values()))
        assert float(found.reciprocal[i]) == pytest.approx(1 / np.mean([1 + nearer, 1 + nearer + equal]))
    assert found.equal.tolist()[:2] == [1, 1]


def test_groups_are_random_and_always_the_same() -> None:
    pixels = torch.arange(23.0).view(-1, 1, 1, 1)
    order = grouped(pixels, 5).flatten().tolist()
    assert len(set(order)) == 20
    assert order != sorted(order)
    assert grouped(pixels, 5).flatten().tolist() == order


def test_a_crop_is_a_share_of_the_area_at_the_same_place() -> None:
    place = torch.linspace(0, 1, 64)
    ramps = torch.stack([place[:, None].expand(64, 64), place.expand(64, 64)]).expand(9, -1, -1, -1)
    free = []
    for area, side in ((0.0625, 16), (0.25, 32)):
        crops = cut(ramps, area, side)  # not resized
        corner = (crops.amin((2, 3)) * 63).round()  # [9, 2]
        assert torch.equal((crops.amax((2, 3)) * 63).round() - corner, torch.full((9, 2), side - 1.0))
        free.append(corner / (64 - side))
    torch.testing.assert_close(free[0], free[1], atol=0.03, rtol=0)
    assert free[0].std(0).min() > 0.1
    torch.testing.assert_close(cut(ramps, 1.0, 64), (ramps * 255).round() / 255)


@pytest.mark.parametrize(
    ("augment", "keys", "side"),
    [
        (MultiCropConfig(local_size=8), {}, 8),
        (MultiCropConfig(local_size=8, local_count=0), {}, SIDE),
        (PatchesConfig(size=12), {}, 12),
        (MultiCropConfig(local_size=8), {"size": 16}, 16),
        (Registry, {}, SIDE),  # the config of some other augmentation
    ],
)
def test_crops_are_seen_at_the_size_of_training(
    augment: Any, keys: dict[str, Any], side: int, tmp_path: Path
) -> None:
    net = Oracle(constant)
    asked(levels(6), net, tmp_path, augment, areas=[0.2], **keys)
    assert [x.shape[-1] for x in net.seen] == [SIDE, side]


def test_a_real_network_beside_its_floors(tmp_path: Path) -> None:
    images = torch.randn(12, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    net = vit_pocket(channels=3, image_size=SIDE, drop_path_rate=0.0, depth=1)
    results = [asked(images, net, tmp_path, n=6, areas=[0.2, 1.0]) for _ in range(2)]
    assert results[0].metrics == results[1].metrics
    names = {f"top1_{area}{floor}" for area in ("0.2", "1") for floor in ("", "_untrained", "_pixels")}
    assert set(results[0].metrics) == names | {"mrr_0.2", "mrr_1"}
    assert results[0].metrics["top1_1_pixels"] == 1
    with Image.open(results[0].figures["part_whole"]) as image:
        image.load()
        assert image.width > 900


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"n": 1}, "'n' is 1, but must be 2 or more"),
        ({"images": 1}, "'images' is 1, but must be 2 or more"),
        ({"areas": []}, "'areas' is"),
        ({"areas": [0.2, 1.5]}, "'areas' is .*, but must be numbers above 0 to 1"),
        ({"size": 0}, "'size' is 0, but must be 1 or more"),
    ],
)
def test_an_impossible_value_is_refused_by_its_key(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        PartWholeConfig(**keys)


def test_one_image_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="part_whole needs 2 held-out images or more, but pictures has 1"):
        asked(levels(1), Oracle(constant), tmp_path)


def test_it_is_found_by_its_name() -> None:
    assert Registry.load().get("evaluators", "part_whole") is PartWhole
