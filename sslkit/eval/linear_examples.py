"""Labelled features that a linear classifier is trained or asked on, as it sees them."""

# N images, B images of a batch, D features

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from sslkit.core.randomness import seed_of

EPSILON = 1e-6
"""Added to a feature's deviation, so that one that never changes stays 0."""
LEAST_VARIANCE = 1e-3
"""Of a principal component of standardized features, whose variances have a mean of 1."""
READ_AT_ONCE = 8192
"""Images in memory beside the set itself, where they are gone through only once."""


@dataclass(frozen=True)
class Examples:
    """Labelled images of a set, whose features are not copied."""

    features: Tensor
    """[all images of the set, D] on the CPU."""
    labels: Tensor
    """[all images of the set] int64."""
    rows: Tensor
    """[N] int64: which of them."""

    @classmethod
    def labelled(cls, features: Tensor, labels: Tensor) -> Self:
        """Those whose label is known (not below 0)."""
        return cls(features, labels, (labels >= 0).nonzero().flatten())

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def answers(self) -> Tensor:
        """[N] int64."""
        return self.labels[self.rows]

    def split(self, share: float) -> tuple[Self, Self]:
        """Most of them, and a share held out, of each class alike: the same ones each time."""
        generator = torch.Generator().manual_seed(seed_of("linear split", len(self)))
        shuffled = self.rows[torch.randperm(len(self), generator=generator)]
        by_class = shuffled[self.labels[shuffled].argsort(stable=True)]  # [N]
        is_held = torch.arange(len(self)) % round(1 / share) == 0
        return replace(self, rows=by_class[~is_held]), replace(self, rows=by_class[is_held])

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Features [B, D] and labels [B], in an order of places [N]."""
        for rows in (self.rows if order is None else self.rows[order]).split(size):
            yield self.features[rows], self.labels[rows]


@dataclass(frozen=True)
class Whitening:
    """Features made uncorrelated with mean 0 and deviation 1: an affine map, so what is linear stays so.

    Gradient descent then reaches in a hundred epochs what it would not in thousands where features are
    correlated, as those of several blocks are.
    """

    mean: Tensor
    """[D] float32."""
    matrix: Tensor
    """[D, D] float32."""

    def __call__(self, features: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return (features - self.mean) @ self.matrix

    def to(self, device: torch.device) -> "Whitening":
        return Whitening(self.mean.to(device), self.matrix.to(device))


def whitening_of(examples: Examples) -> Whitening:
    """Learned on these images: each feature to deviation 1, then the principal components too.

    A component with less than `LEAST_VARIANCE` is only scaled up as one that has it, since few images tell
    nothing of it but noise.
    """
    total = torch.zeros(examples.features.shape[1], dtype=torch.float64)
    for features, _ in examples.batches(READ_AT_ONCE):
        total += features.sum(0, dtype=torch.float64)
    mean = total / len(examples)
    products = torch.zeros(len(total), len(total), dtype=torch.float64)
    for features, _ in examples.batches(READ_AT_ONCE):
        centred = features.double() - mean
        products += centred.T @ centred
    scale = 1 / ((products.diagonal() / len(examples)).sqrt() + EPSILON)  # [D]
    correlation = products / len(examples) * scale * scale[:, None]
    variances, components = torch.linalg.eigh(correlation)
    matrix = scale[:, None] * components / variances.clamp(min=LEAST_VARIANCE).sqrt()
    return Whitening(mean.float(), matrix.float())
