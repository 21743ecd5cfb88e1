"""BYOL's loss (Grill et al. 2020, equation 2)."""

# B images, D dimensions of the projection

import torch.nn.functional as F
from torch import Tensor

from sslkit.losses.dtype import raised


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of the normalised vectors, 2 - 2 cos, one direction.

    The paper's loss is the sum over both directions, 0 to 8.

    Args:
        prediction: the online network's prediction, not normalised, [B, D].
        target: the target network's projection, not normalised, [B, D]; gets no gradient.

    Returns:
        The loss, [], 0 to 4.

    Raises:
        ValueError: the shapes differ or are not [B, D].
    """
    if prediction.ndim != 2 or prediction.shape != target.shape:
        shapes = f"prediction {[*prediction.shape]}, target {[*target.shape]}"
        raise ValueError(f"expected prediction and target [B, D], got {shapes}")
    cosine = F.cosine_similarity(raised(prediction), raised(target.detach()), dim=1)  # [B]
    return (2 - 2 * cosine).mean()
