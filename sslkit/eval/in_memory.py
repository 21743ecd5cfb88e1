"""Some images of a set, held in memory: changed as pixels, and brought through a network."""

# N images, C channels, S side, D features

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import ImageSet
from sslkit.errors import DataError

CHUNK = 64
"""Images of one forward pass."""
ROUNDING = 1e-12
"""Cosines in float64 that differ by less are equal."""


@dataclass(frozen=True)
class Chosen:
    """Images of a set, on the CPU."""

    pixels: Tensor
    """[N, C, S, S] in [0, 1]."""
    places: Tensor
    """[N] int64, where they stand in the set."""
    labels: Tensor | None
    """[N] int64, below 0 where a label is not known; None without labels."""
    instances: Tensor | None
    """[N] int64, the same."""
    masks: Tensor | None
    """[N, S, S] bool; None without masks."""


def spread(total: int, most: int) -> list[int]:
    """At most so many places of a set, evenly over it."""
    count = min(most, total)
    return [i * total // count for i in range(count)]


def choose(image_set: ImageSet, most: int, *, least: int, what: str) -> Chosen:
    """At most so many images of a set, spread evenly over it.

    Args:
        most: images that are kept in memory.
        least: images that there must be.
        what: the evaluator, for the error.

    Raises:
        DataError: the set has too few images.
    """
    total = len(image_set)
    if total < least:
        raise DataError(f"{what} needs {least} held-out images or more, but {image_set.name} has {total}")
    places = spread(total, most)
    images: list[Tensor] = []
    labels: list[Tensor] = []
    instances: list[Tensor] = []
    masks: list[Tensor] = []
    for batch in image_set.part(places, f"{len(places)} of {total}").batches():
        images.append(batch.images)
        for kept, known in ((labels, batch.labels), (instances, batch.instances), (masks, batch.masks)):
            if known is not None:
                kept.append(known)
    return Chosen(
        (torch.cat(images) * image_set.std + image_set.mean).clamp_(0, 1),
        torch.tensor(places),
        *(torch.cat(kept) if kept else None for kept in (labels, instances, masks)),
    )


@torch.no_grad()
def embed(backbone: Backbone, pixels: Tensor, image_set: ImageSet, device: torch.device) -> Tensor:
    """Images [N, C, S, S] in [0, 1] -> the features of a backbone in eval mode, normalised to length 1.

    Normalised on their way in as those of `image_set`; float64 [N, D] on the CPU, since the cosines of an
    untrained network differ in their last digits only.
    """
    mean, std = image_set.mean.to(device), image_set.std.to(device)
    features = [backbone((some.to(device) - mean) / std).float().cpu() for some in pixels.split(CHUNK)]
    return unit(torch.cat(features))


def unit(features: Tensor) -> Tensor:
    """Features of any shape [N, ...] -> float64 [N, D] of length 1."""
    return F.normalize(features.flatten(1).double(), dim=1)
