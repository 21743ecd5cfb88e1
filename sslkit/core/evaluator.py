"""What an evaluator is: a subject and data in, numbers and figures out."""

# B images, C channels, D features, N images of a set

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.method import Method

Need = Literal["labels", "masks", "method"]


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


class ImageSet(Protocol):
    """A set of images that can be gone through any number of times, in a fixed order."""

    name: str
    classes: tuple[str, ...] | None
    has_masks: bool
    skipped: dict[str, str]
    """Reasons of the images that could not be read, by key, of the passes so far."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[EvalBatch]: ...


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


class EvalContext(Protocol):
    """Where an evaluator computes, and what is shared between evaluators."""

    device: torch.device
    figures: Path
    """Folder for this evaluator's pictures."""

    def features(self, image_set: ImageSet) -> FeatureSet:
        """The subject's features of a set, computed once for all evaluators."""
        ...


@dataclass(frozen=True)
class Result:
    """What an evaluator found."""

    metrics: Mapping[str, float]
    """Accuracies are shares in [0, 1]."""
    figures: Mapping[str, Path] = field(default_factory=dict)


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
