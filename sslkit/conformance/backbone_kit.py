"""What the checks of a backbone work with: a factory, small images, and how features are compared."""

# B images, C channels, D features

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.conformance.findings import demand
from sslkit.core.backbone import Backbone
from sslkit.core.randomness import seeded

SIDES = (32, 64, 96, 224)
"""Sides of the global views that are tried, pixels: the first that the network takes."""
ATOL, RTOL = 1e-4, 1e-3


@dataclass(frozen=True)
class BackboneKit:
    """A factory, and what it is asked for."""

    factory: Callable[..., Backbone]
    args: Mapping[str, Any] = field(default_factory=dict)
    side: int = SIDES[0]
    channels: int = 3

    def build(self, seed: int = 0, drop_path_rate: float = 0.1) -> Backbone:
        """A network whose weights are all different, so that none hides a mistake by being zero."""
        with seeded(seed, "weights"), torch.no_grad():
            built = self.factory(
                channels=self.channels,
                image_size=self.side,
                drop_path_rate=drop_path_rate,
                **self.args,
            )
            for parameter in built.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        return built

    def images(self, height: int | None = None, width: int | None = None, count: int = 3) -> Tensor:
        """[B, C, H, W], normalised; by default of the size that it is built for."""
        with seeded(0, "images"):
            height = height or self.side
            return torch.randn(count, self.channels, height, width or height)


def check_features(built: Backbone, x: Tensor, features: Tensor) -> None:
    """Features [B, D] of images [B, C, H, W], finite."""
    wanted = (len(x), built.embed_dim)
    shown = f"{tuple(features.shape)} of images {tuple(x.shape)}"
    demand(features.shape == wanted, f"forward gives {shown}, but must give [B, embed_dim] = {wanted}")
    demand(features.is_floating_point(), f"forward gives {features.dtype}; features are floating point")
    demand(bool(features.isfinite().all()), "forward gives numbers that are not finite")


def weights_of(built: nn.Module) -> dict[str, Tensor]:
    """A copy of the whole state."""
    return {key: value.detach().clone() for key, value in built.state_dict().items()}


def check_close(got: Tensor, wanted: Tensor, told: str) -> None:
    """The same up to rounding."""
    demand(got.shape == wanted.shape, f"{told} (shapes {tuple(got.shape)} and {tuple(wanted.shape)})")
    if not torch.allclose(got, wanted, atol=ATOL, rtol=RTOL):
        demand(False, f"{told} (they differ by up to {(got - wanted).abs().max().item():.3g})")
