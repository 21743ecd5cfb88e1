"""A backbone of one's own that conforms, and for each check one that does not."""

# B images, N patches, D features

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone, Tokens
from sslkit.errors import RecipeError

PATCH, WIDTH = 8, 12


class Network(nn.Module):
    """Patches, a step in which all of them are mixed, and CLS as their mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, WIDTH, PATCH, PATCH)
        self.mix = nn.Linear(2 * WIDTH, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)

    def embedded(self, x: Tensor) -> Tensor:
        return self.embed(x).flatten(2).mT  # type: ignore[no-any-return]  # [B, N, D]

    def mixed(self, patches: Tensor) -> Tensor:
        everywhere = patches.mean(1, keepdim=True).expand_as(patches)
        y = self.mix(torch.cat([patches, everywhere], 2))  # [B, N, D]
        return self.norm(y.flatten(0, 1)).view_as(y)  # type: ignore[no-any-return]


class Plain(Backbone):
    """The mistakes below inherit from it."""

    embed_dim = WIDTH
    patch_size: int | None = PATCH

    def __init__(self, channels: int, image_size: int, drop_path_rate: float) -> None:
        super().__init__()
        if image_size % PATCH:
            raise RecipeError(f"{image_size} pixels do not divide into patches of {PATCH}")
        self._network = Network(channels)

    @property
    def network(self) -> nn.Module:
        return self._network

    @property
    def export_metadata(self) -> Mapping[str, Any]:
        return {"name": "plain", "args": {}}

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x).prefix[:, 0]

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        patches = self._network.embedded(x)
        if mask is not None:
            patches = torch.where(mask[..., None], torch.zeros_like(patches), patches)
        patches = self._network.mixed(patches)
        return Tokens(patches.mean(1, keepdim=True), patches, (x.shape[2] // PATCH, x.shape[3] // PATCH))

    def layers(self, x: Tensor, n: int) -> list[Tokens]:
        return [self.tokens(x)]

    def cls_attention(self, x: Tensor) -> Tensor | None:
        count = self.tokens(x).patches.shape[1]
        return torch.full((len(x), 2, count), 1 / count)


# --- building, features ------------------------------------------------------------------------------------


class WantsMore(Plain):
    def __init__(self, channels: int, image_size: int, drop_path_rate: float, depth: int) -> None:
        super().__init__(channels, image_size, drop_path_rate)


class HidesItsNetwork(Plain):
    @property
    def network(self) -> nn.Module:
        return nn.Linear(1, 1)


class GivesAMap(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x).patches


class SaysAnotherWidth(Plain):
    embed_dim = WIDTH + 1


# --- tokens ------------------------------------------------------------------------------------------------


class CountsCLSAsPatch(Plain):
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        t = super().tokens(x, mask)
        return Tokens(t.prefix, torch.cat([t.prefix, t.patches], 1), t.grid)


class TransposesItsGrid(Plain):
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        t = super().tokens(x, mask)
        return Tokens(t.prefix, t.patches, (t.grid[1], t.grid[0]))


class PoolsOtherwise(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x).patches.amax(1)


class GivesTheFirstLayerLast(Plain):
    def layers(self, x: Tensor, n: int) -> list[Tokens]:
        t = self.tokens(x)
        return [Tokens(t.prefix, self._network.embedded(x), t.grid)]


class AttendsTooMuch(Plain):
    def cls_attention(self, x: Tensor) -> Tensor | None:
        return torch.ones(len(x), 2, self.tokens(x).patches.shape[1])


class AttendsToItself(Plain):
    def cls_attention(self, x: Tensor) -> Tensor | None:
        count = self.tokens(x).patches.shape[1] + 1
        return torch.full((len(x), 2, count), 1 / count)


class MasksTooLate(Plain):
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        t = super().tokens(x)
        if mask is None:
            return t
        return Tokens(t.prefix, t.patches * ~mask[..., None] + t.prefix * mask[..., None], t.grid)


class MasksWithoutPatches(Plain):
    patch_size = None


class TakesOneSize(Plain):
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        if tuple(x.shape[-2:]) != (32, 32):
            raise RecipeError("it takes images of 32 x 32 pixels alone")
        return super().tokens(x, mask)


class ShrinksLargeImages(Plain):
    """So that the grid is not that of the image."""

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        return super().tokens(nn.functional.interpolate(x, size=(32, 32)), mask)


class KnowsThreeChannels(Plain):
    def __init__(self, channels: int, image_size: int, drop_path_rate: float) -> None:
        super().__init__(3, image_size, drop_path_rate)


class ComparesWithTheBatch(Plain):
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        return super().tokens(x - x.mean(0), mask)


# --- state -------------------------------------------------------------------------------------------------


class CountsPasses(Plain):
    passes: Tensor

    def __init__(self, channels: int, image_size: int, drop_path_rate: float) -> None:
        super().__init__(channels, image_size, drop_path_rate)
        self.register_buffer("passes", torch.zeros(()))

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        self.passes += 1
        return super().tokens(x, mask)


class AlwaysDrops(Plain):
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        return super().tokens(nn.functional.dropout(x, 0.5), mask)


class KeepsATensorAside(Plain):
    def __init__(self, channels: int, image_size: int, drop_path_rate: float) -> None:
        super().__init__(channels, image_size, drop_path_rate)
        self.shift = torch.rand(channels, 1, 1)

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        return super().tokens(x + self.shift.to(x.device), mask)


class KeepsAHeadOutside(Plain):
    def __init__(self, channels: int, image_size: int, drop_path_rate: float) -> None:
        super().__init__(channels, image_size, drop_path_rate)
        self.outside = nn.Linear(WIDTH, WIDTH)

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        t = super().tokens(x, mask)
        return Tokens(self.outside(t.prefix), self.outside(t.patches), t.grid)


class ExportsItself(Plain):
    @property
    def export_metadata(self) -> Mapping[str, Any]:
        return {"name": "plain", "args": {"network": self._network}}


class ClaimsToBeTimms(Plain):
    @property
    def export_metadata(self) -> Mapping[str, Any]:
        return {"name": "resnet18", "args": {}}


class HasAnIdlePart(Plain):
    def __init__(self, channels: int, image_size: int, drop_path_rate: float) -> None:
        super().__init__(channels, image_size, drop_path_rate)
        self.decoder = nn.Linear(WIDTH, WIDTH)


# --- where it runs -----------------------------------------------------------------------------------------


class CancelsInBF16(Plain):
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        t = super().tokens(x, mask)
        ones = nn.functional.linear(t.patches * 0, torch.eye(WIDTH, device=x.device)) + 1.0001
        return Tokens(t.prefix / (ones[:, :1] - 1), t.patches, t.grid)


class ReadsNumbers(Plain):
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        return super().tokens(x / float(x.abs().max()), mask)


class MakesTensorsOnTheCPU(Plain):
    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        return super().tokens(x + torch.zeros(len(x), 1, 1, 1), mask)
