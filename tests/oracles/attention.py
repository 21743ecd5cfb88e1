"""Masks from attention in float64, one patch and one pixel at a time.

Mass thresholding: Caron et al. 2021, Sec. 4.2.2 ("keep 60 % of the mass"), the crossing patch kept. Jaccard
index: pixels in both over pixels in either, void pixels out of both. Boxes: PASCAL VOC's overlap criterion;
CorLoc: Deselaers et al. 2010.
"""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
VOID = 255


def mass_mask(attention: Floats, share: float) -> Bools:
    """The strongest patches [n], one after another, until they hold the share."""
    total, held = math.fsum(attention), 0.0
    kept = np.zeros(len(attention), bool)
    for patch in sorted(range(len(attention)), key=lambda i: -attention[i]):
        if total == 0 or held >= share * total:
            break
        kept[patch], held = True, held + attention[patch]
    return kept


def enlarge(mask: Bools, height: int, width: int) -> Bools:
    """Each pixel is that of the patch [rows, columns] which its centre lies in."""
    rows, columns = mask.shape
    down = [math.floor(Fraction(2 * y + 1, 2 * height) * rows) for y in range(height)]
    across = [math.floor(Fraction(2 * x + 1, 2 * width) * columns) for x in range(width)]
    return np.array([[mask[row, column] for column in across] for row in down])


def jaccard(mask: Bools, objects: Bytes) -> float:
    """Of pixels [H, W]; NaN where neither has any."""
    both = either = 0
    for chosen, label in zip(mask.ravel(), objects.ravel(), strict=True):
        if label != VOID:
            both += bool(chosen and label > 0)
            either += bool(chosen or label > 0)
    return both / either if either else math.nan


def share_on_object(attention: Floats, objects: Bytes) -> float:
    """Attention [rows, columns] spread evenly over the pixels [H, W] of its patches: the share on objects."""
    height, width = objects.shape
    rows, columns = attention.shape
    assert height % rows == width % columns == 0
    spread = np.repeat(np.repeat(attention, height // rows, 0), width // columns, 1)
    whole = spread[objects != VOID].sum()
    return float(spread[(objects > 0) & (objects != VOID)].sum() / whole) if whole else 0.0


def components(mask: Bools) -> list[set[tuple[int, int]]]:
    """Pixels [H, W] that touch by a side, in reading order of their first pixel."""
    left = {(int(y), int(x)) for y, x in zip(*mask.nonzero(), strict=True)}
    found = []
    for start in sorted(left):
        if start in left:
            part, open_ends = set(), [start]
            while open_ends:
                y, x = open_ends.pop()
                if (y, x) in left:
                    left.remove((y, x))
                    part.add((y, x))
                    open_ends += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            found.append(part)
    return found


def box(pixels: set[tuple[int, int]]) -> tuple[int, int, int, int]:
    ys, xs = [y for y, _ in pixels], [x for _, x in pixels]
    return min(ys), min(xs), max(ys) + 1, max(xs) + 1


def box_iou(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> Fraction:
    a, b = (
        {(y, x) for y in range(top, bottom) for x in range(left, right)}
        for top, left, bottom, right in (first, second)
    )
    return Fraction(len(a & b), len(a | b))


def finds(mask: Bools, objects: Bytes, *, told_apart: bool) -> bool:
    """Whether the box of the mask's largest part and that of any object have an IoU of .5."""
    parts = components(mask)
    if not parts:
        return False
    found = box(max(parts, key=len))
    here = np.where(objects == VOID, 0, objects)
    if told_apart:
        true = [{(int(y), int(x)) for y, x in np.argwhere(here == n)} for n in np.unique(here[here > 0])]
    else:
        true = components(here > 0)
    return any(box_iou(found, box(pixels)) >= Fraction(1, 2) for pixels in true)


def fixed_head(jaccard: Floats, half: Bools) -> float:
    """Each image [n, heads] scored by the head that is best on the images of the other half."""
    scored = []
    for image in range(len(jaccard)):
        others = [i for i in range(len(jaccard)) if half[i] != half[image]]
        means = [np.mean([jaccard[i, head] for i in others]) for head in range(jaccard.shape[1])]
        scored.append(jaccard[image, int(np.argmax(means))])
    return float(np.mean(scored))
