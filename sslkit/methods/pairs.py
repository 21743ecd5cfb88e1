"""The pairs of views that methods with a second network compare."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def mean_over_pairs(
    loss: Callable[[Tensor, Tensor], Tensor], online: Sequence[Tensor], target: Sequence[Tensor]
) -> Tensor:
    """Mean of the loss over all pairs of an online view and another, global, target view: [].

    Args:
        loss: of two [B, D].
        online: of all views, the global ones first.
        target: of the global views.
    """
    pairs = [(x, y) for i, x in enumerate(online) for j, y in enumerate(target) if i != j]
    return torch.stack([loss(x, y) for x, y in pairs]).mean()
