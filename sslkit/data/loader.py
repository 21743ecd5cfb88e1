"""From a data set to batches: which images a step gets, and how they come from the workers."""

# B images, C channels, S side of the canvas, n images of the data set

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sslkit.core.dataset import Dataset, Sample, UInt8Array
from sslkit.core.evaluator import EvalBatch
from sslkit.core.randomness import seed_of
from sslkit.data.fit import centre_cropped, centre_cropped_mask, centre_cropped_objects, squashed
from sslkit.data.reading import Read, Reading, Skipped, Tally, read_batches
from sslkit.errors import DataError, RecipeError
from sslkit.recipe.schema import DataSection

_LOOKED_AT = 32


@dataclass(frozen=True)
class Batch:
    """One process's images of one step."""

    canvas: Tensor
    """[B, C, S, S] uint8, each whole image squashed to a square."""
    size: Tensor
    """[B, 2] int64, (height, width) of the images themselves."""
    labels: Tensor | None
    """[B] int64; None without classes."""
    indices: Tensor
    """[B] int64, position in the data set; of the replacement where an image is broken."""
    skipped: list[Skipped] = field(default_factory=list)
    """Broken images (key, reason) that were met for the first time."""

    def pin_memory(self) -> "Batch":
        """In page-locked memory, from where it can be copied to a GPU aside; called by torch's loader."""
        labels = None if self.labels is None else self.labels.pin_memory()
        canvas, size, indices = self.canvas.pin_memory(), self.size.pin_memory(), self.indices.pin_memory()
        return Batch(canvas, size, labels, indices, self.skipped)


# ---- which images


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """A permutation [n] int64, a function of its arguments alone."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed_of("order", seed, epoch)))


def step_rows(n: int, seed: int, step: int, batch_size: int) -> Tensor:
    """Positions [batch_size] int64 that a step takes; an epoch has n // batch_size steps, no part of one."""
    check_enough(n, batch_size)
    epoch, place = divmod(step, n // batch_size)
    return _order(n, seed, epoch)[place * batch_size : (place + 1) * batch_size].clone()


@lru_cache(maxsize=2)
def _order(n: int, seed: int, epoch: int) -> Tensor:
    return epoch_order(n, seed, epoch)


def check_enough(images: int, batch_size: int) -> None:
    """Raise `DataError` unless there is one whole batch."""
    if images < batch_size:
        raise DataError(
            f"found {images} image{'' if images == 1 else 's'} to train on, but one step takes {batch_size}"
            f" (optim.batch_size)\n  add images, or take a smaller batch: optim.batch_size={max(images, 2)};"
            " where the data have no"
            " split for evaluation, a tenth is held out"
        )


def canvas_for(dataset: Dataset, needed: int, data: DataSection) -> int:
    """Side of a run's canvas: `data.canvas`, or what the crops need, at most the data's own size."""
    return canvas_side(dataset, needed if data.canvas is None else data.canvas)


def canvas_side(dataset: Dataset, wanted: int) -> int:
    """`wanted`, or the largest side among some of the images if that is less: enlarging adds nothing.

    Raises `DataError` if none of those images can be read.
    """
    largest, first_error = 0, None
    for index in epoch_order(len(dataset), 0, 0)[:_LOOKED_AT].tolist():
        try:
            largest = max(largest, *dataset[index].image.shape[:2])
        except DataError as error:
            first_error = first_error or error  # the loader counts and reports it
        if largest >= wanted:
            return wanted
    if largest == 0 and first_error is not None:
        raise DataError(f"none of the images that were tried can be read; the first: {first_error}")
    return largest or wanted


# ---- training


def train_loader(
    dataset: Dataset,
    *,
    seed: int,
    batch_size: int,
    canvas_size: int,
    start_step: int,
    end_step: int,
    rows: slice,
    data: DataSection,
    on_skip: Callable[[str, str], None] | None = None,
) -> Iterator[Batch]:
    """The batches of steps start_step to end_step - 1, of the size (rows.stop - rows.start).

    The same for any number of workers and for any start: a step's images follow from (seed, step).

    Args:
        batch_size: images of one step over all processes.
        canvas_size: S, the side in pixels.
        rows: which part of the global batch is this process's.
        data: its workers, on_error and max_broken are used.
        on_skip: hears (key, reason) of each broken image, once.

    Raises:
        DataError: fewer images than a batch; too many cannot be read, or one where `data.on_error` is stop.
        RecipeError: an impossible value in `data`.
    """
    check_enough(len(dataset), batch_size)
    _check_section(data)
    reading = Reading(dataset, partial(_to_canvas, side=canvas_size), data.on_error, data.max_broken)
    wanted = (
        step_rows(len(dataset), seed, step, batch_size)[rows].tolist() for step in range(start_step, end_step)
    )
    tally = Tally(len(dataset), data.max_broken)
    stack = partial(_stack_canvases, labelled=dataset.classes is not None)
    return _reporting(read_batches(reading, wanted, stack, data.workers), tally, on_skip)


def _reporting(
    batches: Iterator[Batch], tally: Tally, on_skip: Callable[[str, str], None] | None
) -> Iterator[Batch]:
    for batch in batches:
        new = tally.add(len(batch.canvas), batch.skipped)
        for key, reason in new:
            if on_skip is not None:
                on_skip(key, reason)
        yield replace(batch, skipped=new)


def _check_section(data: DataSection) -> None:
    if data.on_error not in ("skip", "stop"):
        raise RecipeError(f"'data.on_error' is '{data.on_error}'; valid: skip, stop")
    if not 0 <= data.max_broken <= 1:
        raise RecipeError(f"'data.max_broken' is {data.max_broken}; valid: 0 to 1")
    if data.workers < 0:
        raise RecipeError(f"'data.workers' is {data.workers}; valid: 0 or more")


@dataclass(frozen=True)
class _Canvas:
    pixels: Tensor  # [C, S, S] uint8
    size: tuple[int, int]
    label: int | None


def _to_canvas(sample: Sample, side: int) -> _Canvas:
    height, width = sample.image.shape[:2]
    return _Canvas(_planes(squashed(sample.image, side)), (height, width), sample.label)


def _planes(image: UInt8Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))  # [C, S, S]


def _stack_canvases(reads: list[Read[_Canvas]], labelled: bool) -> Batch:
    values = [read.value for read in reads]
    return Batch(
        torch.stack([value.pixels for value in values]),  # [B, C, S, S]
        torch.tensor([value.size for value in values]),  # [B, 2]
        torch.tensor([value.label for value in values]) if labelled else None,  # [B]
        torch.tensor([read.index for read in reads]),  # [B]
        [skipped for read in reads for skipped in read.skipped],
    )


# ---- evaluation


@dataclass(frozen=True)
class _Crop:
    pixels: Tensor  # [C, crop, crop] uint8
    label: int | None
    instance: int | None
    mask: npt.NDArray[np.bool_] | None  # [crop, crop]
    objects: UInt8Array | None  # [crop, crop]


class EvalImages:
    """A data set as evaluators see it: short side resized, centre cropped, normalised; a fixed order.

    Implements `core.evaluator.ImageSet`. Broken images are replaced as in training and kept in `skipped`.

    Args:
        resize, crop: pixels, crop <= resize.
        mean, std: per channel, of images in [0, 1].
        max_images: at most so many, chosen by a fixed permutation; None: all.
    """

    def __init__(
        self,
        dataset: Dataset,
        resize: int,
        crop: int,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        max_images: int | None = None,
        workers: int = 0,
        name: str = "data",
        on_error: str = "skip",
    ) -> None:
        if not 0 < crop <= resize:
            raise RecipeError(f"'eval.crop' is {crop}; valid: 1 to eval.resize, which is {resize}")
        self.name, self.classes, self.has_masks = name, dataset.classes, dataset.has_masks
        self.skipped: dict[str, str] = {}
        """Reasons of the images that could not be read, by key."""
        self._dataset = dataset
        self._rows = _spread(len(dataset), max_images)
        self.paired = dataset.paired
        self.relevance = None if dataset.relevance is None else dataset.relevance.of(self._rows)
        self.kinds = None if dataset.kinds is None else tuple(dataset.kinds[row] for row in self._rows)
        self._batch_size, self._workers = batch_size, workers
        self.mean, self.std = (torch.tensor(x).view(-1, 1, 1) for x in (mean, std))  # [C, 1, 1]
        self._how = f"resize {resize} crop {crop} on_error {on_error}"
        self._labelled, self._instanced = dataset.classes is not None, dataset.instances is not None
        self._reading = Reading(
            dataset, partial(_to_crop, resize=resize, crop=crop), on_error, max_broken=1.0
        )

    def __len__(self) -> int:
        return len(self._rows)

    def identity(self) -> str | None:
        """Changes whenever the images may differ, in pixels or in order; None: the data set cannot tell."""
        made_of = self._dataset.identity()
        if made_of is None:
            return None
        keys = sha256("\n".join(map(self.key, range(len(self)))).encode("utf-8", "backslashreplace"))
        rows = sha256(np.array(self._rows, np.int64).tobytes())
        known = f"classes {self.classes} instances {self._instanced}"
        scaled = f"mean {self.mean.tolist()} std {self.std.tolist()}"
        return f"{made_of} {known} {self._how} {scaled} keys {keys.hexdigest()} rows {rows.hexdigest()}"

    def batches(self, start: int = 0) -> Iterator[EvalBatch]:
        """The images from place `start` on, in the order of the data set.

        Raises `DataError` if none can be read.
        """
        size = self._batch_size
        rows = [self._rows[first : first + size] for first in range(start, len(self), size)]
        for reads in read_batches(self._reading, rows, list, self._workers):
            self.skipped.update(skipped for read in reads for skipped in read.skipped)
            yield self._batch(reads)

    def samples(self) -> Iterator[tuple[int, Sample]]:
        """The images as they are, at their own size, with their place; unreadable ones are left out."""
        for place, row in enumerate(self._rows):
            try:
                yield place, self._dataset[row]
            except DataError as error:
                self.skipped[self._dataset.key(row)] = str(error)

    def key(self, place: int) -> str:
        """The name of an image by its place among the images of `batches`."""
        return self._dataset.key(self._rows[place])

    def part(
        self,
        places: Sequence[int],
        name: str,
        *,
        change: Callable[[Sample], Sample] | None = None,
    ) -> "EvalImages":
        """Some of the images in the order given, each changed by `change` before it is resized."""
        part = copy(self)
        part.name, part.skipped, part.relevance = f"{self.name} ({name})", {}, None
        part._rows = [self._rows[place] for place in places]
        part.kinds = None if self.kinds is None else tuple(self.kinds[place] for place in places)
        if change is not None:
            part._dataset = _Changed(self._dataset, change, name)
            part._reading = replace(self._reading, dataset=part._dataset)
        return part

    def _batch(self, reads: list[Read[_Crop]]) -> EvalBatch:
        crops = [read.value for read in reads]
        images = torch.stack([crop.pixels for crop in crops]).float() / 255  # [B, C, crop, crop]
        masks, objects = (
            _stacked(parts) for parts in zip(*((c.mask, c.objects) for c in crops), strict=True)
        )
        return EvalBatch(
            (images - self.mean) / self.std,
            torch.tensor([crop.label for crop in crops]) if self._labelled else None,  # [B]
            torch.tensor([crop.instance for crop in crops]) if self._instanced else None,  # [B]
            masks,  # [B, crop, crop]
            torch.tensor([read.index for read in reads]),  # [B]
            objects,  # [B, crop, crop]
        )


class _Changed(Dataset):
    """A data set whose images are changed as they are read; their keys say so."""

    def __init__(self, dataset: Dataset, change: Callable[[Sample], Sample], name: str) -> None:
        self._dataset, self._change, self._name = dataset, change, name

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        return self._change(self._dataset[index])

    def key(self, index: int) -> str:
        return f"{self._dataset.key(index)} ({self._name})"


def _stacked(parts: Sequence[npt.NDArray[Any] | None]) -> Tensor | None:
    """[B, crop, crop]; None unless every image has one."""
    known = [part for part in parts if part is not None]
    return torch.from_numpy(np.stack(known)) if known and len(known) == len(parts) else None


def _spread(n: int, most: int | None) -> list[int]:
    """Positions in order; a part is drawn at random, since files are often sorted by class."""
    if most is None or most >= n:
        return list(range(n))
    chosen: list[int] = epoch_order(n, 0, 0)[:most].sort().values.tolist()
    return chosen


def _to_crop(sample: Sample, resize: int, crop: int) -> _Crop:
    mask = None if sample.mask is None else centre_cropped_mask(sample.mask, resize, crop)
    pixels = _planes(centre_cropped(sample.image, resize, crop))
    objects = None if sample.objects is None else centre_cropped_objects(sample.objects, resize, crop)
    return _Crop(pixels, sample.label, sample.instance, mask, objects)
