"""The teacher's moving average."""

import pytest
import torch
from tolerances import assert_close
from torch import nn

from sslkit.core.ema import ema_


def test_it_is_the_weighted_mean_in_place() -> None:
    targets, sources = ([torch.randn(3, 2, dtype=torch.float64), torch.randn(4).double()] for _ in range(2))
    wanted = [0.9 * t + 0.1 * s for t, s in zip(targets, sources, strict=True)]
    ema_(targets, sources, 0.9)
    for got, value in zip(targets, wanted, strict=True):
        assert_close(got, value)


def test_the_ends_are_exact() -> None:
    target, source = torch.randn(100), torch.randn(100)
    before = target.clone()
    ema_([target], [source], 1.0)
    assert torch.equal(target, before)
    ema_([target], [source], 0.0)
    assert torch.equal(target, source)


def test_parameters_take_no_gradient_from_it() -> None:
    teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
    ema_(teacher.parameters(), student.parameters(), 0.5)
    assert all(p.is_leaf and p.grad_fn is None for p in teacher.parameters())


def test_nothing_to_average_is_no_error() -> None:
    ema_([], [], 0.5)


@pytest.mark.parametrize("momentum", [-0.1, 1.1])
def test_momentum_out_of_range(momentum: float) -> None:
    with pytest.raises(ValueError, match="momentum"):
        ema_([torch.zeros(1)], [torch.ones(1)], momentum)


def test_different_numbers_of_tensors() -> None:
    with pytest.raises(ValueError, match="2 targets but 1"):
        ema_([torch.zeros(1), torch.zeros(1)], [torch.ones(1)], 0.5)
