"""Confidence intervals by drawing the images again (Efron 1979): the percentile bootstrap."""

# N images, R resamples

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sslkit.core.evaluator import Estimate
from sslkit.core.randomness import seed_of

RESAMPLES = 1000
LEVEL = 0.95
_DRAWN_AT_ONCE = 2**22
"""Positions held in memory at a time."""


def mean_estimate(values: Tensor, *, resamples: int = RESAMPLES) -> Estimate:
    """The mean over images with its 95 % interval.

    Args:
        values: one number an image (right or wrong, an average precision), any real or bool type, [N]; NaN
            for an image that has none, which is left out.

    Returns:
        NaN throughout where no image has a number; where only one has, its interval is NaN.
    """
    x = values.detach().double().cpu().flatten()
    x = x[~x.isnan()]  # [N]
    if len(x) < 2:
        return _alone(float(x.mean()), len(x))
    generator = _generator(len(x))
    means = []
    for count in _portions(len(x), resamples):
        drawn = torch.randint(len(x), (count, len(x)), generator=generator)  # [r, N]
        means.append(x[drawn].mean(1))
    return _between(float(x.mean()), torch.cat(means).numpy(), len(x))


def estimate(statistic: Callable[[Tensor], float], count: int, *, resamples: int = RESAMPLES) -> Estimate:
    """Any statistic of a set of images with its 95 % interval, such as one of torchmetrics'.

    `estimate(lambda rows: float(multiclass_f1_score(predicted[rows], labels[rows], 10)), len(labels))`

    Args:
        statistic: takes positions int64 [N], with repetitions, and gives the number of those images.
        count: N.

    A number that repetition biases (of ranks, of distinct things) wants `health_intervals.jackknife`.

    Returns:
        NaN throughout for no image; for one the interval is NaN. Resamples of which the statistic is NaN do
        not count.
    """
    if count < 2:
        return _alone(statistic(torch.arange(count)) if count else float("nan"), count)
    generator = _generator(count)
    value = statistic(torch.arange(count))
    drawn = (torch.randint(count, (count,), generator=generator) for _ in range(resamples))
    return _between(value, np.array([statistic(rows) for rows in drawn]), count)


def _between(value: float, resampled: "np.ndarray[tuple[int], np.dtype[np.float64]]", count: int) -> Estimate:
    known = resampled[~np.isnan(resampled)]
    if len(known) == 0:
        return _alone(value, count)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), count)


def _alone(value: float, count: int) -> Estimate:
    """A number of which nothing says how far it might be off: one image cannot differ from itself."""
    return Estimate(value, float("nan"), float("nan"), count)


def _portions(count: int, resamples: int) -> list[int]:
    most = max(1, _DRAWN_AT_ONCE // count)
    return [min(most, resamples - start) for start in range(0, resamples, most)]


def _generator(count: int) -> torch.Generator:
    """The same draws for all numbers that rest on as many images, so that they can be compared."""
    return torch.Generator().manual_seed(seed_of("bootstrap", count))
