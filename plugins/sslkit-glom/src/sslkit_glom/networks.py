"""What is read of a network for the islands: its levels, and its attention."""

# B images, N = h x w places, H x W pixels, h heads

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit import Backbone, Tokens
from sslkit.eval.attention import mass_mask
from sslkit_glom.agreement import agreement_anywhere, agreement_beside
from sslkit_glom.islands import Labels, find_islands

ALL = 10_000
"""More levels than any network has."""
CHUNK = 32
"""Images of one forward pass."""


@dataclass(frozen=True)
class Level:
    """One level's states of all images."""

    states: Tensor
    """[B, N, D] on the CPU."""
    grid: tuple[int, int]

    @property
    def beside(self) -> Tensor:
        """Agreement of neighbours, [B]."""
        return agreement_beside(self.states, self.grid)

    @property
    def anywhere(self) -> Tensor:
        """Agreement of any two places, [B]."""
        return agreement_anywhere(self.states)

    def threshold(self, between: float) -> float:
        """The cosine that is so far from agreement anywhere (0) to that of neighbours (1), over all images.

        No label has a part in it.
        """
        anywhere, beside = self.anywhere.nanmean().item(), self.beside.nanmean().item()
        return anywhere + between * (beside - anywhere)

    def islands(self, between: float) -> list[Labels]:
        """Of each image, [N]."""
        threshold = self.threshold(between)
        return [find_islands(states, self.grid, threshold) for states in self.states]


@torch.no_grad()
def read_levels(backbone: Backbone, images: Tensor, device: torch.device) -> list[Level]:
    """All levels of `glom`, all blocks of a ViT, all stages of a convolutional net, the lowest first.

    `images` [B, C, H, W] normalised, on the CPU; the backbone is in eval mode.
    """
    parts: list[Sequence[Tokens]] = [backbone.layers(x.to(device), ALL) for x in images.split(CHUNK)]
    return [
        Level(torch.cat([tokens.patches.float().cpu() for tokens in level]), level[0].grid)
        for level in zip(*parts, strict=True)
    ]


@dataclass(frozen=True)
class AttentionMasks:
    """Masks from the attention of CLS, as pixels."""

    heads: npt.NDArray[np.bool_]
    """[B, h, H, W]."""
    mean: npt.NDArray[np.bool_]
    """[B, H, W], of the mean of the heads' attention."""

    @classmethod
    @torch.no_grad()
    def read(cls, backbone: Backbone, images: Tensor, share: float, device: torch.device) -> Self | None:
        """The fewest patches that hold a share of the attention; None of a network without CLS."""
        first = backbone.cls_attention(images[:1].to(device))
        if first is None:
            return None
        grid = backbone.tokens(images[:1].to(device)).grid
        parts = [backbone.cls_attention(x.to(device)) for x in images.split(CHUNK)]
        attention = torch.cat([part.float().cpu() for part in parts if part is not None])  # [B, h, N]
        every = torch.cat([attention, attention.mean(1, keepdim=True)], 1)  # [B, h + 1, N]
        masks = mass_mask(every, share).unflatten(-1, grid)
        pixels = F.interpolate(masks.float(), images.shape[-2:]).numpy() > 0  # nearest
        return cls(pixels[:, :-1], pixels[:, -1])


def as_pixels(places: Labels, grid: tuple[int, int], size: tuple[int, int]) -> Labels:
    """Numbers of places [N] as numbers of pixels [H, W], each that of the place it lies in."""
    small = torch.from_numpy(places).view(1, 1, *grid).double()
    return F.interpolate(small, size)[0, 0].long().numpy()
