"""What islands have to beat: segments that need no network."""

# B images, C channels, N = h x w places

import numpy as np
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor

from sslkit_glom.islands import Labels
from sslkit_glom.positions import coordinates


def kmeans_segments(image: Tensor, grid: tuple[int, int], clusters: int) -> Labels:
    """k-means of the places' mean colours and coordinates, each of variance 1 over the image: [N].

    Args:
        image: [C, H, W], normalised or not.
        clusters: k; fewer where the image has fewer different places.
    """
    colours = F.adaptive_avg_pool2d(image, grid).flatten(1).T.double()  # [N, C]
    at = coordinates(grid)  # [N, 2]
    places = np.concatenate([_of_variance_one(x) for x in (colours, at)], 1)
    k = min(clusters, len(np.unique(places, axis=0)))
    labels: Labels = KMeans(k, n_init=3, random_state=0).fit_predict(places).astype(np.int64)
    return labels


def _of_variance_one(x: Tensor) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Less the mean over the places, over the deviation of all columns together."""
    centred = (x - x.mean(0)).numpy()
    deviation = np.sqrt((centred**2).sum(1).mean())
    return centred / deviation if deviation > 0 else centred
