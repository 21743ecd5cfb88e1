"""What is measured of one network, image by image."""

# B images, C channels, L levels, H x W pixels

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from sslkit import Backbone
from sslkit.core.evaluator import ImageSet
from sslkit_glom.floors import kmeans_segments
from sslkit_glom.islands import Labels
from sslkit_glom.networks import AttentionMasks, as_pixels, read_levels
from sslkit_glom.scores import Objects, Score, ari, best_mask_jaccard, jaccard, score_segments

Numbers = dict[str, Tensor]
"""One number an image, float64 [B], NaN where an image has none; by name."""


@dataclass(frozen=True)
class Images:
    """What is looked at."""

    seen: Tensor
    """[B, C, H, W] normalised."""
    shown: Tensor
    """[B, C, H, W] in [0, 1]."""
    objects: tuple[Objects, ...] | None
    """[H, W] each; None without masks."""

    @classmethod
    def read(cls, image_set: ImageSet) -> Self:
        """All images of a set."""
        seen, objects = [], list[Tensor | None]()
        for batch in image_set.batches():
            seen.append(batch.images)
            objects.append(batch.masks if batch.objects is None else batch.objects)
        known = [part.to(torch.uint8) for part in objects if part is not None]
        images = torch.cat(seen)
        shown = (images * image_set.std + image_set.mean).clamp(0, 1)
        return cls(images, shown, tuple(torch.cat(known).numpy()) if len(known) == len(objects) else None)

    @property
    def size(self) -> tuple[int, int]:
        """H, W."""
        return self.seen.shape[-2], self.seen.shape[-1]


@dataclass(frozen=True)
class Measured:
    """One network's numbers, and what they are of."""

    numbers: Numbers
    islands: tuple[tuple[Labels, ...], ...]
    """By level, the lowest first, and by image: [H, W]."""
    attention: AttentionMasks | None
    grid: tuple[int, int]
    """Of the lowest level's places."""


def measure(
    backbone: Backbone, images: Images, *, between: float, share: float, device: torch.device
) -> Measured:
    """Agreement, islands and attention masks of a network in eval mode; the keys as `Islands` has them."""
    levels = read_levels(backbone, images.seen, device)
    islands = [[as_pixels(x, level.grid, images.size) for x in level.islands(between)] for level in levels]
    attention = AttentionMasks.read(backbone, images.seen, share, device)
    numbers: Numbers = {}
    for number, (level, found) in enumerate(zip(levels, islands, strict=True), 1):
        numbers[f"agreement_beside_{number}"] = level.beside.double()
        numbers[f"agreement_anywhere_{number}"] = level.anywhere.double()
        numbers[f"islands_{number}"] = torch.tensor([x.max() + 1.0 for x in found]).double()
        numbers |= {f"{key}_{number}": values for key, values in scores(found, images).items()}
    if attention is not None:
        numbers |= {f"attention_{key}": values for key, values in _of_attention(attention, images).items()}
    return Measured(numbers, tuple(tuple(x) for x in islands), attention, levels[0].grid)


def scores(segments: Iterable[Labels], images: Images) -> Numbers:
    """Of segments [H, W] of each image against its objects; none without masks."""
    if images.objects is None:
        return {}
    found = [score_segments(*pair) for pair in zip(segments, images.objects, strict=True)]
    return {f.name: _numbers([getattr(score, f.name) for score in found]) for f in fields(Score)}


def _of_attention(masks: AttentionMasks, images: Images) -> Numbers:
    if images.objects is None:
        return {}
    mean = list(zip(masks.mean, images.objects, strict=True))
    return {
        "ari": _numbers([ari(mask.astype("int64"), objects) for mask, objects in mean]),
        "jaccard": _numbers(
            [best_mask_jaccard(heads, x) for heads, x in zip(masks.heads, images.objects, strict=True)]
        ),
        "figure_jaccard": _numbers([jaccard(mask, objects) for mask, objects in mean]),
    }


def floors(images: Images, grid: tuple[int, int], clusters: Sequence[int]) -> Numbers:
    """k-means over colour and place, on places as large as a network's; and the image as one segment.

    No floors without masks: there is nothing that segments are held against.
    """
    if images.objects is None:
        return {}
    numbers: Numbers = {}
    for k in clusters:
        found = [as_pixels(kmeans_segments(x, grid, k), grid, images.size) for x in images.shown]
        numbers |= {f"kmeans_{k}_{key}": values for key, values in scores(found, images).items()}
    whole = [torch.zeros(images.size, dtype=torch.int64).numpy()] * len(images.seen)
    return numbers | {"one_jaccard": scores(whole, images)["jaccard"]}


def _numbers(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
