"""The statistics of studies against scipy, against definitions, and against simulated studies."""

import math
from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sslkit.ablation import statistics
from sslkit.ablation.statistics import (
    MOST_PAIRS,
    Difference,
    Verdict,
    holm,
    paired_difference,
    pairs_needed,
    power_of,
    verdict,
)

Floats = NDArray[np.float64]

ARM = [0.61, 0.60, 0.73, 0.69]
BASELINE = [0.55, 0.57, 0.66, 0.65]


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where thousands of studies are about p-values and t intervals alone."""
    monkeypatch.setattr(statistics, "RESAMPLES", 2)


def studies(rng: np.random.Generator, count: int, arms: int, seeds: int) -> Floats:
    """Numbers of truly equal arms, the baseline first: a seed moves all arms, and each run has its noise."""
    return rng.normal(0.6, 0.2, (count, 1, seeds)) + rng.normal(0, 0.05, (count, arms + 1, seeds))


def compare(values: Floats, baseline: Floats) -> Difference:
    return paired_difference(values.tolist(), baseline.tolist())


def within(truth: float, interval: tuple[float, float] | None) -> bool:
    assert interval is not None
    return interval[0] <= truth <= interval[1]


# --- the paired difference


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_the_t_test_and_interval_are_scipys(rng: np.random.Generator, n: int) -> None:
    values, baseline = rng.normal(0.3, 1, n), rng.normal(0, 1, n)
    found = compare(values, baseline)
    wanted = stats.ttest_rel(values, baseline)
    assert found.n == n
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(wanted.confidence_interval(0.95)), rel=1e-9)
    assert found.mean == pytest.approx(np.mean(values - baseline))
    assert found.sd == pytest.approx(np.std(values - baseline, ddof=1))


def test_pairs_of_equal_seeds_count_not_the_arms_alone() -> None:
    found = paired_difference(ARM, BASELINE)
    assert found.p is not None
    assert found.p < 0.05 < stats.ttest_ind(ARM, BASELINE).pvalue
    assert paired_difference(ARM[::-1], BASELINE).p != pytest.approx(found.p)


def test_the_bootstrap_is_scipys(rng: np.random.Generator) -> None:
    values = rng.exponential(1, 30)
    found = compare(values, np.zeros(30))
    wanted = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    assert found.bootstrap == pytest.approx(tuple(wanted), abs=0.03 * (wanted.high - wanted.low))


def test_the_bootstrap_is_that_of_all_resamples() -> None:
    d = np.array([0.0, 1.0, 3.0, 10.0, 30.0])
    means = np.mean(list(product(d, repeat=5)), axis=1)  # 5^5
    wanted = np.quantile(means, [0.025, 0.975])
    found = compare(d, np.zeros(5)).bootstrap
    assert found == pytest.approx(tuple(wanted), abs=0.6)  # the neighbours on a coarse grid of means
    assert paired_difference([0, 1, 5], [0, 0, 0]).bootstrap == (0, 5)


def test_the_bootstrap_draws_the_same_each_time_and_touches_no_other_draws(rng: np.random.Generator) -> None:
    values, baseline = rng.normal(size=(2, 30))
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    assert compare(values, baseline) == compare(values, baseline)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]


def test_one_pair_has_a_mean_and_nothing_else() -> None:
    assert paired_difference([0.75], [0.5]) == Difference(1, 0.25, None, None, None, None)


@pytest.mark.parametrize(
    ("values", "baseline", "mean", "p"),
    [
        ([0.5, 0.7], [0.5, 0.7], 0.0, 1.0),
        ([0.75, 1.0], [0.5, 0.75], 0.25, None),
        ([0.3, 0.4, 0.7], [0.2, 0.3, 0.6], 0.1, None),  # differs in the last bit alone
        ([0.1 + 0.2, 0.1 + 0.2], [0.3, 0.3], 0.0, 1.0),
    ],
)
def test_equal_differences_tell_no_spread(
    values: list[float], baseline: list[float], mean: float, p: float | None
) -> None:
    found = paired_difference(values, baseline)
    assert found.mean == pytest.approx(mean)
    assert found == Difference(len(values), found.mean, 0.0, None, None, p)
    if p is None:
        told = f"not known: all {len(values)} seeds differ by exactly the same, which tells no spread"
        assert verdict(found, None, sign=1, arms=1).text == told


def test_equal_arms_measured_on_few_images_are_rarely_told_apart() -> None:
    """Accuracies are multiples of 1 / images, and so two differences are often the same."""
    rng = np.random.default_rng(0)
    studies = rng.binomial(200, 0.8, size=(1000, 2, 2)) / 200  # [studies, arms, seeds]
    found = [paired_difference(arm.tolist(), base.tolist()) for arm, base in studies]
    words = [verdict(d, d.p, sign=1, arms=1).word for d in found]
    assert sum(word in ("better", "worse") for word in words) / len(words) < 0.07


def test_opposite_differences_have_a_mean_of_exactly_0() -> None:
    assert (0.4 - 0.35) + (0.35 - 0.4) == 0 != (0.4 - 0.35) + (0.3 - 0.35)
    found = paired_difference([0.4, 0.3], [0.35, 0.35])
    assert found.mean == 0
    assert found.p == 1


@pytest.mark.parametrize(
    ("values", "baseline", "message"),
    [
        ([1.0, 2.0], [1.0], "2 values and 1 of the baseline"),
        ([], [], "no pair"),
        ([1.0, math.nan], [1.0, 2.0], "finite"),
        ([1.0, 2.0], [1.0, math.inf], "finite"),
    ],
)
def test_what_is_no_pair_is_refused(values: list[float], baseline: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_difference(values, baseline)


# --- Holm


def rejected_by_steps(p_values: Sequence[float], alpha: float) -> set[int]:
    """Holm's procedure as it is defined: the least p of those left, against alpha over how many are left."""
    left = set(range(len(p_values)))
    while left:
        least = min(left, key=lambda i: p_values[i])
        if p_values[least] > alpha / len(left):
            break
        left.remove(least)
    return set(range(len(p_values))) - left


def test_holm_by_hand() -> None:
    # .005 x 4; .01 x 3; .03 x 2; .04 x 1, which may not come before .03
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_what_was_not_tested_does_not_count() -> None:
    assert holm([None, 0.02, None, 0.01]) == [None, 0.02, None, 0.02]
    assert holm([None]) == [None]


def test_holm_rejects_what_its_steps_do(rng: np.random.Generator) -> None:
    for _ in range(200):
        p_values = (rng.random(rng.integers(1, 8)) ** 3).tolist()
        adjusted = holm(p_values)
        for alpha in (0.001, 0.01, 0.05, 0.2, 0.9):
            found = {i for i, p in enumerate(adjusted) if p is not None and p <= alpha}
            assert found == rejected_by_steps(p_values, alpha)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_a_p_value_is_a_probability(p: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm([0.5, p])


# --- power


def simulated_power(rng: np.random.Generator, n: int, effect: float, alpha: float) -> float:
    found = stats.ttest_1samp(rng.normal(effect, 1, (4000, n)), 0, axis=1)
    return float(np.mean(found.pvalue < alpha))


@pytest.mark.parametrize(
    ("n", "effect", "sd"), [(2, 5, 1), (3, -2, 1), (5, 0.3, 0.2), (30, 4, 10), (900, 1, 9)]
)
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_power_is_that_of_scipys_noncentral_t(n: int, effect: float, sd: float, alpha: float) -> None:
    shift, critical = effect / sd * math.sqrt(n), stats.t.ppf(1 - alpha / 2, n - 1)
    wanted = stats.nct.sf(critical, n - 1, shift) + stats.nct.sf(critical, n - 1, -shift)
    assert power_of(n, effect, sd, alpha=alpha) == pytest.approx(wanted, abs=1e-5)


def test_power_without_a_difference_is_the_level() -> None:
    for n in (2, 3, 10, 1000):
        assert power_of(n, 0.0, 1.0, alpha=0.03) == pytest.approx(0.03, abs=1e-5)


def test_power_grows_with_pairs_and_difference_also_where_scipy_has_no_number() -> None:
    for effect in np.logspace(-2, 8, 21):
        powers = [power_of(n, effect, 1.0, alpha=0.005) for n in (2, 3, 5, 12, 100, 1000)]
        assert all(a <= b + 1e-9 for a, b in pairwise(powers))
    assert power_of(3, 1e8, 1.0) == pytest.approx(1)


def test_power_without_noise_is_sure() -> None:
    assert power_of(2, 0.1, 0.0) == 1
    assert power_of(2, 0.0, 0.0) == 0
    with pytest.raises(ValueError, match="at least 2"):
        power_of(1, 1.0, 1.0)


@pytest.mark.parametrize(
    ("effect", "alpha", "wanted"),
    [(2.0, 0.05, 5), (1.5, 0.05, 6), (1.5, 0.01, 9), (1.0, 0.05, 10), (1.0, 0.005, 18)],
)
def test_pairs_needed_are_enough_and_one_fewer_is_not(
    rng: np.random.Generator, effect: float, alpha: float, wanted: int
) -> None:
    n = pairs_needed(effect * 0.02, 0.02, alpha=alpha)
    assert n == wanted
    assert power_of(n - 1, effect, 1.0, alpha=alpha) < 0.8 <= power_of(n, effect, 1.0, alpha=alpha)
    error = 3 * math.sqrt(0.8 * 0.2 / 4000)
    assert simulated_power(rng, n, effect, alpha) >= 0.8 - error
    assert simulated_power(rng, n - 1, effect, alpha) < 0.8 + error
    assert simulated_power(rng, n - 2, effect, alpha) < 0.8 - error


def test_pairs_needed_where_there_is_little_to_find() -> None:
    n = pairs_needed(0.1, 1.0)
    assert n == 787  # (1.96 + 0.84)^2 / 0.1^2 by the normal distribution, and two for the t
    assert pairs_needed(-0.1, 1.0) == n
    assert pairs_needed(0.08, 1.0) is None
    assert pairs_needed(0.0, 1.0) is None
    assert pairs_needed(0.0, 0.0) is None
    assert pairs_needed(0.1, 0.0) == 2
    assert pairs_needed(1e9, 1.0) == 2
    more = pairs_needed(0.1, 1.0, power=0.85)
    assert more is not None
    assert n < more <= MOST_PAIRS


# --- words


def test_words_follow_from_p_and_direction() -> None:
    up, down = paired_difference(ARM, BASELINE), paired_difference(BASELINE, ARM)
    words = [
        verdict(difference, adjusted, sign=sign, arms=1).text
        for difference in (up, down)
        for sign in (1, -1)
        for adjusted in (0.049, 0.05)
    ]
    nothing = words[1]
    assert nothing.startswith("no difference shown with 4 seeds; about ")
    assert words == ["better", nothing, "worse", nothing, "worse", nothing, "better", nothing]
    assert verdict(up, 0.04, sign=1, arms=1, alpha=0.01).word == "no difference shown"


def test_seeds_needed_are_those_of_the_observed_difference_for_so_many_arms() -> None:
    difference = Difference(3, -0.02, 0.02, (-0.1, 0.1), (-0.1, 0.1), 0.2)
    found = verdict(difference, 0.6, sign=1, arms=10)
    assert found == Verdict("no difference shown", 18, difference)
    assert found.text == "no difference shown with 3 seeds; about 18 would be needed"
    assert verdict(difference, 0.2, sign=1, arms=1).seeds_needed == 10


def test_words_where_no_number_of_seeds_is_known() -> None:
    slight, none = Difference(3, 1e-4, 0.02, None, None, 0.9), Difference(3, 0.0, 0.02, None, None, 1.0)
    alone = paired_difference([0.6], [0.5])
    assert verdict(slight, 1.0, sign=1, arms=2).text == (
        "no difference shown with 3 seeds; more than 1,000 would be needed"
    )
    assert verdict(none, 1.0, sign=-1, arms=2).text == "no difference shown with 3 seeds"
    assert verdict(alone, None, sign=1, arms=2) == Verdict("not known", None, alone)
    assert verdict(alone, None, sign=1, arms=2).text == "not known from 1 seed: a study needs two or more"


# --- simulated studies


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("seeds", [3, 10])
def test_the_interval_of_equal_arms_covers_0_in_95_of_100_studies(
    rng: np.random.Generator, seeds: int
) -> None:
    found = [compare(arm, baseline) for baseline, arm in studies(rng, 2000, 1, seeds)]
    assert np.mean([within(0, d.interval) for d in found]) == pytest.approx(0.95, abs=0.015)
    assert np.mean([d.p is not None and d.p < 0.05 for d in found]) == pytest.approx(0.05, abs=0.015)


def test_the_bootstrap_of_three_seeds_is_too_narrow(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 2000)
    found = [compare(arm, baseline) for baseline, arm in studies(rng, 1000, 1, 3)]
    covered = np.mean([within(0, d.bootstrap) for d in found])
    assert covered < 0.85
    assert covered == pytest.approx(0.75, abs=0.04)  # not all three on one side of 0: 1 - 2 / 2^3


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("seeds", [3, 10])
def test_five_equal_arms_are_seldom_told_apart(rng: np.random.Generator, seeds: int) -> None:
    told_apart = uncorrected = 0
    for baseline, *arms in studies(rng, 400, 5, seeds):
        found = [compare(arm, baseline) for arm in arms]
        adjusted = [p for p in holm([d.p for d in found]) if p is not None]
        first = int(np.argmin(adjusted))  # if any arm is told apart, this one is
        said = verdict(found[first], adjusted[first], sign=1, arms=5)
        told_apart += said.word in ("better", "worse")
        uncorrected += any(d.p is not None and d.p < 0.05 for d in found)
        if said.word == "no difference shown":
            assert said.seeds_needed is None or said.seeds_needed > seeds
    assert told_apart / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert uncorrected / 400 > 0.1  # what Holm is for


@pytest.mark.usefixtures("few_resamples")
def test_a_known_difference_is_found_with_the_promised_power(rng: np.random.Generator) -> None:
    effect, sd = 0.1, 0.05 * math.sqrt(2)  # of a difference of two runs
    n = pairs_needed(effect, sd)
    assert n is not None
    words = []
    for i, (baseline, arm) in enumerate(studies(rng, 1000, 1, n)):
        sign = (1, -1)[i % 2]
        difference = compare(arm + sign * effect, baseline)
        words.append(verdict(difference, holm([difference.p])[0], sign=sign, arms=1).word)
    error = 3 * math.sqrt(0.8 * 0.2 / 1000)
    assert words.count("better") / 1000 >= 0.8 - error
    assert words.count("better") / 1000 == pytest.approx(power_of(n, effect, sd), abs=error)
    assert "worse" not in words
