"""Shapes, numbers and statistics of masks, beside a second way of drawing them."""

import math
import random

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from sslkit_ibot import block_mask, draw_masks, random_mask
from sslkit_ibot.masks import Masks

DRAWS = 1500


def second_block_mask(height: int, width: int, high: float) -> npt.NDArray[np.bool_]:
    """BEiT's algorithm as iBOT runs it, cell by cell, with Python's own generator."""
    mask = np.zeros((height, width), dtype=bool)
    count = 0
    while count < high:
        room, delta = high - count, 0
        for _ in range(10):
            area = random.uniform((min(height, width) // 3) ** 2, room)
            aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if w < width and h < height:
                top, left = random.randint(0, height - h), random.randint(0, width - w)
                cells = [(i, j) for i in range(top, top + h) for j in range(left, left + w)]
                new = [cell for cell in cells if not mask[cell]]
                if 0 < len(new) <= room:
                    for cell in new:
                        mask[cell] = True
                    delta = len(new)
                    break
        if delta == 0:
            break
        count += delta
    return mask


def touching(masks: Tensor) -> float:
    """Of the masked patches [I, h, w], the share whose right neighbour is masked too."""
    both = masks[..., 1:] & masks[..., :-1]
    return (both.sum() / masks[..., :-1].sum()).item()


@pytest.mark.parametrize(("grid", "most"), [((6, 6), 12.3), ((14, 14), 58.8), ((7, 12), 30.0)])
def test_blocks_are_drawn_as_the_authors_draw_them(grid: tuple[int, int], most: float) -> None:
    torch.manual_seed(0)
    random.seed(0)
    ours = torch.stack([block_mask(grid, most) for _ in range(DRAWS)])  # [I, h, w]
    theirs = torch.stack([torch.from_numpy(second_block_mask(*grid, most)) for _ in range(DRAWS)])
    sizes = [m.flatten(1).sum(1).float() for m in (ours, theirs)]
    assert sizes[0].max() <= most
    error = 4 * (sizes[0].var() / DRAWS + sizes[1].var() / DRAWS).sqrt()
    assert (sizes[0].mean() - sizes[1].mean()).abs() < error
    assert touching(ours) == pytest.approx(touching(theirs), abs=0.02)
    where = [m.float().mean(0) for m in (ours, theirs)]
    assert (where[0] - where[1]).abs().max() < 5 * math.sqrt(0.5 / DRAWS)


def test_blocks_hang_together_and_single_patches_do_not() -> None:
    torch.manual_seed(0)
    blocks = torch.stack([block_mask((14, 14), 58.8) for _ in range(100)])
    singles = torch.stack([random_mask((14, 14), 58.8) for _ in range(100)])
    assert touching(blocks) > 0.8
    assert touching(singles) == pytest.approx(58 / 196, abs=0.03)
    assert (singles.flatten(1).sum(1) == 58).all()


@pytest.mark.parametrize("grid", [(1, 1), (1, 8), (2, 2), (3, 3)])
def test_small_grids_do_not_hang(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    for _ in range(50):
        assert block_mask(grid, 0.5 * grid[0] * grid[1]).sum() <= 0.5 * grid[0] * grid[1]


def test_no_block_hides_a_whole_row_or_column() -> None:
    torch.manual_seed(0)
    one_block = torch.stack(
        [block_mask((6, 6), 5.0) for _ in range(300)]
    )  # most are of one or two rectangles
    assert one_block.any(1).sum(1).min() >= 1
    assert not one_block.flatten(1).all(1).any()
    assert not one_block.all(2).any()


@pytest.mark.parametrize("shape", ["block", "random"])
def test_masks_have_the_probability_and_the_ratios_that_are_asked_for(shape: str) -> None:
    torch.manual_seed(0)
    masks = draw_masks(DRAWS, (14, 14), probability=0.5, ratio=0.3, spread=0.2, shape=shape)  # type: ignore[arg-type]
    shares = masks.float().mean(1)  # [I]
    masked = shares[shares > 0]
    assert masks.shape == (DRAWS, 196)
    assert len(masked) / DRAWS == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(DRAWS))
    assert masked.max() <= 0.5
    assert masked.mean().item() == pytest.approx(0.29, abs=0.015)  # whole patches at most: below .3
    assert masked.std().item() == pytest.approx(0.4 / math.sqrt(12), abs=0.015)  # even between .1 and .5
    if shape == "random":
        assert masked.min() >= 0.1 - 1 / 196


def test_masks_are_a_function_of_torchs_seed() -> None:
    torch.manual_seed(3)
    first, other = draw(), draw()
    torch.manual_seed(3)
    assert torch.equal(draw(), first)
    assert not torch.equal(other, first)


def draw(probability: float = 0.5) -> Tensor:
    return draw_masks(16, (6, 6), probability=probability, ratio=0.3, spread=0.2)


def test_without_masks_nothing_is_drawn() -> None:
    """So that drop path draws what it draws for DINO."""
    before = torch.get_rng_state()
    assert not draw(probability=0).any()
    assert torch.equal(torch.get_rng_state(), before)


def test_places_and_weights_by_hand() -> None:
    where = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]).bool()
    masks = Masks.of(where, torch.device("cpu"))
    assert masks.rows.tolist() == [1, 3, 8]
    assert torch.allclose(
        masks.weights, torch.tensor([1 / 6, 1 / 6, 1 / 3])
    )  # they sum to two images of three
    assert torch.equal(masks.where, where)
