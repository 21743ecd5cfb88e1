"""The losses against loops in float64 that are written from the papers, and against numbers by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from sslkit_ibot import koleo_loss, patch_loss, sinkhorn_knopp

Array = npt.NDArray[np.float64]
EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- masked patches ----------------------------------------------------------------------------------------


def patch_oracle(student: Array, targets: Array, images: list[list[int]], temperature: float) -> float:
    """Zhou et al. 2022: for each image the mean over its masked patches of -sum P_teacher log P_student."""
    total = 0.0
    for rows in images:
        for row in rows:
            scaled = student[row] / temperature
            log_q = scaled - math.log(sum(math.exp(x) for x in scaled))
            total -= sum(targets[row] * log_q) / len(rows)
    return total / len(images)


def test_patch_loss_is_the_papers() -> None:
    """Three images: two masked patches, none, and three."""
    student, images = drawn(5, 7).requires_grad_(), [[0, 1], [], [2, 3, 4]]
    targets = drawn(5, 7, seed=1).softmax(-1)
    weights = torch.tensor([1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9], dtype=torch.float64)
    loss = patch_loss(student, targets, weights, student_temperature=0.3)
    np.testing.assert_allclose(
        loss.item(), patch_oracle(student.detach().numpy(), targets.numpy(), images, 0.3), **EXACT
    )
    loss.backward()
    q = (student.detach() / 0.3).softmax(-1)
    assert student.grad is not None
    np.testing.assert_allclose(student.grad, weights[:, None] * (q - targets) / 0.3, **EXACT)


def test_patch_loss_by_hand() -> None:
    """A student that cannot tell pays ln K; one that is sure and right pays nothing."""
    targets = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    weights = torch.tensor([0.5, 0.5])
    unsure, sure = torch.zeros(2, 4), 100 * targets
    assert patch_loss(unsure, targets, weights, student_temperature=0.1).item() == pytest.approx(math.log(4))
    assert patch_loss(sure, targets, weights, student_temperature=0.1).item() == pytest.approx(0, abs=1e-6)
    half_sure = torch.tensor([[math.log(3), 0.0, 0.0, 0.0], [0.0, math.log(3), 0.0, 0.0]])  # 3 / 6 right
    assert patch_loss(half_sure, targets, weights, student_temperature=1).item() == pytest.approx(math.log(2))


def test_no_masked_patch_costs_nothing_and_has_a_gradient_of_zero() -> None:
    student = torch.zeros(0, 4, requires_grad=True)
    loss = patch_loss(student, torch.zeros(0, 4), torch.zeros(0), student_temperature=0.1)
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None


def test_under_bf16_losses_are_computed_in_float32() -> None:
    student, features = drawn(6, 5).float(), drawn(6, 5, seed=2).float()
    targets, weights = drawn(6, 5, seed=1).softmax(-1).float(), torch.full((6,), 1 / 6)
    with torch.autocast("cpu", torch.bfloat16):
        inside = patch_loss(student, targets, weights, student_temperature=0.1), koleo_loss(features)
    outside = patch_loss(student, targets, weights, student_temperature=0.1), koleo_loss(features)
    assert inside == outside


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: patch_loss(x, x, x[:, 0], student_temperature=0),
            "student_temperature must be > 0, got 0",
        ),
        (lambda x: patch_loss(x, x[:2], x[:, 0], student_temperature=0.1), r"got \[3, 4\], \[2, 4\]"),
        (lambda x: patch_loss(x, x, x[:2, 0], student_temperature=0.1), r"and \[2\]"),
        (lambda x: sinkhorn_knopp(x, teacher_temperature=0), "teacher_temperature must be > 0"),
        (
            lambda x: sinkhorn_knopp(x, teacher_temperature=0.1, iterations=0),
            "iterations >= 1, got 0.1 and 0",
        ),
        (lambda x: koleo_loss(x[:1]), "two images or more, got 1"),
    ],
)
def test_what_cannot_be(call: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(3, 4))


# --- Sinkhorn-Knopp ----------------------------------------------------------------------------------------


def sinkhorn_oracle(logits: Array, temperature: float, iterations: int) -> Array:
    """As Caron et al. 2020 write it: rows of Q are prototypes, columns are samples."""
    q = np.exp(logits / temperature).T
    q /= q.sum()
    prototypes, samples = q.shape
    for _ in range(iterations):
        for k in range(prototypes):
            q[k] = q[k] / q[k].sum() / prototypes
        for b in range(samples):
            q[:, b] = q[:, b] / q[:, b].sum() / samples
    return np.asarray((q * samples).T)


@pytest.mark.parametrize("iterations", [1, 3])
def test_sinkhorn_knopp_is_the_papers(iterations: int) -> None:
    logits = drawn(9, 4)
    got = sinkhorn_knopp(logits, teacher_temperature=0.2, iterations=iterations)
    np.testing.assert_allclose(got, sinkhorn_oracle(logits.numpy(), 0.2, iterations), **EXACT)
    np.testing.assert_allclose(got.sum(1), np.ones(9), **EXACT)


def test_in_the_end_all_prototypes_have_the_same_share() -> None:
    shares = sinkhorn_knopp(drawn(12, 4), teacher_temperature=0.5, iterations=200).sum(0)
    np.testing.assert_allclose(shares, np.full(4, 3.0), rtol=1e-6)


def test_sinkhorn_knopp_by_hand() -> None:
    """What all rows prefer alike tells nothing: each gets every prototype alike."""
    alike = torch.tensor([[5.0, 0.0], [5.0, 0.0]])
    assert torch.allclose(sinkhorn_knopp(alike, teacher_temperature=1), torch.full((2, 2), 0.5))
    split = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])  # balanced as it is: a softmax
    wanted = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    assert torch.allclose(sinkhorn_knopp(split, teacher_temperature=1), wanted)


def test_sinkhorn_knopp_does_not_overflow() -> None:
    targets = sinkhorn_knopp(1000 * drawn(6, 3).float(), teacher_temperature=0.01)
    assert targets.isfinite().all()
    assert sinkhorn_knopp(torch.zeros(0, 3), teacher_temperature=0.1).shape == (0, 3)


# --- KoLeo -------------------------------------------------------------------------------------------------


def koleo_oracle(features: Array, eps: float) -> float:
    """Sablayrolles et al. 2019: minus the mean log distance to the nearest other point of the sphere."""
    points = [x / math.sqrt(sum(x**2)) for x in features]
    total = 0.0
    for i, point in enumerate(points):
        others = [other for j, other in enumerate(points) if j != i]
        nearest = min(others, key=lambda other: math.dist(point, other))
        total -= math.log(math.sqrt(sum((point - nearest + eps) ** 2)) + eps)
    return total / len(points)


@pytest.mark.parametrize("eps", [1e-8, 1e-3])
def test_koleo_is_a_loop_over_nearest_neighbours(eps: float) -> None:
    features = drawn(11, 4)
    np.testing.assert_allclose(koleo_loss(features, eps=eps), koleo_oracle(features.numpy(), eps), rtol=1e-9)


def test_koleo_by_hand() -> None:
    """Two points a right angle apart are the root of 2 apart, opposite ones 2; lengths do not matter."""
    right = torch.tensor([[3.0, 0.0], [0.0, 0.1]])
    opposite = torch.tensor([[3.0, 0.0], [-0.1, 0.0]])
    assert koleo_loss(right).item() == pytest.approx(-math.log(2) / 2, abs=1e-6)
    assert koleo_loss(opposite).item() == pytest.approx(-math.log(2), abs=1e-6)


def test_koleo_pushes_the_nearest_apart() -> None:
    points = drawn(8, 3).requires_grad_()

    def smallest() -> float:
        unit = torch.nn.functional.normalize(points.detach(), dim=1)
        return torch.pdist(unit).min().item()

    before, optimizer = smallest(), torch.optim.SGD([points], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        koleo_loss(points).backward()
        optimizer.step()
    assert before < 0.5
    assert smallest() > 2 * before


def test_equal_features_give_a_large_number_and_no_infinite_one() -> None:
    twins = torch.ones(2, 3, requires_grad=True)
    loss = koleo_loss(twins)
    loss.backward()
    assert 15 < loss.item() < -math.log(1e-8)
    assert twins.grad is not None
    assert twins.grad.isfinite().all()


def test_neighbours_among_all_ranks_make_the_loss_and_the_gradient_of_the_whole() -> None:
    whole, parts = drawn(10, 4).requires_grad_(), drawn(10, 4).requires_grad_()
    wanted = koleo_loss(whole)
    wanted.backward()
    halves = [koleo_loss(parts[rows], parts, torch.arange(10)[rows]) for rows in (slice(0, 5), slice(5, 10))]
    got = torch.stack(halves).mean()
    got.backward()
    assert whole.grad is not None
    assert parts.grad is not None
    np.testing.assert_allclose(got.item(), wanted.item(), **EXACT)
    np.testing.assert_allclose(parts.grad, whole.grad, **EXACT)
