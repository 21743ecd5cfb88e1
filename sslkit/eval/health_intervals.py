"""Intervals for numbers that the bootstrap gets wrong: the delete-a-group jackknife (Shao & Tu 1995)."""

# N images, g groups

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sslkit.core.evaluator import Estimate
from sslkit.core.randomness import seed_of

GROUPS = 20


def jackknife(statistic: Callable[[Tensor], float], count: int) -> Estimate:
    """A statistic of a set of images with its 95 % interval.

    A bootstrap draws images twice, which lowers a rank and puts pairs at distance 0; here 20 groups of images
    are left out in turn, and no image counts twice. The interval is around the number of a set of this size.

    Args:
        statistic: takes positions int64 [n], each at most once, and gives the number of those images.
        count: N, at least 2.
    """
    group = groups_of(count)
    without = [statistic((group != g).nonzero().flatten()) for g in range(int(group.max()) + 1)]
    return jackknifed(statistic(torch.arange(count)), without, count)


def groups_of(count: int) -> Tensor:
    """A random group for each image, [N] int64; the same for all sets of a size."""
    generator = torch.Generator().manual_seed(seed_of("jackknife", count))
    return (torch.arange(count) % GROUPS)[torch.randperm(count, generator=generator)]


def jackknifed(value: float, without: Sequence[float], count: int) -> Estimate:
    """From the number of all N images and those without each of the groups."""
    from scipy.stats import t

    groups = len(without)
    mean = sum(without) / groups
    error = math.sqrt((groups - 1) / groups * sum((x - mean) ** 2 for x in without))
    reach = float(t.ppf(0.975, groups - 1)) * error
    return Estimate(value, value - reach, value + reach, count)
