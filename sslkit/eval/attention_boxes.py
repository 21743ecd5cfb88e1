"""Boxes around what a mask shows, and whether they find an object (CorLoc)."""

# M objects, H x W pixels; a box is top, left, bottom, right in pixels, the ends not included

import numpy as np
import numpy.typing as npt

from sslkit.core.dataset import VOID
from sslkit.eval.attention_views import Boxes

Bools = npt.NDArray[np.bool_]


def largest_box(mask: Bools) -> Boxes | None:
    """The box of the largest connected component of a mask [H, W]: int64 [4]; None for an empty mask.

    Pixels that touch by a side are connected; of components of one size, the first from the top left.
    """
    from scipy import ndimage

    numbers, count = ndimage.label(mask)
    if count == 0:
        return None
    sizes = np.bincount(numbers.ravel())[1:]  # [M]
    return _boxes(numbers)[sizes.argmax()]  # type: ignore[no-any-return]


def true_boxes(objects: npt.NDArray[np.uint8], *, told_apart: bool) -> Boxes:
    """The boxes of the objects [H, W] (0 background, 255 not counted): int64 [M, 4].

    One for each number; where objects are not told apart, one for each connected component.
    """
    from scipy import ndimage

    kept = np.where(objects == VOID, 0, objects)
    return _boxes(kept if told_apart else ndimage.label(kept > 0)[0])


def finds_one(box: Boxes | None, truths: Boxes) -> bool:
    """Whether a box [4] and any of the true ones [M, 4] share at least half of what they cover together.

    The criterion of PASCAL VOC and of CorLoc (Deselaers et al. 2010), in whole numbers, so that one half is
    one half.
    """
    if box is None:
        return False
    shared = _area(np.concatenate([np.maximum(box, truths)[:, :2], np.minimum(box, truths)[:, 2:]], 1))
    return bool((2 * shared >= _area(box[None]) + _area(truths) - shared).any())


def _area(boxes: Boxes) -> Boxes:
    """[M, 4] -> [M]; 0 where there is nothing between the corners."""
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1)  # type: ignore[no-any-return]


def _boxes(numbers: npt.NDArray[np.integer]) -> Boxes:
    """Around each number above 0 that occurs in [H, W], by number."""
    from scipy import ndimage

    found = [part for part in ndimage.find_objects(numbers) if part is not None]
    corners = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in found]
    return np.array(corners, np.int64).reshape(-1, 4)
