"""Features of whole sets, computed once for all evaluators."""

# B images of a batch, N images of the set, D features

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import ref

import torch
from torch import Tensor, nn

from sslkit.core.evaluator import EvalBatch, Extractor, FeatureSet, ImageSet, Pooled, Subject
from sslkit.eval.feature_cache import FeatureCache, Folder, Identified, Part
from sslkit.eval.progress import Track, unseen
from sslkit.train.export import load_backbone

if TYPE_CHECKING:
    from sslkit.plugins import Registry
    from sslkit.recipe.schema import Recipe

T = TypeVar("T")
POOLED = Pooled()
PART_IMAGES = 4096
"""Images of a part that is written to the cache."""
PART_SECONDS = 60.0
"""Or all images of so many seconds: what a kill costs at most."""


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode within, each submodule's own mode again afterwards."""
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes.items():
            child.training = mode


@torch.no_grad()
def extract_features(
    subject: Subject,
    image_set: ImageSet,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    extract: Extractor = POOLED,
    *,
    track: Track = unseen,
    folder: Folder | None = None,
) -> FeatureSet:
    """The subject's features of every image of a set, in its order, on the CPU.

    `folder`: where they are kept; what is there already is read, and the pass goes on after it.
    """
    rows = Rows(len(image_set))
    for part in () if folder is None else folder.parts():
        rows.add(part.features, part.labels, part.instances)
        image_set.skipped.update(part.skipped)
    if rows.missing:
        batches = _batches(image_set, rows.count)
        seen = track(
            batches,
            len(image_set),
            f"features of {image_set.name}",
            size=lambda batch: len(batch.images),
            unit="images",
            done=rows.count,
        )
        with eval_mode(subject.backbone), keeping(rows, image_set, folder) as keep:
            for batch in seen:
                with autocast():
                    outputs = extract(subject.backbone, batch.images.to(device, non_blocking=True))  # [B, D]
                rows.add(outputs.float().cpu(), batch.labels, batch.instances)
                keep()
    return rows.as_set()


def _batches(image_set: ImageSet, start: int) -> Iterator[EvalBatch]:
    return image_set.batches(start) if isinstance(image_set, Identified) else image_set.batches()


class Rows:
    """Features that come batch by batch, in tensors of their final size, so that none are held twice."""

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0
        """Images of the set, and those that are there."""
        self._columns: tuple[Tensor | None, ...] | None = None

    @property
    def missing(self) -> int:
        return self.total - self.count

    def add(self, features: Tensor, labels: Tensor | None, instances: Tensor | None) -> None:
        """The next images: [B, D], [B], [B]."""
        given = (features, labels, instances)
        if self._columns is None:
            self._columns = tuple(
                None if x is None else x.new_empty((self.total, *x.shape[1:])) for x in given
            )
        stop = self.count + len(features)
        for column, x in zip(self._columns, given, strict=True):
            if column is not None and x is not None:
                column[self.count : stop] = x
        self.count = stop

    def part(self, start: int, skipped: Mapping[str, str]) -> Part:
        """The images from `start` on."""
        features, labels, instances = self._sliced(start)
        return Part(features, labels, instances, skipped)

    def as_set(self) -> FeatureSet:
        assert not self.missing
        return FeatureSet(*self._sliced(0))  # [N, D], [N], [N]

    def _sliced(self, start: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        assert self._columns is not None
        features, labels, instances = (None if x is None else x[start : self.count] for x in self._columns)
        assert features is not None
        return features, labels, instances


@contextmanager
def keeping(rows: Rows, image_set: ImageSet, folder: Folder | None) -> Iterator[Callable[[], None]]:
    """A call after each batch writes a part when one is due; the rest is written at the end, in any case."""
    written, at, told = rows.count, time.monotonic(), dict[str, str]()

    def write() -> None:
        nonlocal written, at
        if folder is not None and rows.count > written:
            new = {key: reason for key, reason in image_set.skipped.items() if key not in told}
            folder.write(written, rows.part(written, new))
            told.update(new)
            written, at = rows.count, time.monotonic()

    def keep() -> None:
        if rows.count - written >= PART_IMAGES or time.monotonic() - at >= PART_SECONDS:
            write()

    try:
        yield keep
    finally:
        write()


@dataclass
class Context:
    """Where evaluators compute; keeps the features of each set for the next evaluator."""

    subject: Subject
    device: torch.device
    figures: Path
    step: int
    recipe: "Recipe"
    registry: "Registry"
    training_images: Callable[[], ImageSet]
    """Opens the images that the run was trained on."""
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext
    progress: Track = unseen
    cache: FeatureCache | None = None
    """Where features are kept for the next time; None: nowhere."""
    kept: dict[tuple[int, str], tuple[ref[ImageSet], FeatureSet]] = field(default_factory=dict)
    """Features by set and extractor, with the set itself: its id may be given to another when it is gone."""

    def features(self, image_set: ImageSet, extract: Extractor = POOLED) -> FeatureSet:
        key = id(image_set), extract.name
        if key not in self.kept or self.kept[key][0]() is not image_set:
            self.kept[key] = ref(image_set), self._extracted(image_set, extract)
        return self.kept[key][1]

    def _extracted(self, image_set: ImageSet, extract: Extractor) -> FeatureSet:
        return extract_features(
            self.subject,
            image_set,
            self.device,
            self.autocast,
            extract,
            track=self.progress,
            folder=None if self.cache is None else self.cache.folder(image_set, extract),
        )

    def track(self, items: Iterable[T], total: int, what: str) -> Iterable[T]:
        return self.progress(items, total, what)

    def own_images(self) -> ImageSet:
        return self.training_images()

    def other(self, run: str) -> Subject:
        return Subject(load_backbone(run, self.registry).to(self.device))
