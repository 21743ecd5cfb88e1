"""Image sets in memory, and a context to evaluate in, for tests of evaluators."""

# N images, C channels, S side

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslkit.core.dataset import Relevance, Sample
from sslkit.core.evaluator import EvalBatch, ImageSet, Subject
from sslkit.data.fit import squashed
from sslkit.eval.features import Context
from sslkit.plugins import Registry
from sslkit.recipe.schema import Recipe


@dataclass
class Pictures:
    """A set of images [N, C, S, S] as a network sees them, with whatever else is known of them."""

    images: Tensor
    labels: Tensor | None = None
    instances: Tensor | None = None
    masks: Tensor | None = None
    objects: Tensor | None = None
    classes: tuple[str, ...] | None = None
    batch_size: int = 7
    name: str = "pictures"
    paired: bool = False
    relevance: Relevance | None = None
    kinds: tuple[str, ...] | None = None
    mean: Tensor = field(default_factory=lambda: torch.tensor(0.5).view(1, 1, 1))
    std: Tensor = field(default_factory=lambda: torch.tensor(0.25).view(1, 1, 1))
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.has_masks = self.masks is not None

    def __len__(self) -> int:
        return len(self.images)

    def key(self, place: int) -> str:
        return f"{place}.png"

    def batches(self) -> Iterator[EvalBatch]:
        for rows in torch.arange(len(self)).split(self.batch_size):
            labels, instances, masks, objects = (
                None if known is None else known[rows]
                for known in (self.labels, self.instances, self.masks, self.objects)
            )
            yield EvalBatch(self.images[rows], labels, instances, masks, rows, objects)

    def samples(self) -> Iterator[tuple[int, Sample]]:
        pixels = ((self.images * self.std + self.mean).clamp(0, 1) * 255).round()
        for place, image in enumerate(pixels.permute(0, 2, 3, 1).numpy().astype(np.uint8)):
            yield place, Sample(image, *self._known(place))

    def part(
        self,
        places: Sequence[int],
        name: str,
        *,
        change: Callable[[Sample], Sample] | None = None,
    ) -> "Pictures":
        rows = torch.tensor(list(places), dtype=torch.int64)
        known = {
            field: getattr(self, field)[rows]
            for field in ("images", "labels", "instances", "masks", "objects")
            if getattr(self, field) is not None
        }
        kinds = None if self.kinds is None else tuple(self.kinds[place] for place in places)
        part = replace(self, **known, kinds=kinds, relevance=None, name=f"{self.name} ({name})")
        if change is not None:
            samples = dict(self.samples())
            side = self.images.shape[-1]
            changed = [squashed(change(samples[place]).image, side) for place in places]  # [S, S, C]
            pixels = torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2) / 255
            part.images = (pixels - self.mean) / self.std
        return part

    def _known(self, place: int) -> Sequence[Any]:
        label, instance = (None if x is None else int(x[place]) for x in (self.labels, self.instances))
        mask, objects = (None if x is None else x[place].numpy() for x in (self.masks, self.objects))
        return label, self.key(place), mask, instance, objects


def context_for(subject: Subject, figures: Path, own: ImageSet | None = None, step: int = 0) -> Context:
    """A context on the CPU with the default recipe; `own` are the images that the run was trained on."""

    def training_images() -> ImageSet:
        assert own is not None, "this test gives no training images"
        return own

    cpu = torch.device("cpu")
    return Context(subject, cpu, figures, step, Recipe(), Registry.load(), training_images)
