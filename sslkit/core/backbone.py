"""What every backbone can be asked, whatever the network inside."""

# B images, C channels, P prefix tokens (CLS, registers), N patches, D features

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Tokens:
    """The outcome of a network at one depth."""

    prefix: Tensor
    """[B, P, D]: CLS first, then registers; P is 0 for a convolutional net."""
    patches: Tensor
    """[B, N, D], row by row."""
    grid: tuple[int, int]
    """(rows, columns), with rows x columns = N."""


class Backbone(nn.Module, ABC):
    """Images to features. Wraps a timm network or a plugin's own."""

    embed_dim: int
    """D, the width of the features."""
    patch_size: int | None
    """Side of a patch in pixels; None for a convolutional net."""
    mask_token: nn.Parameter | None
    """[D] what `tokens` puts in the place of a masked patch's embedding; None stands for zeros, the value
    that iBOT and DINOv2 start from. A method that learns it assigns a parameter. `network` lacks it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("mask_token", None)

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network whose `state_dict` is exported."""

    @property
    @abstractmethod
    def export_metadata(self) -> Mapping[str, Any]:
        """How to build `network` again: {"name": a timm name, "args": its arguments}, JSON-able."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> features [B, D] (CLS of a ViT, the pooled map of a convolutional net)."""

    @abstractmethod
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        """Images [B, C, H, W] -> the tokens after the last norm.

        `mask` bool [B, N]: patches that the mask token replaces; `ValueError` from a network without patches.
        """

    def features_and_tokens(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tokens]:
        """What `forward` and `tokens` give of images [B, C, H, W], [B, D] and tokens, in one pass.

        `mask` as in `tokens`, for both. To be overridden where `forward` gives neither CLS nor, without one,
        the mean of the patches.
        """
        tokens = self.tokens(x, mask)
        has_cls = tokens.prefix.shape[1] > 0
        return tokens.prefix[:, 0] if has_cls else tokens.patches.mean(1), tokens

    @abstractmethod
    def layers(self, x: Tensor, n: int) -> list[Tokens]:
        """The tokens of the last n blocks (of all, if there are fewer), normed, the last block last."""

    @abstractmethod
    def cls_attention(self, x: Tensor) -> Tensor | None:
        """Attention of CLS to the patches in the last block, [B, heads, N]; None without CLS or attention."""
