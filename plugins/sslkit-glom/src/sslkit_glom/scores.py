"""How well segments of an image fit its objects."""

# S segments, M objects, K masks, H x W pixels

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix

from sslkit.core.dataset import VOID
from sslkit_glom.islands import Labels

Objects = npt.NDArray[np.uint8]
"""[H, W]: 0 background, n the n-th object, 255 not counted."""


@dataclass(frozen=True)
class Score:
    """Of one image; NaN where it has not what is asked for."""

    ari: float
    """Adjusted Rand index of the segments and the objects, the background as one of them."""
    objects_ari: float
    """The same on the objects' pixels alone: whether objects are told from each other. Of two or more."""
    jaccard: float
    """Of each object's best segment, chosen with the truth; mean over the objects."""
    figure_jaccard: float
    """Of all objects together with all segments but the one that has most of the border; nothing chosen."""


def score_segments(segments: Labels, objects: Objects) -> Score:
    """Segments, int [H, W], against the truth."""
    return Score(
        ari(segments, objects),
        ari(segments, objects, background=False),
        best_jaccard(segments, objects),
        jaccard(figure(segments), objects),
    )


def ari(segments: Labels, objects: Objects, *, background: bool = True) -> float:
    """Adjusted Rand index over the pixels that count; without background NaN unless there are two objects."""
    counted = (objects != VOID) & (background | (objects > 0))
    true = objects[counted]
    if len(true) == 0 or (not background and (true == true[0]).all()):
        return float("nan")
    return float(adjusted_rand_score(true, segments[counted]))


def best_jaccard(segments: Labels, objects: Objects) -> float:
    """Mean over the objects of the Jaccard index of the segment that fits best; NaN without an object."""
    counted = objects != VOID
    true = objects[counted]
    if not (true > 0).any():
        return float("nan")
    both = contingency_matrix(true, segments[counted])  # [M or 1 + M, S], the background first
    union = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    is_object = np.unique(true) > 0
    return float((both / union).max(1)[is_object].mean())


def best_mask_jaccard(masks: npt.NDArray[np.bool_], objects: Objects) -> float:
    """Mean over the objects of the Jaccard index of the mask that fits best, of masks [K, H, W] that may
    overlap; NaN without an object."""
    numbers = [number for number in np.unique(objects) if 0 < number < VOID]
    if not numbers:
        return float("nan")
    counted = objects != VOID
    return float(np.mean([max(_jaccard(mask & counted, objects == n) for mask in masks) for n in numbers]))


def jaccard(mask: npt.NDArray[np.bool_], objects: Objects) -> float:
    """Jaccard index of a mask [H, W] with all objects together; NaN without an object."""
    counted = objects != VOID
    true = counted & (objects > 0)
    return _jaccard(mask & counted, true) if true.any() else float("nan")


def _jaccard(mask: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    return float((mask & true).sum() / (mask | true).sum())


def figure(segments: Labels) -> npt.NDArray[np.bool_]:
    """All of [H, W] but the segment that has most of the border: what a picture usually shows before it."""
    border = np.concatenate([segments[0], segments[-1], segments[1:-1, 0], segments[1:-1, -1]])
    is_figure: npt.NDArray[np.bool_] = segments != np.bincount(border).argmax()
    return is_figure
