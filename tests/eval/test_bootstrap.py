"""Intervals against scipy's percentile bootstrap, and for right and wrong against the binomial."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sslkit.core.evaluator import Estimate
from sslkit.eval import bootstrap
from sslkit.eval.bootstrap import estimate, mean_estimate

VALUES = torch.rand(40, generator=torch.Generator().manual_seed(3)) ** 3


def test_the_mean_is_bounded_as_scipy_does() -> None:
    found = mean_estimate(VALUES, resamples=20_000)
    wanted = stats.bootstrap(
        (VALUES.double().numpy(),), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    width = wanted.high - wanted.low
    assert found.value == pytest.approx(VALUES.double().mean().item())
    assert [found.low, found.high] == pytest.approx(list(wanted), abs=0.03 * width)
    assert found.count == 40


def test_any_statistic_is_bounded_as_scipy_does() -> None:
    found = estimate(lambda rows: float(VALUES[rows].double().std()), 40, resamples=5_000)
    wanted = stats.bootstrap(
        (VALUES.double().numpy(),),
        lambda x, axis: np.std(x, axis=axis, ddof=1),
        method="percentile",
        n_resamples=5_000,
        rng=1,
    ).confidence_interval
    width = wanted.high - wanted.low
    assert found.value == pytest.approx(VALUES.double().std().item())
    assert [found.low, found.high] == pytest.approx(list(wanted), abs=0.06 * width)


@pytest.mark.parametrize(("right", "count"), [(30, 100), (9, 10), (499, 1000)])
def test_right_and_wrong_are_bounded_by_the_binomial(right: int, count: int) -> None:
    found = mean_estimate(torch.arange(count) < right)
    exact = stats.binom(count, right / count).ppf([0.025, 0.975]) / count
    assert found.value == right / count
    assert [found.low, found.high] == pytest.approx(
        exact.tolist(), abs=0.1 * (exact[1] - exact[0]) + 1 / count
    )


def test_both_ways_draw_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mean_estimate(VALUES)
    other = estimate(lambda rows: float(VALUES[rows].double().mean()), 40)
    assert (other.low, other.high) == pytest.approx((whole.low, whole.high))
    monkeypatch.setattr(bootstrap, "_DRAWN_AT_ONCE", 90)  # two resamples at a time
    assert mean_estimate(VALUES) == whole


def test_the_draws_are_the_same_each_time_and_touch_no_others() -> None:
    before = torch.get_rng_state()
    first = mean_estimate(VALUES)
    torch.rand(5)
    torch.set_rng_state(before)
    assert mean_estimate(VALUES) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_images_without_a_number_are_left_out() -> None:
    nan = torch.tensor([math.nan])
    assert mean_estimate(torch.cat([nan, VALUES, nan])) == mean_estimate(VALUES)


@pytest.mark.parametrize(
    "values", [torch.zeros(0), torch.full((3,), math.nan), torch.zeros(0, dtype=torch.bool)]
)
def test_no_image_gives_no_number(values: torch.Tensor) -> None:
    found = mean_estimate(values)
    assert found.count == 0
    assert all(map(math.isnan, (found.value, found.low, found.high)))


@pytest.mark.parametrize("found", [mean_estimate(torch.tensor([0.7])), estimate(lambda rows: 0.7, 1)])
def test_one_image_has_no_interval(found: Estimate) -> None:
    """It says nothing of how far another would be: scipy refuses it too."""
    assert found.value == pytest.approx(0.7)
    assert found.count == 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_no_images_of_any_statistic() -> None:
    found = estimate(lambda rows: float(VALUES[rows].mean()), 0)
    assert found.count == 0
    assert all(map(math.isnan, (found.value, found.low, found.high)))


def test_resamples_without_a_number_are_left_out() -> None:
    def share(rows: torch.Tensor) -> float:
        return math.nan if (rows > 0).all() else 0.5 if len(rows.unique()) < 3 else 1.0

    found = estimate(share, 3)
    assert (found.value, found.low, found.high) == (1.0, 0.5, 1.0)
    always = estimate(lambda rows: math.nan, 3)
    assert math.isnan(always.value)
    assert math.isnan(always.low)
    assert always.count == 3
