"""What an evaluator is: a subject and data in, numbers and figures out."""

# B images, C channels, D features, N images of a set

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.dataset import Relevance, Sample
from sslkit.core.method import Method

if TYPE_CHECKING:
    from sslkit.plugins import Registry
    from sslkit.recipe.schema import Recipe

T = TypeVar("T")
Need = Literal["labels", "masks", "method", "prototypes"]


@dataclass(frozen=True)
class EvalBatch:
    """Held-out images as the network sees them."""

    images: Tensor
    """[B, C, crop, crop] float, resized, centre-cropped, normalised."""
    labels: Tensor | None
    """[B] int64."""
    instances: Tensor | None
    """[B] int64."""
    masks: Tensor | None
    """[B, crop, crop] bool."""
    indices: Tensor
    """[B] int64, position in the data set."""
    objects: Tensor | None = None
    """[B, crop, crop] uint8: 0 background, n the n-th object, 255 not counted; None where the data do
    not tell objects apart."""


class ImageSet(Protocol):
    """A set of images that can be gone through any number of times, in a fixed order."""

    name: str
    classes: tuple[str, ...] | None
    has_masks: bool
    skipped: dict[str, str]
    """Reasons of the images that could not be read, by key, of the passes so far."""
    mean: Tensor
    """[C, 1, 1] of images in [0, 1]: `images * std + mean` undoes the normalisation."""
    std: Tensor
    """[C, 1, 1]."""
    paired: bool
    """Whether the instance of a query is that of the very image of the memory bank that it was made from."""
    relevance: Relevance | None
    """Which images of the memory bank answer each query, where the data say so."""
    kinds: tuple[str, ...] | None
    """How each query was made from its original, by place; None where that is not known."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[EvalBatch]: ...

    def samples(self) -> Iterator[tuple[int, Sample]]:
        """The images as they are, at their own size, with their place among the images of `batches`.

        Those that cannot be read are left out.
        """
        ...

    def key(self, place: int) -> str:
        """The name of an image by its place among the images of `batches`."""
        ...

    def part(
        self,
        places: Sequence[int],
        name: str,
        *,
        change: Callable[[Sample], Sample] | None = None,
    ) -> "ImageSet":
        """Some of the images in the order given, each changed by `change` before it is resized.

        `name` says which images they are, and what was changed; it becomes part of the set's name.
        """
        ...


@dataclass(frozen=True)
class EvalData:
    """A memory bank and queries."""

    train: ImageSet
    test: ImageSet


@dataclass(frozen=True)
class FeatureSet:
    """Features of a whole set, in its order."""

    features: Tensor
    """[N, D] float32 on the CPU, not normalised."""
    labels: Tensor | None
    """[N] int64."""
    instances: Tensor | None
    """[N] int64."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated."""

    backbone: Backbone
    method: Method | None = None


class Extractor(Protocol):
    """What is taken from the backbone for each image."""

    @property
    def name(self) -> str:
        """Says completely what is taken, such as "cls of 4 blocks": features are kept under this name."""

    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> features [B, D]."""


@dataclass(frozen=True)
class Pooled:
    """The backbone's own features: CLS of a ViT, the pooled map of a convolutional net."""

    name: str = "pooled"

    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        return backbone(images)  # type: ignore[no-any-return]


class EvalContext(Protocol):
    """Where an evaluator computes, and what is shared between evaluators."""

    device: torch.device
    figures: Path
    """Folder for this evaluator's pictures and tables."""
    step: int
    """Optimiser steps that the subject was trained for."""
    recipe: "Recipe"
    """Of the run whose backbone is evaluated, with the data that it is evaluated on."""
    registry: "Registry"
    """Answers for the names in the recipe: an evaluator can build the run's augmentation with it."""

    def features(self, image_set: ImageSet, extract: Extractor = ...) -> FeatureSet:
        """Features of a set (by default `Pooled`), computed once for all evaluators that ask for the same."""
        ...

    def track(self, items: Iterable[T], total: int, what: str) -> Iterable[T]:
        """The same items, while a person sees how far the work is."""
        ...

    def own_images(self) -> ImageSet:
        """The images that the run was trained on, also where it is evaluated on others."""
        ...

    def other(self, run: str) -> Subject:
        """The backbone of another run (a directory or a `backbone.safetensors`), on the device."""
        ...


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % confidence interval."""

    value: float
    low: float
    high: float
    count: int
    """Images that it rests on."""


@dataclass(frozen=True)
class Result:
    """What an evaluator found."""

    metrics: Mapping[str, float]
    """Accuracies are shares in [0, 1]."""
    figures: Mapping[str, Path] = field(default_factory=dict)
    """Pictures by title."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95 % confidence intervals by metric."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Images that each metric rests on."""
    tables: Mapping[str, Path] = field(default_factory=dict)
    """CSV files by title."""
    notes: Sequence[str] = ()
    """Sentences that say what the numbers mean, or what was left out and why."""

    @classmethod
    def of(cls, estimates: Mapping[str, Estimate], **others: Any) -> Self:
        """From estimates; `others` are the fields beside metrics, intervals and counts."""
        return cls(
            {name: e.value for name, e in estimates.items()},
            intervals={name: (e.low, e.high) for name, e in estimates.items()},
            counts={name: e.count for name, e in estimates.items()},
            **others,
        )


class Evaluator(ABC):
    """One way of asking what the features are good for."""

    Config: ClassVar[type]
    """A dataclass: the evaluator's entry under `eval.evaluators`."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What the data must have; without it the evaluator is skipped in one line."""

    @abstractmethod
    def __init__(self, config: Any) -> None: ...

    @abstractmethod
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result: ...
