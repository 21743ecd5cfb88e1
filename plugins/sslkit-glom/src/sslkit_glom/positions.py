"""Where a place is, as the top-down nets are told."""

# N places, F frequencies

import math

import torch
from torch import Tensor


def coordinates(grid: tuple[int, int]) -> Tensor:
    """The places' middles, down and across, row by row: float64 [N, 2], from -1 to 1 between the borders."""
    down, across = ((2 * torch.arange(count, dtype=torch.float64) + 1) / count - 1 for count in grid)
    return torch.cartesian_prod(down, across)


def positions(grid: tuple[int, int], frequencies: int) -> Tensor:
    """Sines and cosines of the coordinates: float64 [N, 4 F] in [-1, 1].

    Coordinates run over the image, whatever its size, so that a crop of another size is told in the same
    words. Frequency f turns 2^f / 2 times from border to border.
    """
    turned = coordinates(grid)[..., None] * math.pi / 2 * 2.0 ** torch.arange(frequencies)  # [N, 2, F]
    return torch.cat([turned.sin(), turned.cos()], -1).flatten(1)
