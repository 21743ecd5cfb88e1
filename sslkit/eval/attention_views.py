"""Images with the objects in them, at their own proportions or cropped, for measuring where networks look."""

# B images of one size, C channels, H x W pixels, h x w what a network sees, M objects

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby, islice
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.dataset import VOID, Sample
from sslkit.core.evaluator import EvalBatch

MOST_PIXELS = 2**18
"""Of the images that are seen at a time, at the size that truth is known at: 64 of 64 pixels, one photo."""
GRID = 32
"""Sides for a network without patches of its own are multiples of so many pixels."""
Boxes = npt.NDArray[np.int64]
"""Top, left, bottom, right in pixels, the ends not included, [M, 4]."""


class Look(Protocol):
    """How images are normalised; every `ImageSet` says it."""

    @property
    def mean(self) -> Tensor: ...

    @property
    def std(self) -> Tensor: ...


@dataclass(frozen=True)
class Views:
    """Images of one size, and what there is to be seen in them."""

    places: list[int]
    """Of the images in their set, B of them."""
    images: Tensor
    """[B, C, H, W] in [0, 1]."""
    objects: Tensor
    """[B, H, W] uint8: 0 background, n the n-th object, 255 not counted; 1 for all where objects are not told
    apart."""
    told_apart: bool
    """Whether objects have numbers of their own."""
    seen: Callable[[int | None], Tensor]
    """By the side of a network's patches (None: it has none): the images normalised, [B, C, h, w]."""

    @property
    def truth(self) -> Tensor:
        """Where an object is, bool [B, H, W]."""
        return (self.objects > 0) & (self.objects < VOID)

    @property
    def size(self) -> tuple[int, int]:
        """H, W."""
        return self.objects.shape[-2], self.objects.shape[-1]

    @property
    def counted(self) -> Tensor:
        """All but void pixels, bool [B, H, W]."""
        return self.objects != VOID


def whole_views(samples: Iterable[tuple[int, Sample]], look: Look, short: int) -> Iterator[Views]:
    """Images at their own proportions, short side about `short` pixels, truth at the images' own size.

    Images without a pixel of an object are left out. Neighbours of one size come together.

    Args:
        samples: with their places, as `ImageSet.samples` gives them.
    """
    known = ((place, sample) for place, sample in samples if _has_object(sample))
    for (height, width, *_), same in groupby(known, key=_shape):
        while part := list(islice(same, max(1, MOST_PIXELS // (height * width)))):
            yield _whole(part, look, short)


def crop_views(batches: Iterable[EvalBatch], look: Look) -> Iterator[Views]:
    """The centre crops that other evaluators see, truth at their size; those without an object left out."""
    start = 0
    for batch in batches:
        places = range(start, start + len(batch.images))
        start = places.stop
        truth = batch.masks if batch.objects is None else batch.objects
        if truth is None:
            continue
        objects = truth.to(torch.uint8)
        rows = ((objects > 0) & (objects < VOID)).flatten(1).any(1).nonzero()[:, 0]
        if len(rows):
            normalised = batch.images[rows]
            yield Views(
                [places[row] for row in rows.tolist()],
                normalised * look.std + look.mean,
                objects[rows],
                batch.objects is not None,
                partial(_as_it_is, normalised),
            )


def _shape(pair: tuple[int, Sample]) -> tuple[int, int, int, bool]:
    """Samples of one shape, and of one kind of truth, can be stacked."""
    height, width, channels = pair[1].image.shape
    return height, width, channels, pair[1].objects is None


def _as_it_is(normalised: Tensor, patch: int | None) -> Tensor:
    return normalised


def _has_object(sample: Sample) -> bool:
    objects = sample.mask if sample.objects is None else sample.objects
    return objects is not None and bool(((objects > 0) & (objects < VOID)).any())


def _whole(part: list[tuple[int, Sample]], look: Look, short: int) -> Views:
    samples = [sample for _, sample in part]
    pixels = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)  # [B, C, H, W]
    images = pixels.float() / 255
    told_apart = all(s.objects is not None for s in samples)
    truths = [s.mask if s.objects is None else s.objects for s in samples]
    objects = torch.from_numpy(np.stack([np.asarray(truth, np.uint8) for truth in truths]))  # [B, H, W]

    @lru_cache(maxsize=1)
    def seen(patch: int | None) -> Tensor:
        size = whole_size(images.shape[-2], images.shape[-1], short, patch or GRID)
        return (_resized(images, size) - look.mean) / look.std

    return Views([place for place, _ in part], images, objects, told_apart, seen)


def whole_size(height: int, width: int, short: int, patch: int) -> tuple[int, int]:
    """Height and width for a network: short side `short`, both to the nearest multiple of its patches."""
    scale = short / min(height, width) / patch
    return max(1, round(height * scale)) * patch, max(1, round(width * scale)) * patch


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
