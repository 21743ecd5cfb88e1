"""How many dimensions features really use."""

# N images, D features, m values

import torch
from torch import Tensor

EPSILON = 1e-7
"""Added to each share of the singular values, as in the paper."""


def rankme(features: Tensor) -> Tensor:
    """RankMe, the exponential of the entropy of the singular values (Garrido et al. 2023, Eq. 1).

    Args:
        features: neither centred nor normalised, [N, D].

    Returns:
        [], between 1 and min(N, D) up to rounding; float64 for float64, else float32.
    """
    x = features if features.dtype == torch.float64 else features.float()
    sigma: Tensor = torch.linalg.svdvals(x)  # [min(N, D)]
    return effective_rank(sigma)


def effective_rank(values: Tensor) -> Tensor:
    """Exponential of the entropy of p = values / their sum + 1e-7: [m], >= 0 -> []; NaN for no values."""
    if len(values) == 0:
        return values.new_full((), float("nan"))
    p = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + EPSILON  # [m]
    entropy: Tensor = torch.special.entr(p).sum()
    return entropy.exp()
