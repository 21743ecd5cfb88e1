"""Which patches the student does not see. All draws come from torch's global generator, on the CPU."""

# I images, N = h x w patches of an image, M masked patches of all images

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Shape = Literal["block", "random"]
TRIES = 10
"""Draws of a block before the mask is left as it is."""
LARGEST_ASPECT = 1 / 0.3
"""Of a block's height to its width, and the other way round."""


@dataclass(frozen=True)
class Masks:
    """The masked patches of a batch, on the device of its images."""

    where: Tensor
    """bool [I, N]."""
    rows: Tensor
    """int64 [M], the masked patches' places among all I x N."""
    weights: Tensor
    """float32 [M], 1 / (I x masked patches of the same image): they sum to the share of masked images."""

    @classmethod
    def of(cls, where: Tensor, device: torch.device) -> "Masks":
        """From a mask [I, N] on the CPU, so that no step waits to learn how many patches are masked."""
        count = where.sum(1, keepdim=True).clamp(min=1)  # [I, 1]
        weights = (1 / (len(where) * count.float())).expand_as(where)[where]  # [M]
        rows = where.flatten().nonzero().flatten()  # [M]
        return cls(*(x.to(device, non_blocking=True) for x in (where, rows, weights)))


def draw_masks(
    images: int,
    grid: tuple[int, int],
    *,
    probability: float,
    ratio: float,
    spread: float,
    shape: Shape = "block",
) -> Tensor:
    """A mask for each image, or none (Zhou et al. 2022, as in the authors' loader).

    Args:
        images: how many, I.
        grid: (rows, columns) of patches, with N = rows x columns.
        probability: that an image is masked at all, 0 to 1 (paper: .5).
        ratio, spread: of its patches at most a share is masked that is drawn evenly from ratio - spread to
            ratio + spread, within 0 to 1 (paper: .3 and .2).
        shape: of the masks, `block` (paper) or `random`.

    Returns:
        bool [I, N] on the CPU.
    """
    patches = grid[0] * grid[1]
    masks = torch.zeros(images, patches, dtype=torch.bool)
    if probability == 0:  # drop path then draws what it would draw without masks
        return masks
    draw: Callable[[tuple[int, int], float], Tensor] = block_mask if shape == "block" else random_mask
    is_masked = torch.rand(images) < probability  # [I]
    shares = ratio + spread * (2 * torch.rand(images) - 1)  # [I]
    for image, (hide, share) in enumerate(zip(is_masked.tolist(), shares.tolist(), strict=True)):
        if hide:
            masks[image] = draw(grid, share * patches).flatten()
    return masks


def block_mask(grid: tuple[int, int], most: float) -> Tensor:
    """Rectangles, which may overlap, until `most` patches are masked or ten draws in a row do not fit.

    A rectangle's area is drawn evenly from (the grid's shorter side // 3) squared to what is left, its aspect
    ratio log-evenly from .3 to 1 / .3; it is smaller than the grid both ways (Bao et al. 2021, algorithm 1,
    as in iBOT's loader).

    Args:
        grid: (rows, columns) of patches.
        most: at most so many are masked.

    Returns:
        bool [rows, columns].
    """
    mask, room = np.zeros(grid, dtype=bool), most
    while room > 0:
        block = _fitting_block(mask, room)
        if block is None:
            break
        room -= np.count_nonzero(~mask[block])
        mask[block] = True
    return torch.from_numpy(mask)


def _fitting_block(mask: NDArray[np.bool_], room: float) -> tuple[slice, slice] | None:
    """A rectangle that masks at least one more patch and at most `room`; None after ten that do not."""
    rows, columns = mask.shape
    least = (min(rows, columns) // 3) ** 2
    for size, aspect, top, left in torch.rand(TRIES, 4).tolist():
        area = least + (room - least) * size
        ratio = LARGEST_ASPECT ** (2 * aspect - 1)
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if height >= rows or width >= columns:
            continue
        y, x = int(top * (rows - height + 1)), int(left * (columns - width + 1))
        block = slice(y, y + height), slice(x, x + width)
        if 0 < np.count_nonzero(~mask[block]) <= room:
            return block
    return None


def random_mask(grid: tuple[int, int], most: float) -> Tensor:
    """`most` patches, rounded down, each as likely as any other: bool [rows, columns]."""
    mask = torch.zeros(grid[0] * grid[1], dtype=torch.bool)
    mask[torch.randperm(len(mask))[: int(most)]] = True
    return mask.view(grid)
