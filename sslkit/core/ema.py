"""The exponential moving average that makes a teacher."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def ema_(targets: Iterable[Tensor], sources: Iterable[Tensor], momentum: float) -> None:
    """targets <- momentum * targets + (1 - momentum) * sources, in place, in one fused call.

    Args:
        targets, sources: tensors of the same shapes in the same order, such as two `parameters()`.
        momentum: in [0, 1]; 1 leaves the targets as they are, 0 copies the sources.

    Raises:
        ValueError: the momentum is out of range, or the numbers of tensors differ.
    """
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"momentum must be in [0, 1], got {momentum}")
    old, new = list(targets), list(sources)
    if len(old) != len(new):
        raise ValueError(f"got {len(old)} targets but {len(new)} sources")
    if old:
        torch._foreach_lerp_(old, new, 1.0 - momentum)


def start_as_copy(teacher: nn.Module, student: nn.Module) -> None:
    """Give a teacher its student's weights and buffers, and no gradient."""
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
