"""A backbone whose features are its images, for tests of what is done with features."""

# B images, L blocks, D features

from typing import Any

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone, Tokens


def as_images(features: Tensor, *earlier: Tensor) -> Tensor:
    """Features [N, D] of the last block, and those of earlier ones, as images [N, L, 1, D]."""
    return torch.stack([*earlier, features], 1)[:, :, None].float()


class KnownFeatures(Backbone):
    """Gives an image's rows back: channel l holds the CLS of block l, whose negative is the only patch."""

    patch_size = None

    def __init__(self, embed_dim: int, *, has_cls: bool = True) -> None:
        super().__init__()
        self.embed_dim, self.has_cls = embed_dim, has_cls

    network = export_metadata = property(lambda self: self)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1, 0]

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        return self.layers(x, 1)[0]

    def layers(self, x: Tensor, n: int) -> list[Tokens]:
        prefixes = 1 if self.has_cls else 0
        return [Tokens(block[:, :prefixes], -block, (1, 1)) for block in x.unbind(1)[-n:]]

    def cls_attention(self, x: Tensor) -> Any: ...
