"""The nets between the levels of a column, the same ones at every place."""

# L nets side by side, M rows, D features, H hidden

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VARIANCE = 1 / 3
"""Of what goes into GELU at first: inputs of variance 1, weights uniform as in `StackedLinear`."""
GELU_MEAN = VARIANCE / math.sqrt(2 * math.pi * (1 + VARIANCE))
"""The mean of GELU over a normal distribution of that variance."""


class LevelNets(nn.Module):
    """L small nets of one shape, each with weights of its own: norm, linear, GELU, linear."""

    def __init__(self, count: int, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        self.first = StackedLinear(count, in_dim, hidden_dim)
        self.second = StackedLinear(count, hidden_dim, out_dim)
        with torch.no_grad():  # else all say nearly the same at first: GELU's mean, whatever they are told
            self.second.bias.copy_(-GELU_MEAN * self.second.weight.sum(1, keepdim=True))

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Each net its rows, [L, ..., D] -> [L, ..., out_dim]; of fewer rows, the first nets.

        `beside` [L, ..., E]: further inputs that are not normed, of in_dim = D + E.
        """
        normed = F.layer_norm(x, x.shape[-1:])
        given = normed if beside is None else torch.cat([normed, beside.to(normed.dtype)], -1)
        hidden = F.gelu(self.first(given.flatten(1, -2)))  # [L, M, H]
        return self.second(hidden).unflatten(1, x.shape[1:-1])  # type: ignore[no-any-return]


class StackedLinear(nn.Module):
    """L linear maps, each over its own rows: [L, M, in_dim] -> [L, M, out_dim]."""

    def __init__(self, count: int, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, in_dim, out_dim))
        self.bias = nn.Parameter(torch.zeros(count, 1, out_dim))
        nn.init.uniform_(self.weight, -1 / math.sqrt(in_dim), 1 / math.sqrt(in_dim))  # as nn.Linear's

    def forward(self, x: Tensor) -> Tensor:
        """Of fewer rows than maps, the first maps."""
        weight, bias = (y[: len(x)].to(x.dtype) for y in (self.weight, self.bias))
        return torch.baddbmm(bias, x, weight)
