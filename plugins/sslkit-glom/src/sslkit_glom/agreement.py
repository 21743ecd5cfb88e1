"""How much the places of an image agree: cosines of their states."""

# N = h x w places, D features

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.losses.dtype import raised


def agreement_anywhere(states: Tensor) -> Tensor:
    """Mean cosine of any two different places: [..., N, D] -> [...]; NaN for a single place."""
    unit, count = F.normalize(raised(states), dim=-1), states.shape[-2]
    return (unit.sum(-2).square().sum(-1) - count) / (count * (count - 1))


def agreement_beside(states: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean cosine of places beside or below each other: [..., N, D] -> [...]; NaN for a single place."""
    unit = F.normalize(raised(states), dim=-1).unflatten(-2, grid)  # [..., h, w, D]
    across = (unit[..., 1:, :] * unit[..., :-1, :]).sum(-1).flatten(-2)  # [..., h (w - 1)]
    down = (unit[..., 1:, :, :] * unit[..., :-1, :, :]).sum(-1).flatten(-2)
    return torch.cat([across, down], -1).mean(-1)
