"""The method interface: what one training step computes, and nothing else."""

# G global views, L local views, B images, C channels, D features

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.diagnosis import Cause, Sign


@dataclass(frozen=True)
class Views:
    """One batch, augmented: G global and L local views of the same B images."""

    global_views: Tensor
    """[G, B, C, H, W] float, normalised."""
    local_views: Tensor | None = None
    """[L, B, C, h, w] float, normalised; None without local crops."""
    labels: Tensor | None = None
    """[B] int64, only where the data has labels."""
    indices: Tensor | None = None
    """[B] int64, position in the data set."""

    def each(self) -> list[Tensor]:
        """All views one by one, the global ones first: [B, C, H, W] each."""
        return [*self.global_views, *(() if self.local_views is None else self.local_views)]


@dataclass(frozen=True)
class Progress:
    """Where the run stands. A step is one optimiser step."""

    step: int
    total_steps: int
    steps_per_epoch: int

    @property
    def epoch(self) -> int:
        """The epoch that this step belongs to, from 0."""
        return self.step // self.steps_per_epoch

    @property
    def fraction(self) -> float:
        """Share of the schedule that lies behind, in [0, 1]."""
        return min(self.step / max(self.total_steps, 1), 1.0)


@dataclass(frozen=True)
class StepOutput:
    """What one forward pass gives back."""

    loss: Tensor
    """[] with gradient."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """[] each, detached, on the device; averaged over micro-batches and ranks."""
    carry: Mapping[str, Tensor] = field(default_factory=dict)
    """Detached; what `after_step` needs (a batch mean, new keys)."""
    features: Tensor | None = None
    """[B, D] detached; lets health be watched without a second forward pass."""


@dataclass
class ParameterGroup:
    """Parameters that share a learning rate and a weight decay."""

    parameters: Mapping[str, nn.Parameter]
    """By their names in the method."""
    lr_scale: float = 1.0
    """Factor on the scheduled learning rate."""
    lr: float | None = None
    """A fixed learning rate instead of the scheduled one."""
    weight_decay: float | None = None
    """A fixed weight decay instead of the scheduled one; biases and 1-d tensors never decay."""


class Setup(Protocol):
    """What a method may ask for while it is built."""

    @property
    def num_classes(self) -> int | None:
        """Number of classes, None without labels."""

    @property
    def batch_size(self) -> int:
        """Images of one optimiser step, over all processes and micro-batches."""

    @property
    def channels(self) -> int:
        """Channels of the images."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass over the data."""

    def backbone(self, *, drop_path_rate: float | None = None) -> Backbone:
        """A new backbone each call; `drop_path_rate` replaces the recipe's (teachers take 0)."""


class Method(nn.Module, ABC):
    """One self-supervised method as a module: all state that matters is in `state_dict()`."""

    Config: ClassVar[type]
    """A dataclass: the method's part of the recipe, typed, a docstring for every field."""

    needs_labels: ClassVar[bool] = False
    """Whether it learns from `Views.labels`; data without labels are then refused before training."""
    prototypes: int | None = None
    """K, where the method ends in a softmax over prototypes."""
    chance_loss: float | None = None
    """Loss of a network that tells nothing apart, such as ln K; None where no such number is known."""
    signs: Sequence[Sign] = ()
    """What else in its metrics tells that a run is sick, beside what is watched of every method."""
    causes: Sequence[Cause] = ()
    """Settings of its own, as they are now, that are known to lead to a verdict; the likeliest first."""

    def __init__(self, config: object = None, setup: Setup | None = None) -> None:
        super().__init__()

    @property
    @abstractmethod
    def encoder(self) -> Backbone:
        """The backbone that evaluation and export use (DINO: the teacher's)."""

    @abstractmethod
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        """The loss of one micro-batch. Changes nothing but batch-norm statistics."""

    def parameter_groups(self) -> Iterable[ParameterGroup]:
        """All parameters that take a gradient, as one group."""
        yield ParameterGroup({name: p for name, p in self.named_parameters() if p.requires_grad})

    def assignments(self, features: Tensor) -> Tensor:
        """How much each prototype claims each image: features of `encoder` [B, D] -> probabilities [B, K].

        Optional: for methods that end in a softmax over prototypes (or classes) of their own.
        """
        raise NotImplementedError(f"{type(self).__name__} has no prototypes")

    def before_step(self, progress: Progress) -> None:
        """Called after clipping, before the optimiser; may edit or drop gradients."""

    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        """Called after the optimiser with the outputs of all micro-batches: EMA, centre, queue."""


def mean_carry(outputs: Sequence[StepOutput], key: str) -> Tensor:
    """Mean of one `carry` entry over the micro-batches of a step, same shape as the entry."""
    return torch.stack([output.carry[key] for output in outputs]).mean(0)
