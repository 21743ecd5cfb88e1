"""BYOL's loss against the paper's formula in float64, and against lightly's numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import byol as oracle
from oracles import make
from tolerances import assert_close
from torch import Tensor

from sslkit.losses.byol import byol_loss

LIGHTLY: dict[str, Any] = json.loads(Path(make.OUT).read_text(encoding="utf-8"))["negative_cosine"]


def rows(batch: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions and targets [B, 5] of many lengths."""
    rng = np.random.default_rng(seed)
    prediction, target = rng.normal(size=(2, batch, 5)) * rng.uniform(0.1, 10, size=(2, batch, 1))
    return torch.tensor(prediction), torch.tensor(target)


def gradient_of(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    leaf = prediction.clone().requires_grad_(True)
    loss = byol_loss(leaf, target)
    return loss.detach(), torch.autograd.grad(loss, [leaf])[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_value_and_gradient_are_the_papers(dtype: torch.dtype, batch: int) -> None:
    for seed in range(3):
        prediction, target = (x.to(dtype) for x in rows(batch, seed=seed))
        loss, gradient = gradient_of(prediction, target)
        assert loss.dtype == gradient.dtype == dtype
        assert loss.shape == ()
        inputs = prediction.double().numpy(), target.double().numpy()
        assert_close(loss, oracle.byol_loss(*inputs))
        assert_close(gradient, oracle.byol_gradient(*inputs), scale=10)


@pytest.mark.parametrize("batch", make.PAIR_BATCHES)
def test_value_and_gradient_are_four_times_lightlys(batch: int) -> None:
    """lightly leaves out the constant 2 of each direction, the factor 2, and takes the directions' mean."""
    wanted = LIGHTLY[str(batch)]
    first, second = (torch.tensor(x) for x in make.pair_inputs(batch))
    losses, gradients = zip(gradient_of(first, second), gradient_of(second, first), strict=True)
    assert_close(losses[0], 2 + 2 * wanted["one_way"])
    assert_close(losses[0] + losses[1], 4 + 4 * wanted["symmetrised"])
    for gradient, name in zip(gradients, ("first_gradient", "second_gradient"), strict=True):
        for key, value in make.summary(gradient).items():
            assert_close(torch.tensor(value, dtype=torch.float64), 4 * np.asarray(wanted[name][key]))


def test_the_gradient_is_that_of_the_value() -> None:
    prediction, target = rows(3)
    assert torch.autograd.gradcheck(lambda x: byol_loss(x, target), [prediction.requires_grad_(True)])


def test_the_target_gets_no_gradient() -> None:
    prediction, target = (x.requires_grad_(True) for x in rows(3))
    byol_loss(prediction, target).backward()
    assert prediction.grad is not None
    assert target.grad is None


def test_only_directions_count() -> None:
    prediction, target = rows(7)
    loss, gradient = gradient_of(prediction, target)
    scaled, scaled_gradient = gradient_of(10 * prediction, 0.1 * target)
    assert_close(scaled, loss)
    assert_close(10 * scaled_gradient, gradient)


@pytest.mark.parametrize(("factor", "wanted"), [(3.0, 0.0), (-3.0, 4.0)])
def test_the_ends_of_its_range(factor: float, wanted: float) -> None:
    _, target = rows(7)
    loss, gradient = gradient_of(factor * target, target)
    assert_close(loss, wanted)
    assert_close(gradient, np.zeros_like(gradient))


@pytest.mark.parametrize("which", ["prediction", "target", "both"])
def test_zero_vectors_stay_finite(which: str) -> None:
    prediction, target = (x.float() for x in rows(2))
    prediction[0] *= which == "target"
    target[0] *= which == "prediction"
    loss, gradient = gradient_of(prediction, target)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    of_the_other = gradient_of(prediction[1:], target[1:])[0]
    assert_close(loss, 1 + of_the_other / 2)  # nothing is as far from everything as a right angle: 2 - 0


def test_autocast_does_not_lower_the_precision() -> None:
    prediction, target = (x.float() for x in rows(7))
    plain = gradient_of(prediction, target)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gradient_of(prediction, target)
    for got, wanted in zip(inside, plain, strict=True):
        assert got.dtype == torch.float32
        assert torch.equal(got, wanted)


def test_half_precision_inputs_give_a_float32_loss() -> None:
    prediction, target = (x.bfloat16() for x in rows(7))
    loss, gradient = gradient_of(prediction, target)
    assert loss.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    wanted = gradient_of(prediction.double(), target.double())
    assert_close(loss, wanted[0])
    assert_close(gradient, wanted[1])


@pytest.mark.parametrize(
    ("prediction", "target", "shapes"),
    [
        ((2, 3), (2, 4), r"prediction \[2, 3\], target \[2, 4\]"),
        ((2, 3), (1, 3), r"prediction \[2, 3\], target \[1, 3\]"),
        ((3,), (3,), r"prediction \[3\], target \[3\]"),
        ((2, 2, 3), (2, 2, 3), r"prediction \[2, 2, 3\], target \[2, 2, 3\]"),
    ],
)
def test_shapes_that_do_not_fit(prediction: tuple[int, ...], target: tuple[int, ...], shapes: str) -> None:
    with pytest.raises(ValueError, match=rf"expected prediction and target \[B, D\], got {shapes}"):
        byol_loss(torch.zeros(prediction), torch.zeros(target))
