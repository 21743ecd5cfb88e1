"""Whitening of features, learned on other images: directions in which all images differ count less."""

# N images, D features

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Whitening:
    """Features [.., D] -> decorrelated features of equal variance."""

    mean: Tensor
    """[D] float64."""
    projection: Tensor
    """[D, D] float64: a principal direction in each column, over its deviation."""

    def __call__(self, features: Tensor) -> Tensor:
        """[N, D] -> [N, D], float32."""
        return ((features.double() - self.mean) @ self.projection).float()


def learn_whitening(features: Tensor) -> Whitening:
    """PCA whitening of features [N, D], N >= 2, not normalised.

    The covariance is shrunk towards a sphere by the amount that Ledoit and Wolf (2004) estimate, so that with
    fewer images than features the directions that were never seen do not drown the others.
    """
    from sklearn.covariance import ledoit_wolf

    x = features.detach().double().cpu()
    mean = x.mean(0)  # [D]
    covariance, _ = ledoit_wolf((x - mean).numpy(), assume_centered=True)
    values, directions = torch.linalg.eigh(torch.from_numpy(covariance))  # [D], [D, D]
    least = values.max().clamp(min=torch.finfo(values.dtype).tiny) * FLOOR
    return Whitening(mean, directions / values.clamp(min=float(least)).sqrt())


FLOOR = 1e-9
"""Least variance of a direction as a share of the largest: only against dividing by zero."""
