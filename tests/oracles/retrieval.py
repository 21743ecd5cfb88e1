"""Retrieval in float64, one query and one image at a time, from the papers' definitions.

Average precision by the trapezoid rule: Philbin et al. 2007 and Radenovic et al. 2018; by steps: Manning et
al. 2008, Sec. 8.4, with equal scores found together; micro-AP: Perronnin et al. 2009.
"""

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def cosine(x: Array, y: Array) -> float:
    return float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))


def ranked(query: Array, database: Array) -> list[int]:
    """Positions in the database, the nearest first; equals in their order."""
    return sorted(range(len(database)), key=lambda i: (-cosine(query, database[i]), i))


def trapezoid(relevant: Sequence[bool]) -> float:
    """Area under the curve through (recall, precision) before and after each relevant image."""
    total = sum(relevant)
    if total == 0:
        return math.nan
    area = 0.0
    for place, is_relevant in enumerate(relevant):
        if is_relevant:
            found = sum(relevant[:place])
            before = found / place if place else 1.0
            after = (found + 1) / (place + 1)
            area += (before + after) / 2 / total
    return area


def steps(scores: Sequence[float], relevant: Sequence[bool]) -> float:
    """Precision at the score of each relevant image, averaged."""
    hits = [score for score, is_relevant in zip(scores, relevant, strict=True) if is_relevant]
    if not hits:
        return math.nan
    return sum(sum(h >= hit for h in hits) / sum(s >= hit for s in scores) for hit in hits) / len(hits)


def revisited(
    order: Sequence[int], right: Collection[int], junk: Collection[int], cuts: Iterable[int]
) -> tuple[float, dict[int, float]]:
    """Average precision and mean precision at each cut of one query."""
    kept = [i in right for i in order if i not in junk]
    if not any(kept):
        return math.nan, dict.fromkeys(cuts, math.nan)
    last = max(place for place, is_right in enumerate(kept, start=1) if is_right)
    return trapezoid(kept), {k: sum(kept[: min(k, last)]) / min(k, last) for k in cuts}


def gem(tokens: Array, power: float) -> Array:
    """[N, D] -> [D]."""
    out = []
    for column in tokens.T:
        mean = sum(max(float(x), 1e-6) ** power for x in column) / len(column)
        out.append(mean ** (1 / power))
    return np.array(out)
