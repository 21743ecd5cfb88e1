"""The two-way choice against its formula in float64."""

import math

import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import Tensor

from sslkit.losses.patch import choice_accuracy, patch_choice_loss


def formula(own: list[float], other: list[float]) -> tuple[float, list[float], list[float]]:
    """Mean of -log(e^own / (e^own + e^other)), and its gradients."""
    count, total, by_own, by_other = len(own), 0.0, [], []
    for a, b in zip(own, other, strict=True):
        share = math.exp(a) / (math.exp(a) + math.exp(b))
        wrong = math.exp(b) / (math.exp(a) + math.exp(b))
        total += -math.log(share) if share < 0.5 else -math.log1p(-wrong)
        by_own.append(-wrong / count)
        by_other.append(wrong / count)
    return total / count, by_own, by_other


def gradients_of(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    leaves = [x.clone().requires_grad_(True) for x in (own, other)]
    loss = patch_choice_loss(*leaves)
    by_own, by_other = torch.autograd.grad(loss, leaves)
    return loss.detach(), by_own, by_other


def scores(count: int, *, size: float = 3.0) -> tuple[Tensor, Tensor]:
    own, other = np.random.default_rng(count).normal(size=(2, count)) * size
    return torch.tensor(own), torch.tensor(other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("size", [0.1, 3.0, 30.0])
def test_value_and_gradient_are_the_formulas(dtype: torch.dtype, count: int, size: float) -> None:
    own, other = (x.to(dtype) for x in scores(count, size=size))
    got = gradients_of(own, other)
    assert got[0].shape == ()
    for ours, wanted in zip(got, formula(own.tolist(), other.tolist()), strict=True):
        assert ours.dtype == dtype
        assert_close(ours, np.asarray(wanted))


def test_the_first_candidate_is_the_right_one() -> None:
    large, small = torch.full((3,), 5.0), torch.full((3,), -5.0)
    assert patch_choice_loss(large, small) < 1e-4
    assert patch_choice_loss(small, large) > 9


def test_scores_that_tell_nothing_cost_ln_2() -> None:
    own, _ = scores(7)
    assert_close(patch_choice_loss(own, own), math.log(2))


def test_extreme_scores_stay_finite() -> None:
    huge = torch.tensor([1e30, -1e30, 0.0])
    for x in gradients_of(huge, -huge):
        assert x.isfinite().all()


def test_low_precision_is_raised() -> None:
    own, other = (x.bfloat16() for x in scores(7))
    plain = gradients_of(own.float(), other.float())
    loss, by_own, _ = gradients_of(own, other)
    assert loss.dtype == torch.float32
    assert by_own.dtype == torch.bfloat16
    assert_close(loss, plain[0])
    with torch.autocast("cpu", torch.bfloat16):
        inside = gradients_of(own.float(), other.float())
    for got, wanted in zip(inside, plain, strict=True):
        assert torch.equal(got, wanted)


def test_accuracy_counts_a_tie_as_half() -> None:
    own, other = torch.tensor([2.0, 1.0, 0.0, 5.0]), torch.tensor([1.0, 1.0, 3.0, 4.0])
    assert float(choice_accuracy(own, other)) == 2.5 / 4
    assert float(choice_accuracy(own, own)) == 0.5
    assert not choice_accuracy(own.requires_grad_(True), other).requires_grad
