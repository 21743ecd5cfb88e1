"""The contrastive losses in float64, one anchor and one candidate at a time, with their gradients.

All are the same choice: an anchor must tell the right one of some candidates by its cosine (van den Oord et
al. 2018, equation 4). What differs is who the candidates are.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def length(x: Array) -> float:
    return math.sqrt(sum(float(value) ** 2 for value in x))


def cosine(x: Array, y: Array) -> float:
    return sum(float(a * b) for a, b in zip(x, y, strict=True)) / (length(x) * length(y))


def cosine_gradient(x: Array, y: Array) -> Array:
    """Of the cosine by x."""
    return np.asarray((y / length(y) - cosine(x, y) * x / length(x)) / length(x))


def choice(
    anchor: Array, candidates: Sequence[Array], right: int, temperature: float
) -> tuple[float, Array, list[Array]]:
    """-log of the right candidate's share; the gradients by the anchor and by each candidate."""
    powers = [math.exp(cosine(anchor, x) / temperature) for x in candidates]
    shares = [power / sum(powers) for power in powers]
    by_anchor, by_candidates = np.zeros_like(anchor), []
    for j, (x, share) in enumerate(zip(candidates, shares, strict=True)):
        by_cosine = (share - (j == right)) / temperature
        by_anchor += by_cosine * cosine_gradient(anchor, x)
        by_candidates.append(by_cosine * cosine_gradient(x, anchor))
    return -math.log(shares[right]), by_anchor, by_candidates


def nt_xent(first: Array, second: Array, temperature: float) -> tuple[float, Array, Array]:
    """Chen et al. 2020, equation 1: loss, and gradients by both views. No anchor is its own candidate."""
    views, count = np.concatenate([first, second]), len(first)
    total, gradient = 0.0, np.zeros_like(views)
    for i in range(2 * count):
        others = [j for j in range(2 * count) if j != i]
        partner = i + count if i < count else i - count
        loss, by_anchor, by_others = choice(
            views[i], [views[j] for j in others], others.index(partner), temperature
        )
        total += loss
        gradient[i] += by_anchor
        for j, by_other in zip(others, by_others, strict=True):
            gradient[j] += by_other
    gradient /= 2 * count
    return total / (2 * count), gradient[:count], gradient[count:]


def info_nce(
    query: Array, key: Array, negatives: Array, temperature: float
) -> tuple[float, Array, Array, Array]:
    """He et al. 2020, equation 1: loss, and gradients by queries, keys and negatives."""
    count, total = len(query), 0.0
    gradients = np.zeros_like(query), np.zeros_like(key), np.zeros_like(negatives)
    for i in range(count):
        loss, by_query, by_candidates = choice(query[i], [key[i], *negatives], 0, temperature)
        total += loss
        gradients[0][i] = by_query / count
        gradients[1][i] = by_candidates[0] / count
        for j, by_negative in enumerate(by_candidates[1:]):
            gradients[2][j] += by_negative / count
    return total / count, *gradients


def in_batch(query: Array, keys: Array, own: Sequence[int], temperature: float) -> tuple[float, Array, Array]:
    """Chen, Xie and He 2021, algorithm 1, `ctr` without its factor: loss, gradients by queries and keys."""
    count, total = len(query), 0.0
    gradients = np.zeros_like(query), np.zeros_like(keys)
    for i in range(count):
        loss, by_query, by_keys = choice(query[i], list(keys), own[i], temperature)
        total += loss
        gradients[0][i] = by_query / count
        for j, by_key in enumerate(by_keys):
            gradients[1][j] += by_key / count
    return total / count, *gradients


def nearest_is_own(query: Array, keys: Array, own: Sequence[int]) -> float:
    """Share of the queries whose nearest key is their own."""
    right = 0
    for i, q in enumerate(query):
        cosines = [cosine(q, k) for k in keys]
        right += cosines.index(max(cosines)) == own[i]
    return right / len(query)
