"""Weighted kNN in float64, one query and one neighbour at a time (Wu et al. 2018, section 3.4)."""

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def knn_votes(
    train: Array, labels: npt.NDArray[np.int64], queries: Array, k: int, temperature: float, num_classes: int
) -> Array:
    votes = np.zeros((len(queries), num_classes))
    for q, query in enumerate(queries):
        cosines = [float(query @ x / np.linalg.norm(query) / np.linalg.norm(x)) for x in train]
        for i in sorted(range(len(train)), key=lambda i: -cosines[i])[:k]:
            votes[q, labels[i]] += math.exp(cosines[i] / temperature)
    return votes
