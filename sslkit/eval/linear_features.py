"""What a linear classifier sees of an image: the last blocks of the backbone."""

# B images, C channels, P prefix tokens, N patches, n blocks, D_i features of a block

from dataclasses import dataclass

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone, Tokens


@dataclass(frozen=True)
class BlockFeatures:
    """CLS of the last n blocks, side by side, and if asked for the mean patch token of the last one.

    As the authors' eval_linear.py (`n_last_blocks`, `avgpool_patchtokens`). Of a network without CLS the mean
    over the patches stands for it, in each block; a convolutional net's blocks are its stages.
    """

    blocks: int
    mean_patches: bool = False

    @property
    def name(self) -> str:
        return f"CLS of {self.blocks} blocks" + (" and mean patch" if self.mean_patches else "")

    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> features [B, sum of D_i]."""
        layers = backbone.layers(images, self.blocks)
        parts = [_summary(tokens) for tokens in layers]
        last = layers[-1]
        if self.mean_patches and last.prefix.shape[1]:
            parts.append(last.patches.mean(1))
        return torch.cat(parts, 1)


def _summary(tokens: Tokens) -> Tensor:
    return tokens.prefix[:, 0] if tokens.prefix.shape[1] else tokens.patches.mean(1)  # [B, D_i]
