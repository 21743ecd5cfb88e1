"""What the trainers written from the papers share: networks, AdamW, clipping, schedules.

Shares no code with sslkit or timm: networks are functions of a dict of tensors, AdamW and clipping are loops,
and torch's autograd and bicubic interpolation are taken for granted. The dtype is that of the given states.
"""

# B images, T tokens, D features

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
Encoder = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""(its tensors, images [B, C, H, W]) -> features [B, D]."""


@dataclass(frozen=True)
class Optim:
    """The hyper-parameters of the optimiser, in steps."""

    total_steps: int
    steps_per_epoch: int
    lr: float = 5e-4
    """Already scaled to the batch."""
    min_lr: float = 1e-6
    warmup_steps: int = 0
    weight_decay: float = 0.04
    weight_decay_end: float = 0.4
    clip: float = 3.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8


@dataclass
class Moments:
    first: Tensor
    second: Tensor
    steps: int = 0


def descend(
    weights: State, gradients: Mapping[str, Tensor], moments: dict[str, Moments], step: int, o: Optim
) -> None:
    """Clip each gradient by its own norm, then AdamW; `weights` and `moments` get the new tensors."""
    for name, gradient in gradients.items():
        norm = gradient.square().sum().sqrt()
        clipped = gradient * min(1.0, float(o.clip / (norm + 1e-6)))
        decay = 0.0 if name.endswith(".bias") or gradient.ndim == 1 else weight_decay(step, o)
        memory = moments.setdefault(name, Moments(torch.zeros_like(gradient), torch.zeros_like(gradient)))
        weights[name] = adamw(weights[name], clipped, memory, learning_rate(step, o), decay, o)


def adamw(weight: Tensor, gradient: Tensor, m: Moments, lr: float, decay: float, o: Optim) -> Tensor:
    """Loshchilov and Hutter 2019, algorithm 2."""
    m.steps += 1
    m.first = o.betas[0] * m.first + (1 - o.betas[0]) * gradient
    m.second = o.betas[1] * m.second + (1 - o.betas[1]) * gradient.square()
    first = m.first / (1 - o.betas[0] ** m.steps)
    second = m.second / (1 - o.betas[1] ** m.steps)
    return weight * (1 - lr * decay) - lr * first / (second.sqrt() + o.eps)


def learning_rate(step: int, o: Optim) -> float:
    if step < o.warmup_steps:
        return o.lr * step / max(o.warmup_steps - 1, 1)
    share = (step - o.warmup_steps) / (o.total_steps - o.warmup_steps)
    return o.min_lr + (o.lr - o.min_lr) * (1 + math.cos(math.pi * share)) / 2


def weight_decay(step: int, o: Optim) -> float:
    half = (1 + math.cos(math.pi * step / o.total_steps)) / 2
    return o.weight_decay_end + (o.weight_decay - o.weight_decay_end) * half


def rising_momentum(start: float, step: int, total_steps: int) -> float:
    """From `start` towards 1 (Grill et al. 2020, section 3.2)."""
    return 1 - (1 - start) * (math.cos(math.pi * step / total_steps) + 1) / 2


def moving_average(old: State, new: Mapping[str, Tensor], momentum: float) -> State:
    return {name: momentum * weight + (1 - momentum) * new[name] for name, weight in old.items()}


def part(state: Mapping[str, Tensor], prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


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
            block = part(state, f"blocks.{i}.")
            x = x + _attention(block, layer_norm(block, "norm1", x), heads)
            hidden = gelu(linear(block, "mlp.fc1", layer_norm(block, "norm2", x)))
            x = x + linear(block, "mlp.fc2", hidden)
        return layer_norm(state, "norm", x)[:, 0]

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
    qkv = linear(block, "attn.qkv", x).reshape(batch, tokens, 3, heads, width // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, T, d] each
    weights = (q @ k.transpose(-2, -1) / math.sqrt(width // heads)).softmax(-1)
    return linear(block, "attn.proj", (weights @ v).transpose(1, 2).reshape(batch, tokens, width))


def linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def batch_norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """With the statistics of these rows [N, D]; scales and shifts where it has weights."""
    normal = (x - x.mean(0)) / ((x - x.mean(0)).square().mean(0) + 1e-5).sqrt()
    if f"{name}.weight" not in state:
        return normal
    return normal * state[f"{name}.weight"] + state[f"{name}.bias"]


def layer_norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2
