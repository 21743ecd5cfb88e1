"""Islands: places beside each other whose states agree."""

# N = h x w places, D features, M islands

from typing import Any

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sslkit.losses.dtype import raised

Labels = npt.NDArray[np.int64]
"""The number of each place's island or segment, from 0."""


def find_islands(states: Tensor, grid: tuple[int, int], threshold: float) -> Labels:
    """Islands of one image at one level.

    Places are joined by average linkage as long as two groups agree, on average over their pairs, by the
    threshold or more; an island is a connected part of a group.

    Args:
        states: [N, D], row by row.
        threshold: least mean cosine, -1 to 1.

    Returns:
        [N], the islands numbered by their first place.
    """
    unit = F.normalize(raised(states.detach()).double(), dim=-1).cpu().numpy()
    if len(unit) == 1:
        return np.zeros(1, np.int64)
    tree = linkage(unit, "average", metric="sqeuclidean")  # of unit vectors: 2 - 2 cosine
    return connected_parts(fcluster(tree, max(2 - 2 * threshold, 1e-6), "distance"), grid)


def connected_parts(groups: npt.NDArray[Any], grid: tuple[int, int]) -> Labels:
    """Parts of each group that hang together across sides of places: groups [N] -> numbers [N]."""
    place = np.arange(len(groups)).reshape(grid)
    pairs = [(place[:, :-1], place[:, 1:]), (place[:-1], place[1:])]
    first, second = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    same = groups[first] == groups[second]
    joined = coo_array((np.ones(same.sum()), (first[same], second[same])), (len(groups), len(groups)))
    labels: Labels = connected_components(joined, directed=False)[1].astype(np.int64)
    return labels
