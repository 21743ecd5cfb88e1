"""Rounds of the patch game: the same patches for every network that plays."""

# N images, R rounds, M games in all, m of a chunk, C channels, D features
# S side of an image, s side of a patch in it, p side of the network's input

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.evaluator import Estimate, Subject
from sslkit.core.patches import ROUNDING, draw_pairs, standardized
from sslkit.core.randomness import seed_of
from sslkit.eval.bootstrap import mean_estimate

CHUNK = 256
"""Games played at a time."""
FLAT = 0.02
"""About one grey level of a normalised image: what varies less is not blown up to a deviation of 1."""

Look = Literal["colour", "grey", "standardized", "scrambled"]


@dataclass(frozen=True)
class Setting:
    """One way of playing."""

    scale: float
    """Side of a patch as a share of the image's."""
    gap: float
    """Least distance between anchor and A in sides of a patch."""
    look: Look = "colour"
    shuffled: bool = False
    """Whether A is taken from a third image, so that there is nothing to find."""


@dataclass(frozen=True)
class Score:
    """How a network did."""

    right: Tensor
    """[R, N] float64: 1 where it chose A, 0 where it chose B, one half for a tie."""

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def standard_error(self) -> float:
        """Of the accuracy, by the spread between images: games with one anchor image are not independent."""
        by_image = self.right.mean(0)  # [N]
        return float(by_image.std() / math.sqrt(len(by_image)))

    def estimate(self) -> Estimate:
        """The accuracy with its 95 % interval over images."""
        return replace(mean_estimate(self.right.mean(0)), value=self.accuracy)


class Rounds:
    """Games with given images; all draws come from seeds of their own.

    In each round the images stand in a ring of random order: B is from the next one, and the third image of
    the control is the one after that. All settings have the same rings and the same draws of places.
    """

    def __init__(self, images: Tensor, rounds: int, size: int) -> None:
        """Take images [N, C, S, S], normalised, N >= 3, the number of rounds, and p."""
        self.images, self.rounds, self.size = images, rounds, size
        generator = torch.Generator().manual_seed(seed_of("patch game", "images"))
        n = len(images)
        rings = [torch.randperm(n, generator=generator) for _ in range(rounds)]
        places = [ring.argsort() for ring in rings]  # where each image stands
        following = [
            [ring[(at + step) % n] for ring, at in zip(rings, places, strict=True)] for step in (1, 2)
        ]
        self.anchor = torch.arange(n).repeat(rounds)  # [M]
        self.other, self.third = (torch.cat(each) for each in following)  # [M]

    def play(self, subject: Subject, setting: Setting) -> Score:
        """Let a network, in eval mode, choose in all games."""
        right = [_right(*_similarities(subject, games)) for games in self.games(setting)]
        return Score(torch.cat(right).view(self.rounds, -1))

    def games(self, setting: Setting) -> Iterator[Tensor]:
        """Anchors, A and B of some games after the other, as the network sees them, [3, m, C, p, p]."""
        side = patch_side(setting, self.images.shape[-1])
        own = self.third if setting.shuffled else self.anchor
        corners = self.corners(setting)  # [2, M, 2]
        generator = torch.Generator().manual_seed(seed_of("patch game", "pixels"))
        for some in torch.arange(len(own)).split(CHUNK):
            at = [corners[0, some], corners[1, some], corners[1, some]]
            sources = [self.anchor[some], own[some], self.other[some]]
            cut = [self._cut(*source, side) for source in zip(sources, at, strict=True)]  # [m, C, s, s]
            yield self._seen(torch.cat(cut), setting.look, generator).unflatten(0, (3, -1))

    def corners(self, setting: Setting) -> Tensor:
        """Top and left of the anchors and of A (and B), in whole pixels, int64 [2, M, 2]."""
        length = self.images.shape[-1]
        side = patch_side(setting, length)
        gap = math.ceil(setting.gap * side - ROUNDING)  # whole pixels too, so that rounding keeps it
        pairs = draw_pairs(
            len(self.anchor),
            scale=(side / length, side / length),
            gap=gap / side,
            seed=seed_of("patch game", "places"),
        )
        return (pairs[..., :2] * length + 0.5).floor().long()

    def _cut(self, source: Tensor, corner: Tensor, side: int) -> Tensor:
        """Patches [m, C, s, s] of images source [m] at corner [m, 2]."""
        source, corner = source.to(self.images.device), corner.to(self.images.device)
        rows, columns = (corner[:, axis, None] + torch.arange(side).to(corner) for axis in (0, 1))  # [m, s]
        return self.images[source[:, None, None], :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)

    def _seen(self, patches: Tensor, look: Look, generator: torch.Generator) -> Tensor:
        """Resized, with the colours that are left, [m, C, p, p]."""
        x = F.interpolate(patches, (self.size, self.size), mode="bicubic", antialias=True)
        match look:
            case "grey":
                return x.mean(1, keepdim=True).expand_as(x)
            case "standardized":
                return standardized(x, flat=FLAT)
            case "scrambled":
                order = torch.rand(len(x), self.size**2, generator=generator).argsort(1).to(x.device)
                return x.flatten(2).gather(2, order[:, None].expand(-1, x.shape[1], -1)).view_as(x)
            case "colour":
                return x


def patch_side(setting: Setting, length: int) -> int:
    """s in pixels, for images of side `length`; down, so that two patches and the gap always fit."""
    return max(1, math.floor(setting.scale * length + ROUNDING))


def _similarities(subject: Subject, games: Tensor) -> tuple[Tensor, Tensor]:
    """Of the anchors to A and to B, [m] each; games [3, m, C, p, p]."""
    anchor, own, other = subject.backbone(games.flatten(0, 1)).float().chunk(3)  # [m, D] each
    similarity = getattr(subject.method, "similarity", _cosine)
    return similarity(anchor, own).cpu(), similarity(anchor, other).cpu()


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    """In float64: an untrained network's cosines differ in their last digits only."""
    return F.cosine_similarity(x.cpu().double(), y.cpu().double(), dim=1)


def _right(own: Tensor, other: Tensor) -> Tensor:
    return ((own > other).double() + 0.5 * (own == other).double()).flatten()  # [m]
