"""DINO's loss (Caron et al. 2021, equations 1 to 3) and what it says about collapse (their figure 7)."""

# G teacher (global) views, V student views (the global ones first), B images, K prototypes, T their pairs

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sslkit.losses.dtype import raised, raised_dtype

CPU_BLOCK = 2**18
"""Numbers worked on at a time on a CPU: few enough to stay in its cache."""
DEVICE_BLOCK = 2**27
"""The same on an accelerator, where it bounds the memory."""


def dino_loss(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    *,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """Cross-entropy from each teacher view to each student view but its own, averaged over pairs and images.

    Computed in float32 whatever autocast says (float64 stays float64), without a loop over pairs, and without
    keeping anything but its inputs for the backward pass. The teacher and the centre get no gradient.

    Args:
        student: raw head outputs, [V, B, K]; view v and the teacher's view v are the same crop.
        teacher: raw head outputs, [G, B, K].
        center: running mean of the teacher's outputs, [K].
        student_temperature: > 0 (paper: 0.1).
        teacher_temperature: >= 0 (paper: 0.04 to 0.07); 0 is a one-hot teacher.

    Returns:
        The loss, []; ln K for a student that says the same of all prototypes.

    Raises:
        ValueError: a temperature out of range, shapes that do not fit, or no pair of different views.
    """
    _check_temperatures(student_temperature, teacher_temperature)
    _check_shapes(student, teacher, center)
    return _DinoLoss.apply(  # type: ignore[no-any-return]
        student, teacher.detach(), center.detach(), student_temperature, teacher_temperature
    )


@torch.no_grad()
def teacher_entropy_and_kl(
    teacher: Tensor,
    student: Tensor,
    center: Tensor,
    *,
    teacher_temperature: float,
    student_temperature: float,
) -> tuple[Tensor, Tensor]:
    """The two parts of the cross-entropy H(t, s) = h(t) + KL(t || s), for each image.

    KL at 0 means collapse: with h at ln K to the uniform distribution, with h at 0 to one prototype.

    Args:
        teacher, student: raw head outputs of two views of the same images, [B, K].
        center: [K].
        teacher_temperature: >= 0; 0 is a one-hot teacher.
        student_temperature: > 0.

    Returns:
        Teacher entropy in [0, ln K] and KL divergence >= 0, in nats, [B] each, without gradient.

    Raises:
        ValueError: a temperature out of range, or shapes that do not fit.
    """
    _check_temperatures(student_temperature, teacher_temperature)
    if teacher.ndim != 2 or teacher.shape != student.shape:
        raise ValueError(f"teacher and student must be [B, K], got {[*teacher.shape]} and {[*student.shape]}")
    with torch.autocast(student.device.type, enabled=False):
        log_q = _log_probabilities(student, student_temperature)  # [B, K]
        if teacher_temperature == 0:
            winner = (raised(teacher) - center).argmax(-1, keepdim=True)  # [B, 1]
            kl = -log_q.gather(-1, winner).squeeze(-1)  # [B]
            return torch.zeros_like(kl), kl
        log_p = _log_probabilities(raised(teacher) - center, teacher_temperature)  # [B, K]
        p = log_p.exp()
        return -(p * log_p).sum(-1), (p * (log_p - log_q)).sum(-1)


@torch.no_grad()
def teacher_entropies(
    teacher: Tensor, center: Tensor, *, teacher_temperature: float
) -> tuple[Tensor, Tensor]:
    """Mean entropy of the teacher's distributions, and entropy of their mean: a whole step's health, cheaply.

    With every teacher view in equally many pairs, mean KL(teacher || student) = dino_loss - the first. The
    second falls towards the first as all images get the same distribution.

    Args:
        teacher: raw head outputs, [G, B, K].
        center: [K].
        teacher_temperature: >= 0; 0 is a one-hot teacher.

    Returns:
        Two entropies in [0, ln K], in nats, [] each, without gradient.
    """
    _check_temperatures(1.0, teacher_temperature)
    total = center.new_zeros(teacher.shape[-1], dtype=raised_dtype(teacher))  # [K]
    entropy = total.new_zeros(())
    with torch.autocast(teacher.device.type, enabled=False):
        for images in _blocks(teacher):
            p = _teacher_probabilities(teacher[:, images], center, teacher_temperature)  # [G, b, K]
            entropy += torch.special.entr(p).sum()
            total += p.sum((0, 1))
    count = teacher.shape[0] * teacher.shape[1]
    return entropy / count, torch.special.entr(total / count).sum()


@torch.no_grad()
def teacher_probabilities(teacher: Tensor, center: Tensor, *, teacher_temperature: float) -> Tensor:
    """The teacher's targets: softmax of its centred outputs.

    Args:
        teacher: raw head outputs, [..., K].
        center: [K].
        teacher_temperature: >= 0; 0 is a one-hot teacher.

    Returns:
        [..., K], in float32 or float64, without gradient.
    """
    _check_temperatures(1.0, teacher_temperature)
    return _teacher_probabilities(teacher, center, teacher_temperature)


class _DinoLoss(torch.autograd.Function):
    """Walks through the images block by block, forwards and backwards; two passes instead of one per pair."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, center: Tensor, student_tau: float, teacher_tau: float
    ) -> Tensor:
        own = min(len(student), len(teacher))
        total = student.new_zeros((), dtype=raised_dtype(student))
        p = torch.empty_like(teacher, dtype=raised_dtype(teacher))  # [G, B, K]
        with torch.autocast(student.device.type, enabled=False):
            for images in _blocks(student):
                p[:, images] = _teacher_probabilities(teacher[:, images], center, teacher_tau)
                log_q = _log_probabilities(student[:, images], student_tau)  # [V, b, K]
                total -= (_other_teachers(p[:, images], own) * log_q[:own]).sum()
                if own < len(student):
                    total -= (p[:, images].sum(0) * log_q[own:].sum(0)).sum()
        ctx.save_for_backward(student, p)
        ctx.student_tau = student_tau
        return total / _terms(student, teacher)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        student, p = ctx.saved_tensors  # [V, B, K], [G, B, K]
        views, own = len(p), min(len(student), len(p))
        scale = upstream / (_terms(student, p) * ctx.student_tau)  # []
        gradient = torch.empty_like(student)
        for images in _blocks(student):
            q = _probabilities(student[:, images], ctx.student_tau)  # [V, b, K]
            targets = p[:, images] * scale  # [G, b, K]
            mine, local = gradient[:own, images], gradient[own:, images]
            torch.sub(q[:own].mul_(scale * (views - 1)), _other_teachers(targets, own), out=mine)
            if own < len(student):
                torch.sub(q[own:].mul_(scale * views), targets.sum(0), out=local)
        return gradient, None, None, None, None


def _other_teachers(p: Tensor, own: int) -> Tensor:
    """For each of the first `own` views, the other teacher views' distributions: [G, b, K] -> [own, b, K].

    Summed, not subtracted from the whole, so that a small rest does not drown in rounding.
    """
    if len(p) == 2:
        return p.flip(0)[:own]
    return torch.stack([p[:view].sum(0) + p[view + 1 :].sum(0) for view in range(own)])


def _teacher_probabilities(teacher: Tensor, center: Tensor, temperature: float) -> Tensor:
    centered = raised(teacher) - center  # [..., K]
    if temperature > 0:
        return _probabilities(centered, temperature)
    return torch.zeros_like(centered).scatter_(-1, centered.argmax(-1, keepdim=True), 1.0)


def _probabilities(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(raised(logits) * (1 / temperature), -1)


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(raised(logits) * (1 / temperature), -1)


def _blocks(x: Tensor) -> Iterator[slice]:
    """Slices of the images of x [V, B, K], each of about a block's size."""
    views, images, prototypes = x.shape
    budget = CPU_BLOCK if x.device.type == "cpu" else DEVICE_BLOCK
    size = max(budget // (views * prototypes), 1)
    return (slice(start, start + size) for start in range(0, images, size))


def _terms(student: Tensor, teacher: Tensor) -> int:
    """T * B."""
    return (len(student) * len(teacher) - min(len(student), len(teacher))) * student.shape[1]


def _check_temperatures(student: float, teacher: float) -> None:
    if not student > 0:
        raise ValueError(f"student_temperature must be > 0, got {student} (paper: 0.1)")
    if not teacher >= 0:
        raise ValueError(f"teacher_temperature must be >= 0, got {teacher} (paper: 0.04; 0: one-hot)")


def _check_shapes(student: Tensor, teacher: Tensor, center: Tensor) -> None:
    shapes = f"student {[*student.shape]}, teacher {[*teacher.shape]}, center {[*center.shape]}"
    if student.ndim != 3 or teacher.ndim != 3 or student.shape[1:] != teacher.shape[1:]:
        raise ValueError(f"expected student [V, B, K], teacher [G, B, K], center [K], got {shapes}")
    if center.shape != student.shape[-1:]:
        raise ValueError(f"the centre must have one number per prototype, [K], got {shapes}")
    if _terms(student, teacher) == 0:
        raise ValueError(f"no pair of two different views of an image, got {shapes}")
