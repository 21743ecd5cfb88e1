"""Very small networks and batches that components are checked on."""

# G global views, L local views, B images, C channels

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sslkit.core.backbone import Backbone
from sslkit.core.method import Views
from sslkit.core.randomness import seeded
from sslkit.nn.backbones import timm_backbone

BATCH, IMAGE, CROP, CLASSES = 8, 32, 16, 4
"""Images of a batch, sides of global and local views in pixels, classes."""
VIT = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
RESNET = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 32)}


@dataclass(frozen=True)
class SmallSetup:
    """A `Setup` of a very small network on 32 px images, for checks and tests."""

    network: str | Callable[..., Backbone] = "vit"
    """vit, resnet, or a factory of backbones as `sslkit_backbones` returns them."""
    num_classes: int | None = CLASSES
    batch_size: int = BATCH
    channels: int = 3
    steps_per_epoch: int = 4
    drop_path_rate: float = 0.1
    """Of the ViT, and of a factory's network."""
    image_size: int = IMAGE
    """Side of the global views, pixels."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of a factory."""

    def backbone(self, *, drop_path_rate: float | None = None) -> Backbone:
        """A new one each call."""
        rate = self.drop_path_rate if drop_path_rate is None else drop_path_rate
        common: dict[str, Any] = {"channels": self.channels, "image_size": self.image_size}
        if not isinstance(self.network, str):
            return self.network(**common, drop_path_rate=rate, **self.args)
        if self.network == "resnet":
            return timm_backbone("resnet18", args=RESNET, **common)
        return timm_backbone("vit_tiny_patch16_224", drop_path_rate=rate, args=VIT, **common)


def make_views(
    local_count: int = 2, batch: int = BATCH, channels: int = 3, *, global_count: int = 2
) -> Views:
    """Global and local views of random images, normalised, with labels."""
    with seeded(0, "views"):
        base = torch.randn(batch, channels, IMAGE, IMAGE)  # [B, C, H, W]
        noisy = [base + 0.3 * torch.randn_like(base) for _ in range(global_count)]
        crops = [base[..., :CROP, :CROP] + 0.3 * torch.randn(CROP, CROP) for _ in range(local_count)]
        labels = torch.randint(CLASSES, (batch,))
    local_views = torch.stack(crops) if crops else None  # [L, B, C, h, w]
    return Views(torch.stack(noisy), local_views, labels, torch.arange(batch))
