"""BYOL's formulas in float64, written from the paper (Grill et al. 2020), one number at a time."""

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def length(x: Array) -> float:
    return math.sqrt(sum(float(value) ** 2 for value in x))


def byol_loss(prediction: Array, target: Array) -> float:
    """Equation 2: the squared distance of the two vectors, each divided by its length; mean over images."""
    total = 0.0
    for q, z in zip(prediction, target, strict=True):
        total += sum((a / length(q) - b / length(z)) ** 2 for a, b in zip(q, z, strict=True))
    return total / len(prediction)


def byol_gradient(prediction: Array, target: Array) -> Array:
    """Of the loss by the predictions: the part of the target's direction that is across the prediction's."""
    gradient = np.zeros_like(prediction)
    for i, (q, z) in enumerate(zip(prediction, target, strict=True)):
        cosine = sum(a * b for a, b in zip(q, z, strict=True)) / length(q) / length(z)
        for d in range(len(q)):
            across = z[d] / length(z) - cosine * q[d] / length(q)
            gradient[i, d] = -2 * across / length(q) / len(prediction)
    return gradient


def momentum(step: int, total_steps: int, start: float) -> float:
    """Section 3.3: 1 - (1 - start) (cos(pi k / K) + 1) / 2."""
    return 1 - (1 - start) * (math.cos(math.pi * step / total_steps) + 1) / 2
