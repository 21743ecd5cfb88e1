"""DINO training written straight from the paper and its supplement, one tensor at a time.

Shares no code with sslkit or timm: networks are functions of a dict of tensors, AdamW and clipping are loops,
and torch's autograd and bicubic interpolation are taken for granted. The dtype is that of the given states.
"""

# V views (the two global ones first), B images, T tokens, D features, K prototypes

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
Encoder = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""(its tensors, images [B, C, H, W]) -> features [B, D]."""

GAINS = ("last_layer.parametrizations.weight.original0", "last_layer.weight_g")
DIRECTIONS = ("last_layer.parametrizations.weight.original1", "last_layer.weight_v")


@dataclass(frozen=True)
class Settings:
    """The hyper-parameters of a run, in steps."""

    total_steps: int
    steps_per_epoch: int
    lr: float = 5e-4
    """Already scaled to the batch."""
    min_lr: float = 1e-6
    warmup_steps: int = 0
    weight_decay: float = 0.04
    weight_decay_end: float = 0.4
    clip: float = 3.0
    freeze_last_layer_epochs: int = 1
    norm_last_layer: bool = True
    teacher_momentum: float = 0.996
    center_momentum: float = 0.9
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    warmup_teacher_temperature: float = 0.04
    warmup_teacher_temperature_epochs: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8


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
    moments: dict[str, _Moments] = {}
    for step, views in enumerate(steps):
        _step(encoder, trace, moments, views, step, settings)
    return trace


@dataclass
class _Moments:
    first: Tensor
    second: Tensor
    steps: int = 0


def _step(
    encoder: Encoder,
    trace: Trace,
    moments: dict[str, _Moments],
    views: Sequence[Tensor],
    step: int,
    s: Settings,
) -> None:
    student = {k: v.detach().requires_grad_(_trained(k, s)) for k, v in trace.student.items()}
    teacher_outputs = [_outputs(encoder, trace.teacher, view).detach() for view in views[:2]]
    student_outputs = [_outputs(encoder, student, view) for view in views]
    epoch = step // s.steps_per_epoch
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

    for name, gradient in gradients.items():
        norm = gradient.square().sum().sqrt()
        clipped = gradient * min(1.0, float(s.clip / (norm + 1e-6)))
        if name.startswith("head.last_layer") and epoch < s.freeze_last_layer_epochs:
            continue  # no gradient at all: neither moments nor decay
        decay = 0.0 if name.endswith(".bias") or gradient.ndim == 1 else _weight_decay(step, s)
        memory = moments.setdefault(name, _Moments(torch.zeros_like(gradient), torch.zeros_like(gradient)))
        trace.student[name] = _adamw(trace.student[name], clipped, memory, _lr(step, s), decay, s)

    momentum = 1 - (1 - s.teacher_momentum) * (math.cos(math.pi * step / s.total_steps) + 1) / 2
    for name, weight in trace.student.items():
        trace.teacher[name] = momentum * trace.teacher[name] + (1 - momentum) * weight


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


def _adamw(weight: Tensor, gradient: Tensor, m: _Moments, lr: float, decay: float, s: Settings) -> Tensor:
    """Loshchilov and Hutter 2019, algorithm 2."""
    m.steps += 1
    m.first = s.betas[0] * m.first + (1 - s.betas[0]) * gradient
    m.second = s.betas[1] * m.second + (1 - s.betas[1]) * gradient.square()
    first = m.first / (1 - s.betas[0] ** m.steps)
    second = m.second / (1 - s.betas[1] ** m.steps)
    return weight * (1 - lr * decay) - lr * first / (second.sqrt() + s.eps)


def _lr(step: int, s: Settings) -> float:
    if step < s.warmup_steps:
        return s.lr * step / max(s.warmup_steps - 1, 1)
    share = (step - s.warmup_steps) / (s.total_steps - s.warmup_steps)
    return s.min_lr + (s.lr - s.min_lr) * (1 + math.cos(math.pi * share)) / 2


def _weight_decay(step: int, s: Settings) -> float:
    half = (1 + math.cos(math.pi * step / s.total_steps)) / 2
    return s.weight_decay_end + (s.weight_decay - s.weight_decay_end) * half


def _temperature(epoch: int, s: Settings) -> float:
    length = s.warmup_teacher_temperature_epochs
    if epoch >= length:
        return s.teacher_temperature
    share = epoch / max(length - 1, 1)
    return s.warmup_teacher_temperature * (1 - share) + s.teacher_temperature * share


def _outputs(encoder: Encoder, state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    features = encoder(_part(state, "backbone."), images)
    return dino_head(_part(state, "head."), features)


def _part(state: Mapping[str, Tensor], prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _find(state: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    return next(state[name] for name in names if name in state)


def dino_head(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Linear layers (`mlp.0`, `mlp.2`, ...) with GELU between, L2 norm, weight-normed last layer: [B, K]."""
    names = sorted({int(k.split(".")[1]) for k in state if k.startswith("mlp.") and k.count(".") == 2})
    layers = [f"mlp.{i}" for i in names] or ["mlp"]
    for i, layer in enumerate(layers):
        x = x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        x = _gelu(x) if i < len(layers) - 1 else x
    x = x / x.square().sum(-1, keepdim=True).sqrt()
    gain, direction = _find(state, GAINS), _find(state, DIRECTIONS)
    return x @ (gain * direction / direction.square().sum(-1, keepdim=True).sqrt()).T


def mlp(state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """The smallest encoder: pixels averaged over the image, one layer (`weight` [D, C], `bias` [D])."""
    return torch.tanh(images.mean((2, 3)) @ state["weight"].T + state["bias"])


def vit(heads: int, *, authors_positions: bool = True) -> Encoder:
    """A ViT with CLS token, by timm's and the authors' key names; positions resized their way, or timm's."""

    def encoder(state: Mapping[str, Tensor], images: Tensor) -> Tensor:
        kernel = state["patch_embed.proj.weight"]
        maps = F.conv2d(images, kernel, state["patch_embed.proj.bias"], stride=kernel.shape[-1])
        positions = _positions(state["pos_embed"], (maps.shape[2], maps.shape[3]), authors_positions)
        patches = maps.flatten(2).transpose(1, 2)  # [B, N, D]
        x = torch.cat([state["cls_token"].expand(len(images), -1, -1), patches], 1) + positions
        for i in range(1 + max(int(k.split(".")[1]) for k in state if k.startswith("blocks."))):
            block = _part(state, f"blocks.{i}.")
            x = x + _attention(block, _norm(block, "norm1", x), heads)
            hidden = _gelu(_linear(block, "mlp.fc1", _norm(block, "norm2", x)))
            x = x + _linear(block, "mlp.fc2", hidden)
        return _norm(state, "norm", x)[:, 0]

    return encoder


def _positions(table: Tensor, grid: tuple[int, int], authors: bool) -> Tensor:
    side = math.isqrt(table.shape[1] - 1)
    if grid == (side, side):
        return table
    square = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if authors:
        scale = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
        resized = F.interpolate(square, scale_factor=scale, mode="bicubic")
    else:
        resized = F.interpolate(square, size=grid, mode="bicubic", antialias=True)
    return torch.cat([table[:, :1], resized.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], -1)], 1)


def _attention(block: Mapping[str, Tensor], x: Tensor, heads: int) -> Tensor:
    batch, tokens, width = x.shape
    qkv = _linear(block, "attn.qkv", x).reshape(batch, tokens, 3, heads, width // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, T, d] each
    weights = (q @ k.transpose(-2, -1) / math.sqrt(width // heads)).softmax(-1)
    return _linear(block, "attn.proj", (weights @ v).transpose(1, 2).reshape(batch, tokens, width))


def _linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def _gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2
