"""DINO training written straight from the paper and its supplement, one tensor at a time."""

# V views (the two global ones first), B images, D features, K prototypes

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from oracles.training import (
    Encoder,
    Moments,
    Optim,
    State,
    descend,
    gelu,
    moving_average,
    part,
    rising_momentum,
)
from torch import Tensor

GAINS = ("last_layer.parametrizations.weight.original0", "last_layer.weight_g")
DIRECTIONS = ("last_layer.parametrizations.weight.original1", "last_layer.weight_v")


@dataclass(frozen=True)
class Settings:
    """The hyper-parameters of a run."""

    optim: Optim
    freeze_last_layer_epochs: int = 1
    norm_last_layer: bool = True
    teacher_momentum: float = 0.996
    center_momentum: float = 0.9
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    warmup_teacher_temperature: float = 0.04
    warmup_teacher_temperature_epochs: int = 0


@dataclass
class Trace:
    """What happened."""

    student: State
    """By the names of the backbone's state, prefixed `backbone.`, and of the head's, prefixed `head.`."""
    teacher: State
    center: Tensor
    losses: list[float] = field(default_factory=list)
    gradient_norms: list[State] = field(default_factory=list)
    """Before clipping, of each step."""


def train(
    encoder: Encoder,
    backbone: Mapping[str, Tensor],
    head: Mapping[str, Tensor],
    steps: Sequence[Sequence[Tensor]],
    settings: Settings,
) -> Trace:
    """One optimiser step for each list of views, from the given weights; the teacher starts as a copy."""
    start = {**{f"backbone.{k}": v for k, v in backbone.items()}, **{f"head.{k}": v for k, v in head.items()}}
    trace = Trace(
        student={k: v.detach().clone() for k, v in start.items()},
        teacher={k: v.detach().clone() for k, v in start.items()},
        center=torch.zeros_like(_find(head, GAINS)[:, 0]),
    )
    moments: dict[str, Moments] = {}
    for step, views in enumerate(steps):
        _step(encoder, trace, moments, views, step, settings)
    return trace


def _step(
    encoder: Encoder,
    trace: Trace,
    moments: dict[str, Moments],
    views: Sequence[Tensor],
    step: int,
    s: Settings,
) -> None:
    student = {k: v.detach().requires_grad_(_trained(k, s)) for k, v in trace.student.items()}
    teacher_outputs = [_outputs(encoder, trace.teacher, view).detach() for view in views[:2]]
    student_outputs = [_outputs(encoder, student, view) for view in views]
    epoch = step // s.optim.steps_per_epoch
    loss = pair_loop(
        student_outputs, teacher_outputs, trace.center, s.student_temperature, _temperature(epoch, s)
    )
    trained = [k for k in student if student[k].requires_grad]
    gradients = dict(zip(trained, torch.autograd.grad(loss, [student[k] for k in trained]), strict=True))
    trace.losses.append(float(loss.detach()))
    trace.gradient_norms.append({k: g.square().sum().sqrt() for k, g in gradients.items()})

    # the centre takes part in the next step only
    batch_center = torch.stack(teacher_outputs).mean((0, 1))
    trace.center = s.center_momentum * trace.center + (1 - s.center_momentum) * batch_center

    if epoch < s.freeze_last_layer_epochs:  # no gradient at all: neither moments nor decay
        gradients = {k: g for k, g in gradients.items() if not k.startswith("head.last_layer")}
    descend(trace.student, gradients, moments, step, s.optim)
    momentum = rising_momentum(s.teacher_momentum, step, s.optim.total_steps)
    trace.teacher = moving_average(trace.teacher, trace.student, momentum)


def _trained(name: str, s: Settings) -> bool:
    return not (s.norm_last_layer and name.removeprefix("head.") in GAINS)


def pair_loop(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    center: Tensor,
    student_tau: float,
    teacher_tau: float,
) -> Tensor:
    terms = []
    for g, teacher in enumerate(teachers):
        p = ((teacher - center) / teacher_tau).softmax(-1)
        for v, student in enumerate(students):
            if v != g:
                terms.append(-(p * (student / student_tau).log_softmax(-1)).sum(-1).mean())
    return torch.stack(terms).mean()


def _temperature(epoch: int, s: Settings) -> float:
    length = s.warmup_teacher_temperature_epochs
    if epoch >= length:
        return s.teacher_temperature
    share = epoch / max(length - 1, 1)
    return s.warmup_teacher_temperature * (1 - share) + s.teacher_temperature * share


def _outputs(encoder: Encoder, state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    features = encoder(part(state, "backbone."), images)
    return dino_head(part(state, "head."), features)


def _find(state: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    return next(state[name] for name in names if name in state)


def dino_head(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Linear layers (`mlp.0`, `mlp.2`, ...) with GELU between, L2 norm, weight-normed last layer: [B, K]."""
    names = sorted({int(k.split(".")[1]) for k in state if k.startswith("mlp.") and k.count(".") == 2})
    layers = [f"mlp.{i}" for i in names] or ["mlp"]
    for i, layer in enumerate(layers):
        x = x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        x = gelu(x) if i < len(layers) - 1 else x
    x = x / x.square().sum(-1, keepdim=True).sqrt()
    gain, direction = _find(state, GAINS), _find(state, DIRECTIONS)
    return x @ (gain * direction / direction.square().sum(-1, keepdim=True).sqrt()).T
