"""Losses are computed in float32 whatever autocast says; float64 stays float64."""

import torch
from torch import Tensor


def raised_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64, float32 for anything else."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def raised(x: Tensor) -> Tensor:
    """`x` in the type that losses are computed in, same shape."""
    return x.to(raised_dtype(x))
