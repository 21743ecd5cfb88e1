"""Label-free health of features in float64, term by term from the papers' definitions.

RankMe: Garrido et al. 2023, equations 1 and 2. Alignment and uniformity: Wang & Isola 2020, section 4.1.
alpha-ReQ: Agrawal et al. 2022, section 3 (a weighted line through log eigenvalue against log rank). NMI,
ARI: Vinh et al. 2010, Hubert & Arabie 1985.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def rankme(features: Array) -> float:
    sigma = np.sqrt(np.clip(np.linalg.eigvalsh(gram(features)), 0, None))
    total = float(sigma.sum())
    return effective_rank([s / total if total else 0.0 for s in sigma])


def gram(x: Array) -> Array:
    """The smaller one, so that it has min(N, D) eigenvalues."""
    return np.asarray(x @ x.T if len(x) < x.shape[1] else x.T @ x)


def effective_rank(shares: Sequence[float]) -> float:
    return math.exp(-sum((p + 1e-7) * math.log(p + 1e-7) for p in shares))


def unit(x: Array) -> list[Array]:
    return [row / np.linalg.norm(row) if np.linalg.norm(row) else row for row in x]


def alignment(x: Array, y: Array, power: float) -> float:
    distances = [float(np.linalg.norm(a - b)) for a, b in zip(unit(x), unit(y), strict=True)]
    return float(np.mean([d**power for d in distances]))


def uniformity(x: Array, t: float) -> float:
    kernels = [math.exp(-t * float(np.sum((a - b) ** 2))) for a, b in combinations(unit(x), 2)]
    return math.log(sum(kernels) / len(kernels))


def alpha(features: Array, first: int, last: int) -> float:
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(features.T, bias=True)))[::-1]
    ranks = range(first, min(last, len(eigenvalues)) + 1)
    slope, _ = np.polyfit(
        [math.log(r) for r in ranks],
        [math.log(eigenvalues[r - 1]) for r in ranks],
        1,
        w=[1 / math.sqrt(r) for r in ranks],  # numpy squares its weights
    )
    return -float(slope)


def entropy(labels: Sequence[int]) -> float:
    return -sum(n / len(labels) * math.log(n / len(labels)) for n in Counter(labels).values())


def nmi(first: Sequence[int], second: Sequence[int]) -> float:
    """Mutual information over the mean of the two entropies."""
    joint = entropy([a * 1000 + b for a, b in zip(first, second, strict=True)])
    mutual = entropy(first) + entropy(second) - joint
    return mutual / ((entropy(first) + entropy(second)) / 2)


def ari(first: Sequence[int], second: Sequence[int]) -> float:
    """Pairs that both partitions keep together, above what chance gives, over the most that is possible."""
    pairs = list(combinations(range(len(first)), 2))
    in_first, in_second = ([x[i] == x[j] for i, j in pairs] for x in (first, second))
    both = sum(a and b for a, b in zip(in_first, in_second, strict=True))
    by_chance = sum(in_first) * sum(in_second) / len(pairs)
    return (both - by_chance) / ((sum(in_first) + sum(in_second)) / 2 - by_chance)
