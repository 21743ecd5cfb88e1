"""DINO's formulas in float64, written from the paper (Caron et al. 2021), one sum at a time."""

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def teacher_distribution(teacher: Array, center: Array, temperature: float) -> Array:
    """Equation 1 with centre and temperature; temperature 0: all on the largest."""
    if temperature == 0:
        return np.asarray(np.eye(teacher.shape[-1])[(teacher - center).argmax(-1)])
    return softmax((teacher - center) / temperature)


def dino_loss(
    student: Array, teacher: Array, center: Array, student_temperature: float, teacher_temperature: float
) -> float:
    """Equation 3: all pairs of a teacher view and a student view that is another crop."""
    total, pairs = 0.0, 0
    for g, one_teacher in enumerate(teacher):
        p = teacher_distribution(one_teacher, center, teacher_temperature)
        for v, one_student in enumerate(student):
            if v != g:
                total += float(-(p * log_softmax(one_student / student_temperature)).sum(-1).mean())
                pairs += 1
    return total / pairs


def dino_gradient(
    student: Array, teacher: Array, center: Array, student_temperature: float, teacher_temperature: float
) -> Array:
    """Of the loss by the student's logits: softmax minus target, summed over the pairs."""
    gradient, pairs = np.zeros_like(student), 0
    for g, one_teacher in enumerate(teacher):
        p = teacher_distribution(one_teacher, center, teacher_temperature)
        for v, one_student in enumerate(student):
            if v != g:
                gradient[v] += (softmax(one_student / student_temperature) - p) / student_temperature
                pairs += 1
    return np.asarray(gradient / (pairs * student.shape[1]))


def new_center(center: Array, teacher: Array, momentum: float) -> Array:
    """Equation 4, over all teacher views and images."""
    return np.asarray(momentum * center + (1 - momentum) * teacher.reshape(-1, teacher.shape[-1]).mean(0))


def entropy_and_kl(
    teacher: Array, student: Array, center: Array, teacher_temperature: float, student_temperature: float
) -> tuple[Array, Array]:
    """h(t) and KL(t || s) of each image, with 0 log 0 = 0."""
    p = teacher_distribution(teacher, center, teacher_temperature)
    log_q = log_softmax(student / student_temperature)
    p_log_p = np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)
    return np.asarray(-p_log_p.sum(-1)), np.asarray((p_log_p - p * log_q).sum(-1))


def cosine_schedule(
    total: int, start: float, end: float, warmup: int = 0, warmup_start: float = 0.0
) -> Array:
    """The whole schedule as the authors lay it out: warm-up with both ends, half a cosine without its end."""
    after = np.arange(total - warmup)
    decay = end + 0.5 * (start - end) * (1 + np.cos(np.pi * after / (total - warmup)))
    return np.concatenate([np.linspace(warmup_start, start, warmup), decay])


def temperature_schedule(epochs: int, start: float, end: float, warmup: int) -> Array:
    """The teacher temperature of each epoch."""
    return np.concatenate([np.linspace(start, end, warmup), np.full(epochs - warmup, end)])


def gelu(x: Array) -> Array:
    return np.asarray(x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def head(x: Array, linears: list[tuple[Array, Array]], gain: Array, direction: Array) -> Array:
    """Linear layers with GELU between, L2 norm, then rows of length `gain` along `direction`."""
    for i, (weight, bias) in enumerate(linears):
        x = x @ weight.T + bias
        x = gelu(x) if i < len(linears) - 1 else x
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x @ (gain * direction / np.linalg.norm(direction, axis=-1, keepdims=True)).T)
