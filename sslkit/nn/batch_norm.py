"""Batch norm over the joined batch of all processes, on any device (torch's refuses a CPU)."""

# B images of this rank, C channels, R ranks

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.core.collectives import all_gather, mean_over_ranks, world_size


def synchronised(module: nn.Module) -> nn.Module:
    """Let every batch norm inside `module` take its statistics over all ranks in train mode; in place.

    Converts `BatchNorm1d`, `2d`, `3d` and timm's `BatchNormAct2d`; other subclasses of them stay as they are.
    Parameters, buffers, names and eval mode stay too. From then on all ranks must call it alike in train
    mode. On one process nothing is changed.
    """
    if world_size() == 1:
        return module
    from timm.layers import BatchNormAct2d  # late: only several processes wait for timm here

    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    classes: dict[type, type] = {base: _synchronised_class(base) for base in plain}
    classes[BatchNormAct2d] = _synchronised_class(BatchNormAct2d, after=("drop", "act"))
    for norm in module.modules():
        if type(norm) in classes:
            norm.__class__ = classes[type(norm)]
    return module


class Statistics(NamedTuple):
    """Of the joined batch, float32 or wider, without gradient."""

    mean: Tensor  # [C]
    var: Tensor  # [C] biased
    size: Tensor  # [] values of each channel


@torch.no_grad()
def joined_statistics(x: Tensor) -> Statistics:
    """Statistics of the [B, C, ...] of all ranks, which may differ in B. All ranks must call it.

    Means and variances are joined (Chan et al. 1979), not sums of squares, which cancel far from zero.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    var, mean = torch.var_mean(wide, _all_but_channels(x), correction=0)  # [C] [C]
    own = torch.cat([mean, var, mean.new_full((1,), x.numel() / x.shape[1])])  # [2C + 1]
    ranks = all_gather(own[None])  # [R, 2C + 1]
    means, variances, counts = ranks.split((len(mean), len(mean), 1), 1)  # [R, C] [R, C] [R, 1]
    size = counts.sum()
    share = counts / size
    mean = (share * means).sum(0)
    return Statistics(mean, (share * (variances + (means - mean) ** 2)).sum(0), size)


def normalise(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, joined: Statistics, eps: float
) -> Tensor:
    """[B, C, ...] -> [B, C, ...], with the gradient that flows through `joined` too. All ranks must call it.

    The gradient that reaches `x` is that of the sum over all ranks' losses, as in `collectives.all_gather`;
    those of `weight` and `bias` are this rank's part.
    """
    y: Tensor = _Normalise.apply(x, weight, bias, *joined, eps)
    return y


class _Normalise(torch.autograd.Function):
    """Ioffe and Szegedy 2015, section 3, with sums over all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        size: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), size)
        scale, shift = (None if p is None else p.to(mean.dtype) for p in (weight, bias))
        return F.batch_norm(x, mean, var, scale, shift, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, size = ctx.saved_tensors
        channels = (-1, *[1] * (x.ndim - 2))  # a [C] beside [B, C, ...]
        g = gradient.to(mean.dtype)
        normal = (x.to(mean.dtype) - mean.view(channels)) * scale.view(channels)  # [B, C, ...]
        dims = _all_but_channels(x)
        sums = torch.stack([g.sum(dims), (g * normal).sum(dims)])  # [2, C]
        for_bias, for_weight = sums if weight is None else sums.to(weight.dtype)
        for_x = None
        if ctx.needs_input_grad[0]:
            through_mean, through_var = mean_over_ranks(sums) * (world_size() / size)  # [C] [C]
            for_x = g - through_mean.view(channels) - normal * through_var.view(channels)
            for_x = for_x * (scale if weight is None else scale * weight).view(channels)
            for_x = for_x.to(x.dtype)
        wanted = ctx.needs_input_grad
        return for_x, for_weight if wanted[1] else None, for_bias if wanted[2] else None, *[None] * 4


def _synchronised_class(base: type[_BatchNorm], after: tuple[str, ...] = ()) -> type[_BatchNorm]:
    """A subclass to assign as `__class__`; `after` names the modules that `base` applies to its output."""

    def forward(self: _BatchNorm, x: Tensor) -> Tensor:
        if not self.training:
            return base.forward(self, x)
        self._check_input_dim(x)
        joined = joined_statistics(x)
        _track(self, joined)
        y = normalise(x, self.weight, self.bias, joined, self.eps)
        for name in after:
            y = self.get_submodule(name)(y)
        return y

    return type(f"Synchronised{base.__name__}", (base,), {"forward": forward, "__module__": __name__})


@torch.no_grad()
def _track(norm: _BatchNorm, joined: Statistics) -> None:
    """Running statistics as torch's: the unbiased variance; without a momentum the mean of all batches."""
    if not norm.track_running_stats or norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    unbiased = joined.var * (joined.size / (joined.size - 1))
    norm.running_mean += momentum * (joined.mean - norm.running_mean)
    norm.running_var += momentum * (unbiased - norm.running_var)


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]
