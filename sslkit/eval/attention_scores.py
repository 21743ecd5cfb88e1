"""How well masks from attention fit the objects, image by image."""

# N images, B of a batch, S shares of the mass, h heads, n patches, H x W pixels

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.eval.attention import enlarged, mass_mask, pixels_in
from sslkit.eval.attention_boxes import finds_one, largest_box, true_boxes
from sslkit.eval.attention_views import Boxes, Views


@dataclass(frozen=True)
class Scores:
    """One network's masks against the truth."""

    jaccard: Tensor
    """Of the masks of each head, and last of the mean of the heads' attention, float64 [N, S, h + 1]."""
    on_object: Tensor
    """Share of the attention that lies on objects, mean of the heads, float64 [N]."""
    finds: Tensor
    """Whether the box of the mean's mask (first share) fits an object's, bool [N]."""

    @classmethod
    def joined(cls, parts: "Sequence[Self]") -> Self:
        columns = zip(*((p.jaccard, p.on_object, p.finds) for p in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    @property
    def best(self) -> Tensor:
        """Of each image's best head, [N, S]."""
        return self.jaccard[..., :-1].amax(-1)

    @property
    def mean(self) -> Tensor:
        """Of the mean of the heads' attention, [N, S]."""
        return self.jaccard[..., -1]


@dataclass(frozen=True)
class Floors:
    """What needs no network."""

    whole: Tensor
    """Jaccard of the whole image, which is the share of it that objects cover, float64 [N]."""
    whole_finds: Tensor
    """Whether the whole image's box fits an object's, bool [N]."""
    ellipse: Tensor
    """Jaccard of a centred ellipse, float64 [N]."""
    ellipse_on_object: Tensor
    """Share of the ellipse that lies on objects, float64 [N]."""
    ellipse_finds: Tensor
    """Whether the ellipse's box fits an object's, bool [N]."""

    @classmethod
    def joined(cls, parts: "Sequence[Self]") -> Self:
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))


@dataclass(frozen=True)
class Found:
    """All that was measured in one pass over the images."""

    places: list[int]
    """Of the N images with an object, in their set."""
    networks: dict[str, list[Scores]]
    """By kind, each network of it."""
    floors: Floors


@torch.no_grad()
def score(
    networks: Mapping[str, Sequence[Backbone]],
    views: Iterable[Views],
    *,
    shares: Sequence[float],
    ellipse: float,
    device: torch.device,
) -> Found:
    """Every network's masks, and the floors, on the same images; at least one of `views` is needed.

    Args:
        networks: by kind, in eval mode, each with attention of CLS.
        shares: of the attention's mass that the masks hold, S of them.
        ellipse: share of the image's area.
    """
    places: list[int] = []
    scores: dict[str, list[list[Scores]]] = {kind: [[] for _ in some] for kind, some in networks.items()}
    floors: list[Floors] = []
    for view in views:
        places += view.places
        truth = Truth(view)
        for kind, some in networks.items():
            for parts, backbone in zip(scores[kind], some, strict=True):
                attention = attention_grid(backbone, view, device)
                assert attention is not None
                parts.append(_scores(attention, truth, shares))
        floors.append(_floors(truth, ellipse))
    joined = {kind: [Scores.joined(parts) for parts in some] for kind, some in scores.items()}
    return Found(places, joined, Floors.joined(floors))


def attention_grid(backbone: Backbone, view: Views, device: torch.device) -> Tensor | None:
    """Attention of CLS in the last block, [B, h, rows, columns] on the CPU; None without it."""
    images = view.seen(backbone.patch_size).to(device)
    attention = backbone.cls_attention(images)  # [B, h, n]
    if attention is None:
        return None
    rows, columns = _grid(backbone, images, attention.shape[-1])
    return attention.float().cpu().view(*attention.shape[:2], rows, columns)


def _grid(backbone: Backbone, images: Tensor, patches: int) -> tuple[int, int]:
    if side := backbone.patch_size:
        rows, columns = images.shape[-2] // side, images.shape[-1] // side
        if rows * columns == patches:
            return rows, columns
    return backbone.tokens(images[:1]).grid


class Truth:
    """What masks are held against, counted once for all networks."""

    def __init__(self, view: Views) -> None:
        self.truth, self.counted = view.truth, view.counted  # [B, H, W]
        self.view = view

    @cached_property
    def boxes(self) -> list[Boxes]:
        """Of the objects in each image."""
        told_apart = self.view.told_apart
        return [true_boxes(objects.numpy(), told_apart=told_apart) for objects in self.view.objects]

    def jaccard(self, masks: Tensor) -> Tensor:
        """Of masks over patches, bool [B, ..., rows, columns], counted in pixels: float64 [B, ...].

        Every image has an object, so there is always something to divide by.
        """
        shape = (len(masks), *[1] * (masks.ndim - 3), *masks.shape[-2:])
        grid = (masks.shape[-2], masks.shape[-1])
        on, of = (pixels_in(x, grid).view(shape) for x in (self.truth, self.counted))
        both, mask = ((masks * x).sum((-2, -1)) for x in (on, of))  # [B, ...]
        return both / (mask + on.sum((-2, -1)) - both)

    def share_on_object(self, attention: Tensor) -> Tensor:
        """Share of the attention [B, h, rows, columns], spread evenly over each patch, on objects: [B].

        Mean of the heads; 0 for a head that looks nowhere.
        """
        grid = (attention.shape[-2], attention.shape[-1])
        size = pixels_in(torch.ones_like(self.truth[:1]), grid).clamp(min=1)  # [1, rows, columns]
        on, of = ((pixels_in(x, grid) / size)[:, None] for x in (self.truth, self.counted))
        mass, whole = ((attention.double() * x).sum((-2, -1)) for x in (on, of))  # [B, h]
        return torch.where(whole > 0, mass / whole, 0.0).mean(1)

    def finds(self, masks: Tensor) -> Tensor:
        """Whether the boxes of masks over patches, bool [B, rows, columns], fit an object's: bool [B]."""
        boxes = map(largest_box, enlarged(masks, self.view.size).numpy())
        return torch.tensor([finds_one(box, true) for box, true in zip(boxes, self.boxes, strict=True)])


def _scores(attention: Tensor, truth: Truth, shares: Sequence[float]) -> Scores:
    """Attention [B, h, rows, columns]."""
    masks = mass_masks(attention, shares)  # [B, S, h + 1, rows, columns]
    return Scores(truth.jaccard(masks), truth.share_on_object(attention), truth.finds(masks[:, 0, -1]))


def mass_masks(attention: Tensor, shares: Sequence[float]) -> Tensor:
    """Masks of each head and, last, of their mean.

    Takes attention [B, h, rows, columns], gives bool [B, S, h + 1, rows, columns].
    """
    all_of_it = torch.cat([attention, attention.mean(1, keepdim=True)], 1)  # [B, h + 1, rows, columns]
    masks = [mass_mask(all_of_it.flatten(2), share) for share in shares]  # [B, h + 1, n] each
    return torch.stack(masks, 1).view(*all_of_it.shape[:1], len(shares), *all_of_it.shape[1:])


def ellipse_mask(size: tuple[int, int], area: float) -> Tensor:
    """A centred ellipse of the image's proportions that has so much of its area: bool [H, W]."""
    y, x = ((torch.arange(length, dtype=torch.float64) + 0.5) / length * 2 - 1 for length in size)
    return y[:, None] ** 2 + x**2 <= 4 * area / math.pi


def _floors(truth: Truth, area: float) -> Floors:
    whole = torch.ones_like(truth.truth)  # [B, H, W]
    ellipse = ellipse_mask(truth.view.size, area).expand_as(whole)
    on, of = ((x & ellipse).sum((-2, -1)).double() for x in (truth.truth, truth.counted))  # [B]
    objects, counted = (x.sum((-2, -1)).double() for x in (truth.truth, truth.counted))
    return Floors(
        objects / counted,
        truth.finds(whole),
        on / (of + objects - on),
        on / of.clamp(min=1),
        truth.finds(ellipse),
    )
