"""What a method needs of the other processes; on one process each of these is the identity."""

# B rows of this rank, R ranks

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def is_distributed() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number, 0 on the main one."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes, R."""
    return dist.get_world_size() if is_distributed() else 1


def all_gather(x: Tensor) -> Tensor:
    """Every rank's rows, in rank order: [B, ...] -> [R * B, ...], with gradient.

    The gradient that reaches `x` is the sum over all ranks' losses; with parameter gradients averaged over
    ranks afterwards (as DistributedDataParallel does) it is that of the mean loss. All ranks must call it,
    with the same shape.
    """
    return _AllGather.apply(x) if is_distributed() else x


def own_rows(x: Tensor) -> Tensor:
    """The numbers that this rank's rows of `x` [B, ...] have in `all_gather(x)`: int64 [B]."""
    return rank() * len(x) + torch.arange(len(x), device=x.device)


@torch.no_grad()
def mean_over_ranks(x: Tensor) -> Tensor:
    """The mean of `x` over all ranks, same shape, without gradient. All ranks must call it."""
    if not is_distributed():
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


@torch.no_grad()
def broadcast(x: Tensor, source: int = 0) -> Tensor:
    """Rank `source`'s `x` on every rank, same shape, without gradient. All ranks must call it."""
    if not is_distributed():
        return x.detach()
    copy = x.detach().clone(memory_format=torch.contiguous_format)
    dist.broadcast(copy, source)
    return copy


def broadcast_text(text: str) -> str:
    """Rank 0's text on every rank. All ranks must call it."""
    words = [text]
    if is_distributed():
        dist.broadcast_object_list(words)
    return words[0]


def barrier() -> None:
    """Wait until every process is here."""
    if is_distributed():
        dist.barrier()


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rows = x.shape[0]
        ctx.own = slice(rank() * rows, (rank() + 1) * rows)
        gathered = x.new_empty((world_size() * rows, *x.shape[1:]))  # [R * B, ...]
        dist.all_gather(list(gathered.split(rows)), x.contiguous())
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own]  # [B, ...]
