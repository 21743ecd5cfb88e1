"""Projection heads."""

# N rows (images of one or all views), D features, K prototypes

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class DINOHead(nn.Module):
    """DINO's projection head: an MLP, an L2-normalised bottleneck, then one weight-normed row per prototype.

    Loads the state of the authors' head, whose last layer is called `last_layer.weight_g` and `weight_v`, and
    saves the names of torch's parametrization. Apply it to the rows of all views at once: the last layer's
    weight is normalised once a call. Source: Caron et al. 2021, section 3.2 and appendix C.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        layers: int = 3,
        norm_last_layer: bool = True,
    ) -> None:
        """Build the head with the authors' initial weights.

        Args:
            in_dim: width of the backbone's features, D.
            out_dim: number of prototypes, K (paper: 65536).
            hidden_dim: width of the hidden layers.
            bottleneck_dim: width before the last layer.
            layers: linear layers before the last one, >= 1.
            norm_last_layer: keep the prototypes' norm at 1 (steadier); False trains it.

        Raises:
            ValueError: `layers` or a width is below 1.
        """
        super().__init__()
        if min(in_dim, out_dim, hidden_dim, bottleneck_dim, layers) < 1:
            raise ValueError("a head needs at least one layer, and every width to be at least 1")
        self.mlp = _mlp([in_dim, *[hidden_dim] * (layers - 1), bottleneck_dim])
        self.last_layer = weight_norm(nn.Linear(bottleneck_dim, out_dim, bias=False))
        gain = self.last_layer.parametrizations.weight.original0  # [K, 1]
        nn.init.ones_(gain)
        gain.requires_grad_(not norm_last_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, D] -> logits [N, K], in [-1, 1] while the prototypes' norm is 1."""
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))  # type: ignore[no-any-return]


def mlp_head(
    widths: Sequence[int], *, norm: bool = True, last_norm: bool = False, last_affine: bool = True
) -> nn.Sequential:
    """Linear layers with batch norm and ReLU between them: rows [N, widths[0]] -> [N, widths[-1]].

    A layer has a bias where no batch norm follows it.

    Args:
        widths: input, hidden and output widths; two of them are one bare linear layer.
        norm: batch norm before each ReLU.
        last_norm: batch norm after the last layer too.
        last_affine: that last one scales and shifts.
    """
    *hidden, last = pairwise(widths)
    layers: list[nn.Module] = []
    for in_dim, out_dim in hidden:
        layers += [nn.Linear(in_dim, out_dim, bias=not norm), *[nn.BatchNorm1d(out_dim)] * norm, nn.ReLU()]
    layers.append(nn.Linear(*last, bias=not last_norm))
    layers += [nn.BatchNorm1d(last[1], affine=last_affine)] * last_norm
    return nn.Sequential(*layers)


def _mlp(widths: list[int]) -> nn.Module:
    """Linear layers with GELU between; a bare linear layer for one, as the authors' key names want it."""
    linears = [_linear(*pair) for pair in pairwise(widths)]
    if len(linears) == 1:
        return linears[0]
    return nn.Sequential(*[module for linear in linears for module in (linear, nn.GELU())][:-1])


def _linear(in_dim: int, out_dim: int) -> nn.Linear:
    linear = nn.Linear(in_dim, out_dim)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear
