"""Where a network looks in each image, whatever the network."""

# B images, C channels, S side of an image, N patches of a grid h x w

from dataclasses import dataclass

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone


@dataclass(frozen=True)
class Maps:
    """One or more heat maps an image."""

    values: Tensor
    """[B, maps, h, w], >= 0."""
    is_attention: bool
    """Attention of CLS, one map a head; else the strength of the last feature map, one map."""


@torch.no_grad()
def attention_maps(backbone: Backbone, images: Tensor) -> Maps:
    """Attention of CLS in the last block; of a network without it, the length of its last features.

    Args:
        images: normalised, [B, C, S, S].
    """
    tokens = backbone.tokens(images)
    attention = backbone.cls_attention(images)  # [B, heads, N]
    if attention is not None:
        return Maps(attention.unflatten(-1, tokens.grid), is_attention=True)
    return Maps(tokens.patches.norm(dim=-1).unflatten(-1, tokens.grid)[:, None], is_attention=False)
