"""Each value against the whole arrays that the authors build."""

import numpy as np
import pytest
from oracles import dino as oracle

from sslkit.core.schedules import cosine, linear_warmup


@pytest.mark.parametrize(
    ("total", "start", "end", "warmup", "warmup_start"),
    [
        (1000, 5e-4, 1e-6, 100, 0.0),
        (1000, 0.04, 0.4, 0, 0.0),
        (777, 0.996, 1.0, 0, 0.0),
        (30, 1.0, 0.1, 7, 0.3),
        (30, 1.0, 0.1, 1, 0.3),
        (5, 1.0, 0.1, 5, 0.3),
    ],
)
def test_cosine_is_the_authors(
    total: int, start: float, end: float, warmup: int, warmup_start: float
) -> None:
    wanted = oracle.cosine_schedule(total, start, end, warmup, warmup_start)
    got = [
        cosine(step, total, start=start, end=end, warmup_steps=warmup, warmup_start=warmup_start)
        for step in range(total)
    ]
    np.testing.assert_allclose(got, wanted, rtol=1e-14, atol=0)
    np.testing.assert_array_equal(got[:warmup], wanted[:warmup])


def test_cosine_starts_at_zero_and_stops_short_of_its_end() -> None:
    values = [cosine(step, 50, start=1.0, end=0.5, warmup_steps=10) for step in range(50)]
    assert values[0] == 0.0
    assert values[9] == values[10] == 1.0
    assert 0.5 < values[-1] < 0.51


@pytest.mark.parametrize("step", [50, 51, 500])
def test_cosine_stays_at_its_end(step: int) -> None:
    assert cosine(step, 50, start=1.0, end=0.5, warmup_steps=10) == 0.5


@pytest.mark.parametrize(("epochs", "warmup"), [(40, 30), (10, 0), (10, 1), (10, 2), (3, 3)])
def test_linear_warmup_is_the_authors(epochs: int, warmup: int) -> None:
    wanted = oracle.temperature_schedule(epochs, 0.04, 0.07, warmup)
    got = [linear_warmup(epoch, warmup, start=0.04, end=0.07) for epoch in range(epochs)]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("step", "warmup"), [(-1, 0), (0, -1)])
def test_negative_steps_are_refused(step: int, warmup: int) -> None:
    with pytest.raises(ValueError, match="must be >= 0"):
        cosine(step, 10, start=1.0, end=0.0, warmup_steps=warmup)
    with pytest.raises(ValueError, match="must be >= 0"):
        linear_warmup(step, warmup, start=1.0, end=0.0)
