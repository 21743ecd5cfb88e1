"""The two-way choice of patch discrimination."""

# N choices

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.losses.dtype import raised


def patch_choice_loss(own: Tensor, other: Tensor) -> Tensor:
    """Cross-entropy of the choice between two candidates, of which the first is right.

    Args:
        own: score of the candidate from the anchor's image, [N].
        other: score of the candidate from another image, [N].

    Returns:
        Mean of -log softmax([own, other])[0], []; ln 2 for a network that cannot tell.
    """
    return -F.logsigmoid(raised(own) - raised(other)).mean()


@torch.no_grad()
def choice_accuracy(own: Tensor, other: Tensor) -> Tensor:
    """Share of the choices [N], [N] that are right, a tie counting one half: []."""
    return ((own > other).float() + 0.5 * (own == other).float()).mean()
