"""How many dimensions features really use, and how far they are spread."""

# N images, D features, m = min(N, D)

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-7
"""Added to each share of the singular values, as in the paper."""


def rankme(features: Tensor) -> Tensor:
    """RankMe, the exponential of the entropy of the singular values (Garrido et al. 2023, Eq. 1).

    Args:
        features: neither centred nor normalised, [N, D].

    Returns:
        [], between 1 and m up to rounding, NaN without images; float64 for float64, else float32.
    """
    x = features if features.dtype == torch.float64 else features.float()
    sigma: Tensor = torch.linalg.svdvals(x)  # [m]
    if len(sigma) == 0:
        return x.new_full((), float("nan"))
    p = sigma / sigma.sum().clamp(min=torch.finfo(x.dtype).tiny) + EPSILON  # [m]
    entropy: Tensor = torch.special.entr(p).sum()
    return entropy.exp()


def feature_std(features: Tensor) -> Tensor:
    """Spread of normalised features, [N, D] -> []: 1 for directions at random, 0 for one point."""
    deviation: Tensor = F.normalize(features, dim=1).std(0, correction=0)  # [D]
    return deviation.mean().mul(features.shape[1] ** 0.5)
