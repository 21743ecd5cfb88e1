"""What patch discrimination draws and takes away, the same for training and for the evaluator."""

# n pairs, B patches, C channels, p side of a patch

from collections.abc import Sequence

import torch
from torch import Tensor

ROUNDING = 1e-9
"""Shares of a side that are as good as none."""


def draw_pairs(n: int, *, scale: Sequence[float], gap: float, seed: int) -> Tensor:
    """Places of n anchors and of a second patch for each, in the unit square.

    The anchor's is uniform where it leaves room for the second, the second's uniform where it keeps the gap.

    Args:
        n: pairs.
        scale: range of a patch's side, above 0 to 1 / (2 + gap), drawn for each patch by itself.
        gap: least distance between their borders, across or down, in sides of the larger one, >= -1.
        seed: of all draws.

    Returns:
        (top, left, side) of the anchors and of the second patches, float64 [2, n, 3].
    """
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(n, 8, generator=generator, dtype=torch.float64)
    low, high = scale
    anchor, other = (low + (high - low) * u[:, :2]).unbind(1)  # sides, [n]
    reach = gap * torch.maximum(anchor, other)
    # Less than `needed` on both sides of the anchor leaves no room for the second on an axis.
    needed = (other + reach)[:, None].expand(-1, 2)  # [n, 2]
    first = uniform_outside(u[:, 2:5], 1 - anchor, 1 - anchor[:, None] - needed, needed)  # [n, 2]
    too_near = first - needed, first + (anchor + reach)[:, None]
    second = uniform_outside(u[:, 5:8], 1 - other, *too_near)
    pair = (first, anchor), (second, other)
    return torch.stack([torch.cat([place, side[:, None]], 1) for place, side in pair])


def uniform_outside(u: Tensor, room: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A point of the square [0, room]^2 that is not within the open box (low, high), uniformly.

    The rest of the square is cut into strips beside, above and below the box; one is drawn by its area.

    Args:
        u: uniform in [0, 1), [n, 3].
        room: [n].
        low, high: [n, 2]; on an axis where high <= low there is no box.

    Returns:
        [n, 2]; where the box leaves only an edge, a point of the edge.
    """
    room = room[:, None]  # [n, 1]
    no_box = (high <= low + ROUNDING).any(1, keepdim=True)
    start = torch.where(no_box, room, low.minimum(room))  # [n, 2]
    stop = torch.where(no_box, room + 1, high.clamp(min=0))
    zero, (top, left), (bottom, right) = room * 0, start.split(1, 1), stop.split(1, 1)
    middle = left.clamp(min=0), right.minimum(room)  # beside neither the left strip nor the right one
    strips = [
        (zero, zero, room, left),
        (zero, right, room, room),
        (zero, middle[0], top, middle[1]),
        (bottom, middle[0], room, middle[1]),
    ]
    corners = torch.stack([torch.cat(strip, 1) for strip in strips], 1)  # [n, 4, (y, x, y, x)]
    extent = corners[..., 2:] - corners[..., :2]  # [n, 4, 2]
    area = (extent.clamp(min=0) + ROUNDING).prod(-1) * (extent >= -ROUNDING).all(-1)  # [n, 4]
    passed = area.cumsum(1) <= u[:, :1] * area.sum(1, keepdim=True)
    chosen = passed.sum(1).clamp(max=3)  # [n]
    rows = torch.arange(len(u))
    return corners[rows, chosen, :2] + u[:, 1:] * extent[rows, chosen].clamp(min=0)


def standardized(x: Tensor, *, flat: float) -> Tensor:
    """Each channel of each patch [B, C, p, p] less its mean and over its deviation, or over `flat` if larger.

    So a patch that hardly varies is not blown up to a deviation of 1; one of one value becomes zeros.
    """
    x = x - x.mean((-2, -1), keepdim=True)
    return x / x.square().mean((-2, -1), keepdim=True).sqrt().clamp(min=flat)
