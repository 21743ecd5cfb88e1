"""DINO's loss against the paper's formula in float64, and against lightly's numbers."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import dino as oracle
from oracles import make
from tolerances import assert_close
from torch import Tensor

from sslkit.core.schedules import linear_warmup
from sslkit.losses import dino as dino_module
from sslkit.losses.dino import dino_loss, teacher_entropies, teacher_entropy_and_kl

LIGHTLY: dict[str, Any] = json.loads(Path(make.OUT).read_text(encoding="utf-8"))


def outputs(
    views: int, images: int, prototypes: int, *, teachers: int = 2, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    student, teacher = (
        rng.normal(size=(views, images, prototypes)),
        rng.normal(size=(teachers, images, prototypes)),
    )
    return torch.tensor(student), torch.tensor(teacher), torch.tensor(rng.normal(size=prototypes) * 0.3)


def numbers(first: Tensor, second: Tensor, center: Tensor) -> tuple[oracle.Array, oracle.Array, oracle.Array]:
    return first.double().numpy(), second.double().numpy(), center.double().numpy()


def gradient_of(
    student: Tensor, teacher: Tensor, center: Tensor, teacher_temperature: float
) -> tuple[Tensor, Tensor]:
    leaf = student.clone().requires_grad_(True)
    loss = dino_loss(leaf, teacher, center, student_temperature=0.1, teacher_temperature=teacher_temperature)
    return loss.detach(), torch.autograd.grad(loss, [leaf])[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("prototypes", [16, 65536])
@pytest.mark.parametrize("views", [2, 10])
def test_value_and_gradient_are_the_papers(dtype: torch.dtype, prototypes: int, views: int) -> None:
    center = torch.zeros(prototypes, dtype=dtype)
    for step, temperature in enumerate(oracle.temperature_schedule(4, 0.04, 0.07, 3)):
        student, teacher, _ = (x.to(dtype) for x in outputs(views, 2, prototypes, seed=step))
        inputs = numbers(student, teacher, center)
        loss, gradient = gradient_of(student, teacher, center, float(temperature))
        assert loss.dtype == gradient.dtype == dtype
        assert_close(loss, oracle.dino_loss(*inputs, 0.1, float(temperature)))
        assert_close(gradient, oracle.dino_gradient(*inputs, 0.1, float(temperature)), scale=50)
        center = torch.tensor(oracle.new_center(inputs[2], inputs[1], 0.9), dtype=dtype)


@pytest.mark.parametrize("case", LIGHTLY["dino"])
def test_value_and_gradient_are_lightlys(case: str) -> None:
    prototypes, views = (int(n) for n in case.split("x"))
    t = make.TEMPERATURES
    center = torch.zeros(prototypes, dtype=torch.float64)
    for step, wanted in enumerate(LIGHTLY["dino"][case]):
        temperature = wanted["teacher_temperature"]  # lightly holds it in float32
        ours = linear_warmup(step, int(t["warmup_epochs"]), start=t["start"], end=t["end"])
        assert ours == pytest.approx(temperature, rel=1e-6)
        student, teacher = (torch.tensor(x) for x in make.dino_inputs(prototypes, views, step))
        loss, gradient = gradient_of(student, teacher, center, temperature)
        assert_close(loss, wanted["loss"])
        assert_close(gradient.norm(), wanted["gradient_norm"])
        assert_close(
            (gradient * torch.tensor(make.probe(prototypes, views))).sum(), wanted["gradient_on_probe"]
        )
        assert_close(gradient[:, 0, :2], wanted["gradient_corner"])
        center = center.lerp(teacher.mean((0, 1)), 1 - t["center_momentum"])
        assert_close(center.norm(), wanted["center_norm_after"])


@pytest.mark.parametrize(("teachers", "views"), [(1, 2), (1, 4), (2, 1), (3, 3), (3, 5), (4, 2)])
def test_any_number_of_views(teachers: int, views: int) -> None:
    student, teacher, center = outputs(views, 3, 7, teachers=teachers)
    inputs = numbers(student, teacher, center)
    loss, gradient = gradient_of(student, teacher, center, 0.05)
    assert_close(loss, oracle.dino_loss(*inputs, 0.1, 0.05))
    assert_close(gradient, oracle.dino_gradient(*inputs, 0.1, 0.05))


@pytest.mark.parametrize("block", [1, 40, 1000])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    student, teacher, center = outputs(4, 5, 6)
    whole = gradient_of(student, teacher, center, 0.04)
    entropies = teacher_entropies(teacher, center, teacher_temperature=0.04)
    monkeypatch.setattr(dino_module, "CPU_BLOCK", block)
    for got, wanted in zip(gradient_of(student, teacher, center, 0.04), whole, strict=True):
        assert_close(got, wanted)
    for got, wanted in zip(
        teacher_entropies(teacher, center, teacher_temperature=0.04), entropies, strict=True
    ):
        assert_close(got, wanted)


def test_the_gradient_is_that_of_the_value_and_can_be_asked_for_twice() -> None:
    student, teacher, center = outputs(3, 2, 5)
    student = (student * 0.1).requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda s: dino_loss(s, teacher, center, student_temperature=0.5, teacher_temperature=0.3), [student]
    )


def test_teacher_and_centre_get_no_gradient() -> None:
    student, teacher, center = (x.requires_grad_(True) for x in outputs(3, 2, 5))
    dino_loss(student, teacher, center, student_temperature=0.1, teacher_temperature=0.04).backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert center.grad is None


def test_a_one_hot_teacher() -> None:
    student, teacher, center = outputs(4, 3, 9)
    inputs = numbers(student, teacher, center)
    loss, gradient = gradient_of(student, teacher, center, 0.0)
    assert_close(loss, oracle.dino_loss(*inputs, 0.1, 0.0))
    assert_close(gradient, oracle.dino_gradient(*inputs, 0.1, 0.0))


def test_a_uniform_student_costs_ln_k() -> None:
    _, teacher, center = outputs(4, 3, 16)
    loss, _ = gradient_of(torch.zeros(4, 3, 16, dtype=torch.float64), teacher, center, 0.04)
    assert float(loss) == pytest.approx(math.log(16))


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_logits_stay_finite(size: float) -> None:
    student, teacher, center = (x.float() for x in outputs(4, 3, 16))
    loss, gradient = gradient_of(student * size, teacher * size, center, 0.04)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_a_small_probability_does_not_drown_in_its_own_view() -> None:
    """View 0's student is absurdly wrong about view 0's teacher, which is not one of its targets."""
    student = torch.tensor([[[0.0, 1e6]], [[0.0, 0.0]]])
    teacher = torch.tensor([[[0.013, 0.0]], [[0.0, 0.2]]])
    loss, _ = gradient_of(student, teacher, torch.zeros(2), 0.01)
    wanted = oracle.dino_loss(student.double().numpy(), teacher.double().numpy(), np.zeros(2), 0.1, 0.01)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_autocast_does_not_lower_the_precision() -> None:
    student, teacher, center = (x.float() for x in outputs(10, 4, 64))
    plain = gradient_of(student, teacher, center, 0.04)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gradient_of(student, teacher, center, 0.04)
        entropy, kl = teacher_entropy_and_kl(
            teacher[0], student[1], center, teacher_temperature=0.04, student_temperature=0.1
        )
    assert inside[0].dtype == entropy.dtype == kl.dtype == torch.float32
    for got, wanted in zip(inside, plain, strict=True):
        assert torch.equal(got, wanted)


def test_half_precision_inputs_give_a_float32_loss() -> None:
    student, teacher, center = outputs(4, 3, 64)
    low = student.bfloat16(), teacher.bfloat16(), center.float()
    loss, gradient = gradient_of(*low, 0.04)
    assert loss.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    wanted = gradient_of(low[0].double(), low[1].double(), low[2].double(), 0.04)
    assert_close(loss, wanted[0])
    assert_close(gradient, wanted[1])


def test_a_large_head_needs_little_memory() -> None:
    """Nothing of the student's size but the student itself is kept for the backward pass."""
    student, teacher, center = (x.float() for x in outputs(10, 4, 512))
    student.requires_grad_(True)
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        dino_loss(student, teacher, center, student_temperature=0.1, teacher_temperature=0.04)
    sizes = [x.numel() for x in kept if x.data_ptr() != student.data_ptr()]
    assert sum(sizes) <= teacher.numel() + center.numel()


@pytest.mark.parametrize("temperatures", [(0.1, -0.01), (0.0, 0.04), (-0.1, 0.04), (0.1, math.nan)])
def test_impossible_temperatures(temperatures: tuple[float, float]) -> None:
    student, teacher, center = outputs(2, 2, 4)
    with pytest.raises(ValueError, match="temperature must be"):
        dino_loss(
            student, teacher, center, student_temperature=temperatures[0], teacher_temperature=temperatures[1]
        )
    with pytest.raises(ValueError, match="temperature must be"):
        teacher_entropy_and_kl(
            teacher[0],
            student[0],
            center,
            student_temperature=temperatures[0],
            teacher_temperature=temperatures[1],
        )


@pytest.mark.parametrize(
    ("student", "teacher", "center", "message"),
    [
        ((2, 3, 4), (2, 3, 5), (4,), "expected student"),
        ((2, 3, 4), (2, 2, 4), (4,), "expected student"),
        ((3, 4), (3, 4), (4,), "expected student"),
        ((2, 3, 4), (2, 3, 4), (1, 4), "one number per prototype"),
        ((1, 3, 4), (1, 3, 4), (4,), "no pair"),
    ],
)
def test_shapes_that_do_not_fit(
    student: tuple[int, ...], teacher: tuple[int, ...], center: tuple[int, ...], message: str
) -> None:
    tensors = [torch.zeros(shape) for shape in (student, teacher, center)]
    with pytest.raises(ValueError, match=message):
        dino_loss(*tensors, student_temperature=0.1, teacher_temperature=0.04)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("temperature", [0.0, 0.04, 0.5])
def test_entropy_and_kl_are_the_papers(dtype: torch.dtype, temperature: float) -> None:
    student, teacher, center = (x.to(dtype) for x in outputs(1, 5, 32, teachers=1))
    got = teacher_entropy_and_kl(
        teacher[0], student[0], center, teacher_temperature=temperature, student_temperature=0.1
    )
    inputs = numbers(teacher[0], student[0], center)
    for ours, wanted in zip(got, oracle.entropy_and_kl(*inputs, temperature, 0.1), strict=True):
        assert ours.dtype == dtype
        assert_close(ours, wanted, scale=10)


def test_the_loss_is_entropy_plus_kl() -> None:
    student, teacher, center = outputs(5, 4, 32)
    loss, _ = gradient_of(student, teacher, center, 0.2)
    parts = []
    for g, v in ((g, v) for g in range(2) for v in range(5) if v != g):
        entropy, kl = teacher_entropy_and_kl(
            teacher[g], student[v], center, teacher_temperature=0.2, student_temperature=0.1
        )
        parts.append((entropy + kl).mean())
    assert_close(loss, torch.stack(parts).mean())


@pytest.mark.parametrize("temperature", [0.0, 0.04, 0.5])
def test_a_steps_entropies(temperature: float) -> None:
    _, teacher, center = outputs(1, 5, 32, teachers=2)
    p = oracle.teacher_distribution(teacher.numpy(), center.numpy(), temperature)
    mean = p.mean((0, 1))
    entropy, of_mean = teacher_entropies(teacher, center, teacher_temperature=temperature)
    wanted = -(p * np.log(np.where(p > 0, p, 1))).sum(-1).mean()
    assert_close(entropy, wanted)
    assert_close(of_mean, -(mean * np.log(np.where(mean > 0, mean, 1))).sum())


def test_a_collapsed_pair_has_no_kl() -> None:
    logits = torch.zeros(3, 8)
    entropy, kl = teacher_entropy_and_kl(
        logits, logits, torch.zeros(8), teacher_temperature=0.04, student_temperature=0.1
    )
    assert_close(entropy, np.full(3, math.log(8)))
    assert_close(kl, np.zeros(3))


def test_entropy_of_extreme_logits_is_finite() -> None:
    logits = torch.tensor([[1e30, -1e30, 0.0]])
    entropy, kl = teacher_entropy_and_kl(
        logits, logits, torch.zeros(3), teacher_temperature=0.04, student_temperature=0.1
    )
    assert float(entropy) == 0
    assert float(kl) == 0
