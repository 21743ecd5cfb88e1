"""The verdicts of the paper's figure 7."""

import math

import pytest

from sslkit.train.health import Watch

K = 100
FULL = math.log(K)


def judged(step: int = 200, **metrics: float) -> str:
    watch = Watch(K)
    for _ in range(30):
        watch.see({"step": step, "feature_std": 0.5, **metrics})
    return watch.verdict().verdict


@pytest.mark.parametrize(
    ("entropy", "kl", "verdict"),
    [
        (FULL, 0.0, "uniform collapse"),
        (0.0, 0.0, "one-dimension collapse"),
        (0.5 * FULL, 1.0, "healthy"),
        (FULL, 0.5, "healthy"),
    ],
)
def test_entropy_and_kl_tell_the_collapse(entropy: float, kl: float, verdict: str) -> None:
    assert judged(teacher_entropy=entropy, kl=kl) == verdict


def test_features_that_are_one_point_are_dead() -> None:
    assert judged(feature_std=0.001, teacher_entropy=1.0, kl=1.0) == "dead features"


def test_a_few_steps_tell_nothing() -> None:
    assert judged(step=50, teacher_entropy=FULL, kl=0.0) == "not learning yet"


def test_a_method_without_prototypes_is_judged_by_its_features() -> None:
    watch = Watch(None)
    watch.see({"step": 500, "feature_std": 0.5})
    assert watch.verdict().verdict == "healthy"
