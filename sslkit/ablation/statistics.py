"""Is an arm better than the baseline? Paired differences, their intervals, Holm's correction, power."""

# n pairs (an arm and the baseline with the same seed), R resamples

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

ALPHA = 0.05
POWER = 0.8
MOST_PAIRS = 1000
"""Nobody runs a study of more; pairs_needed looks no further."""
RESAMPLES = 10_000
ROUNDING = 1e-12
"""What is smaller than this share of the values is their rounding: (0.4 - 0.3) - (0.3 - 0.2) is not 0."""

Interval = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """An arm's paired difference to the baseline."""

    n: int
    """Pairs."""
    mean: float
    sd: float | None
    """Sample standard deviation of the differences (n - 1 below the line); None for one pair."""
    interval: Interval | None
    """95 % by Student's paired t: right in 95 of 100 studies also with few pairs, if the differences are
    roughly normal; None for one pair."""
    bootstrap: Interval | None
    """95 % by the percentile bootstrap of the mean over pairs; None for one pair. Too narrow with few pairs:
    n pairs have at most n^n resamples, and the variance of their mean is (n - 1) / n of what it should be. Of
    2 or 3 pairs it is from the least to the greatest difference, which holds the truth in only 50 or 75 of
    100 studies."""
    p: float | None
    """Two-sided, by the paired t test; None for one pair. Where all differences are equal: 1 if they are 0,
    else 0."""


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """The mean difference to the baseline over pairs, and how sure it is.

    A mean or a standard deviation within the rounding of the values (ROUNDING) counts as 0.

    Args:
        values: an arm's number for each seed, [n].
        baseline: the baseline's for the same seeds in the same order, [n].

    Raises:
        ValueError: there is no pair, the lengths differ, or a number is not finite.
    """
    x, y = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)  # [n], [n]
    _check_pairs(x, y)
    d, n = x - y, len(x)  # [n]
    least = ROUNDING * float(max(abs(x).max(), abs(y).max()))
    mean = _or_zero(float(d.mean()), least)
    if n == 1:
        return Difference(n, mean, None, None, None, None)
    sd = _or_zero(float(d.std(ddof=1)), least)
    if sd == 0:  # values are shares of some hundred images, and two of them are easily the same
        return Difference(n, mean, sd, None, None, 1.0 if mean == 0 else None)
    return Difference(n, mean, sd, _t_interval(n, mean, sd), _bootstrap(d), _t_test(n, mean, sd))


def _check_pairs(x: Floats, y: Floats) -> None:
    if len(x) != len(y):
        raise ValueError(
            f"{len(x)} values and {len(y)} of the baseline are no pairs\n  give both for the same seeds"
        )
    if len(x) == 0:
        raise ValueError("there is no pair: give values of an arm and of the baseline for at least one seed")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            f"values {x.tolist()} and baseline {y.tolist()} must all be finite\n  leave out the seeds of"
            " which one has no number"
        )


def _or_zero(x: float, least: float) -> float:
    return x if abs(x) > least else 0.0


def _t_interval(n: int, mean: float, sd: float) -> Interval:
    half = _critical(n, ALPHA) * sd / math.sqrt(n)
    return mean - half, mean + half


def _t_test(n: int, mean: float, sd: float) -> float:
    return float(2 * special.stdtr(n - 1, -abs(mean) * math.sqrt(n) / sd))


def _critical(n: int, alpha: float) -> float:
    """The |t| of n pairs that chance alone exceeds with probability alpha."""
    return float(special.stdtrit(n - 1, 1 - alpha / 2))


def _bootstrap(d: Floats) -> Interval:
    """With the same draws for all arms of as many pairs, so that they can be compared."""
    drawn = np.random.default_rng(0).integers(len(d), size=(RESAMPLES, len(d)))  # [R, n]
    low, high = np.quantile(d[drawn].mean(1), [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for being several: of arms that all equal the baseline, any has one below 0.05 in at
    most 5 of 100 studies (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Args:
        p_values: one an arm, 0 to 1; None for an arm that was not tested: it stays None and does not count.

    Raises:
        ValueError: a p-value is not from 0 to 1.
    """
    known = [(p, i) for i, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    greatest = 0.0  # so far: no arm may come before one with a smaller p
    for rank, (p, i) in enumerate(sorted(known)):
        if not 0 <= p <= 1:
            raise ValueError(f"a p-value is {p}, but must be from 0 to 1, or None where nothing was tested")
        greatest = max(greatest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = greatest
    return adjusted


def power_of(n: int, effect: float, sd: float, *, alpha: float = ALPHA) -> float:
    """The probability that a two-sided paired t test of n pairs finds a true difference.

    Args:
        n: pairs, at least 2.
        effect: the true mean difference.
        sd: the true standard deviation of the differences, at least 0.
        alpha: the test's level.

    Raises:
        ValueError: n is below 2.
    """
    if n < 2:
        raise ValueError(f"a paired t test of {n} pairs was asked, but it needs at least 2")
    if sd == 0:
        return float(effect != 0)
    return _beyond(_critical(n, alpha), n - 1, abs(effect) / sd * math.sqrt(n))


def _beyond(t: float, freedom: int, noncentrality: float) -> float:
    """P(|T| > t) of the noncentral t, T = (z + noncentrality) / s, to about 1e-5: the mean over a normal z of
    the probability that s, the root of chi-square / freedom, is small enough.

    scipy's nct (1.17) gives NaN for many of the values that come up here, such as 3 pairs at ten standard
    deviations.
    """
    z = np.linspace(-7, 7, 301)
    density = np.exp(-(z**2) / 2)
    small_enough = special.chdtr(freedom, freedom * ((z + noncentrality) / t) ** 2)
    return float(density @ small_enough / density.sum())


def pairs_needed(effect: float, sd: float, *, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """The fewest pairs with which a two-sided paired t test finds a true difference often enough.

    Args:
        effect: the true mean difference.
        sd: the true standard deviation of the differences. One that was observed with 3 pairs says little:
            the truth may be half of it or six times as much (the ends of a 95 % interval), and the pairs
            needed grow with its square.
        alpha: the test's level.
        power: how often, from 0 to 1.

    Returns:
        At least 2; None where the difference is 0, or more than MOST_PAIRS would be needed.
    """
    if effect == 0:
        return None
    counts = range(2, MOST_PAIRS + 1)
    found = bisect_left(counts, power, key=lambda n: power_of(n, effect, sd, alpha=alpha))
    return counts[found] if found < len(counts) else None


@dataclass(frozen=True)
class Verdict:
    """What the numbers say of an arm, in words."""

    word: Literal["better", "worse", "no difference shown", "not known"]
    seeds_needed: int | None
    """To find a difference such as was observed in 8 of 10 studies; None where it is 0, more than MOST_PAIRS
    would be needed, or it is not known. After 3 seeds a rough guess: both the difference and its standard
    deviation may be far from the truth (see pairs_needed)."""
    difference: Difference
    """That it is about."""

    @property
    def text(self) -> str:
        """The word, and how many seeds it would take where nothing was shown."""
        if self.difference.n < 2:
            return "not known from 1 seed: a study needs two or more"
        if self.word == "not known":
            return (
                f"not known: all {self.difference.n} seeds differ by exactly the same, which tells no spread"
            )
        if self.word != "no difference shown":
            return self.word
        shown = f"{self.word} with {self.difference.n} seeds"
        if self.difference.mean == 0:
            return shown
        enough = f"more than {MOST_PAIRS:,}" if self.seeds_needed is None else f"about {self.seeds_needed:,}"
        return f"{shown}; {enough} would be needed"


def verdict(
    difference: Difference, adjusted: float | None, *, sign: int, arms: int, alpha: float = ALPHA
) -> Verdict:
    """Better or worse where the adjusted p-value is below alpha, and how many seeds would show it.

    The seeds needed are for the level alpha / arms (Bonferroni), which is the first step of Holm's method:
    the arm would be found whatever the others do. That is conservative, as later steps ask for less.

    Args:
        adjusted: the arm's p-value after holm; None where there is none.
        sign: 1 where more is better, -1 where less is.
        arms: how many arms were compared to the baseline, at least 1.
    """
    assert sign in (1, -1), sign
    if adjusted is None or difference.sd is None:
        return Verdict("not known", None, difference)
    needed = pairs_needed(difference.mean, difference.sd, alpha=alpha / arms)
    if adjusted >= alpha:
        return Verdict("no difference shown", needed, difference)
    return Verdict("better" if sign * difference.mean > 0 else "worse", needed, difference)
