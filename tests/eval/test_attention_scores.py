"""Jaccard, boxes and shares against a pixel-by-pixel oracle: void, ties, empty, zero and even attention."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from oracles import attention as oracle
from tolerances import assert_close
from torch import Tensor

from sslkit.eval.attention import enlarged, mass_mask, pixels_in
from sslkit.eval.attention_boxes import finds_one, largest_box, true_boxes
from sslkit.eval.attention_numbers import cross_fitted
from sslkit.eval.attention_scores import Truth, ellipse_mask, mass_masks
from sslkit.eval.attention_views import Views

SHARES = (0.6, 0.8)


def views(objects: Tensor, *, told_apart: bool = True) -> Views:
    images = torch.zeros(len(objects), 3, *objects.shape[1:])
    return Views(list(range(len(objects))), images, objects, told_apart, lambda patch: images)


def blobs(count: int, height: int, width: int, *, void: bool = True) -> Tensor:
    """Two objects, void around the second, [count, H, W] uint8."""
    generator = np.random.default_rng(3)
    objects = np.zeros((count, height, width), np.uint8)
    for image in objects:
        top, left = generator.integers(0, height // 2), generator.integers(0, width // 2)
        image[top : top + height // 3, left : left + width // 2] = 1
        bottom, right = generator.integers(2, height // 2), generator.integers(2, width // 2)
        image[-bottom:, -right:] = oracle.VOID if void else 0
        image[-bottom + 1 :, -right + 1 :] = 2
    return torch.from_numpy(objects)


def attentions(name: str, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    random = torch.rand(shape, generator=generator, dtype=torch.float64) ** 3
    kinds: dict[str, Tensor] = {
        "random": random,
        "zero": torch.zeros_like(random),
        "even": torch.ones_like(random),
        "one patch": torch.zeros_like(random),
        "one head zero": random.clone(),
        "ties": (random * 3).round(),
    }
    kinds["one patch"][..., 1, 2] = 0.3
    kinds["one head zero"][:, 1] = 0
    return kinds[name]


KINDS = ["random", "zero", "even", "one patch", "one head zero", "ties"]


@pytest.mark.parametrize("kind", ["random", "zero", "one patch"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 0.95])
def test_mass_masks_are_the_papers(kind: str, share: float) -> None:
    attention = attentions(kind, (5, 3, 6, 7))
    for row in attention.flatten(0, 1).flatten(1):
        assert mass_mask(row, share).tolist() == oracle.mass_mask(row.numpy(), share).tolist()


@pytest.mark.parametrize("kind", ["even", "ties"])
def test_of_equal_patches_as_many_are_kept_as_are_needed(kind: str) -> None:
    """Which of them is open; how many and how strong is not."""
    for row in attentions(kind, (5, 3, 5, 8)).flatten(0, 1).flatten(1):
        for share in (0.33, 0.61, 0.77):
            ours, theirs = mass_mask(row, share).numpy(), oracle.mass_mask(row.numpy(), share)
            assert sorted(row.numpy()[ours]) == sorted(row.numpy()[theirs])


@pytest.mark.parametrize(("height", "width"), [(12, 14), (13, 29), (5, 6), (31, 7)])
def test_pixels_and_patches_belong_together(height: int, width: int) -> None:
    mask = mass_mask(attentions("random", (4, 6 * 7)), 0.5).view(4, 6, 7)
    pixels = enlarged(mask, (height, width))
    wanted = np.stack([oracle.enlarge(m.numpy(), height, width) for m in mask])
    assert pixels.numpy().tolist() == wanted.tolist()
    truth = torch.rand(4, height, width, generator=torch.Generator().manual_seed(0)) < 0.3
    counts = pixels_in(truth, (6, 7))
    assert counts.sum() == truth.sum()
    assert torch.equal((counts * mask).sum((1, 2)), (truth & pixels).sum((1, 2)).double())


def test_whole_patches_are_enlarged_as_by_the_authors() -> None:
    mask = mass_mask(attentions("random", (4, 6 * 7)), 0.5).view(4, 1, 6, 7)
    wanted = torch.nn.functional.interpolate(mask.float(), scale_factor=8, mode="nearest") > 0
    assert torch.equal(enlarged(mask, (48, 56)), wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("void", [True, False])
@pytest.mark.parametrize(("height", "width"), [(12, 14), (25, 17)])
def test_scores_are_the_oracles(kind: str, void: bool, height: int, width: int) -> None:
    objects = blobs(6, height, width, void=void)
    attention = attentions(kind, (6, 3, 6, 7))
    masks = mass_masks(attention, SHARES)  # [6, 2, 4, 6, 7]
    assert torch.equal(masks[:, 1, 3], mass_mask(attention.mean(1).flatten(1), 0.8).view(6, 6, 7))
    assert torch.equal(masks[:, 0, 2], mass_mask(attention[:, 2].flatten(1), 0.6).view(6, 6, 7))
    truth = Truth(views(objects))
    got, finds = truth.jaccard(masks), truth.finds(masks[:, 0, -1])
    for image, label in enumerate(objects.numpy()):
        large = [oracle.enlarge(m.numpy(), height, width) for m in masks[image].flatten(0, 1)]
        wanted = [oracle.jaccard(mask, label) for mask in large]
        assert_close(got[image].flatten(), np.array(wanted))
        assert bool(finds[image]) == oracle.finds(large[3], label, told_apart=True)
    if kind == "zero":
        assert not got.any()
        assert not finds.any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_on_objects_is_the_oracles(kind: str) -> None:
    objects, attention = blobs(6, 12, 14), attentions(kind, (6, 3, 6, 7))
    got = Truth(views(objects)).share_on_object(attention)
    for image, label in enumerate(objects.numpy()):
        heads = [oracle.share_on_object(head.numpy(), label) for head in attention[image]]
        assert_close(got[image], float(np.mean(heads)))
    if kind == "even":
        counted = (objects != oracle.VOID).sum((1, 2))
        assert_close(got, ((objects > 0) & (objects != oracle.VOID)).sum((1, 2)) / counted.double())


def test_by_hand() -> None:
    """Two of four patches kept; an object on one and a half, one pixel of it void."""
    objects = torch.tensor([[[1, 1, 0, 0], [1, 255, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]], dtype=torch.uint8)
    mask = torch.tensor([[[True, False], [False, True]]])
    truth = Truth(views(objects))
    assert_close(truth.jaccard(mask), np.array([3 / 9]))
    assert_close(truth.share_on_object(mask[:, None].double()), np.array([3 / 7]))


def test_parts_of_a_mask_touch_by_a_side() -> None:
    mask = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]], bool)
    assert largest_box(mask).tolist() == [1, 2, 4, 4]  # type: ignore[union-attr]
    assert largest_box(mask[:2, :3]).tolist() == [0, 0, 1, 2]  # type: ignore[union-attr]
    assert largest_box(np.zeros((3, 3), bool)) is None
    ties = np.array([[0, 0, 1], [1, 0, 1], [1, 0, 0]], bool)
    assert largest_box(ties).tolist() == [0, 2, 2, 3]  # type: ignore[union-attr]


def test_true_boxes_are_of_numbers_or_of_parts() -> None:
    objects = np.array([[1, 0, 1, 255], [3, 3, 0, 255]], np.uint8)
    assert true_boxes(objects, told_apart=True).tolist() == [[0, 0, 1, 3], [1, 0, 2, 2]]
    assert true_boxes(objects, told_apart=False).tolist() == [[0, 0, 2, 2], [0, 2, 1, 3]]
    assert true_boxes(np.full((2, 2), 255, np.uint8), told_apart=True).shape == (0, 4)


def test_half_of_it_is_enough_and_less_is_not() -> None:
    truth = np.array([[0, 0, 2, 2], [4, 0, 8, 4]])
    box: Callable[..., Any] = lambda *corners: np.array(corners)  # noqa: E731
    assert finds_one(box(0, 0, 4, 2), truth[:1])  # 4 of 8
    assert not finds_one(box(0, 0, 3, 3), truth[:1])  # 4 of 9
    assert finds_one(box(4, 0, 8, 5), truth)
    assert not finds_one(box(8, 4, 12, 8), truth)  # touches at a corner: negative sides do not make an area
    assert not finds_one(None, truth)
    assert not finds_one(box(0, 0, 1, 1), truth[:0])


@pytest.mark.parametrize("seed", range(5))
def test_boxes_overlap_as_their_pixels_do(seed: int) -> None:
    generator = np.random.default_rng(seed)
    lows, sides = generator.integers(0, 4, (30, 2)), generator.integers(1, 6, (30, 2))
    boxes = np.concatenate([lows, lows + sides], 1)
    for box in boxes:
        wanted = [oracle.box_iou(tuple(box), tuple(other)) >= 0.5 for other in boxes]
        assert [finds_one(box, other[None]) for other in boxes] == wanted


def test_the_fixed_head_is_chosen_on_the_other_half() -> None:
    generator = np.random.default_rng(0)
    jaccard, half = generator.random((31, 5)), generator.random(31) < 0.5
    assert cross_fitted(jaccard, half) == pytest.approx(oracle.fixed_head(jaccard, half), abs=1e-13)
    opposed = np.array([[1.0, 0.0], [0.0, 1.0]])  # each half's own best head is wrong in the other
    assert cross_fitted(opposed, np.array([True, False])) == 0
    assert math.isnan(cross_fitted(opposed, np.array([True, True])))


@pytest.mark.parametrize("area", [0.3, 0.4, math.pi / 4])
def test_an_ellipse_has_its_area(area: float) -> None:
    mask = ellipse_mask((300, 500), area)
    assert mask.double().mean().item() == pytest.approx(area, abs=1e-3)
    assert torch.equal(mask, mask.flip(0))
    assert torch.equal(mask, mask.flip(1))
    rows, columns = mask.any(1).sum().item() / 300, mask.any(0).sum().item() / 500
    assert rows == pytest.approx(columns, abs=0.01)
