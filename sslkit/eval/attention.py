"""What the attention of CLS rests on."""

# N patches

import torch
from torch import Tensor


def mass_mask(attention: Tensor, share: float) -> Tensor:
    """The fewest patches that hold at least `share` of the attention (Caron et al. 2021, Sec. 4.2.2).

    Sorted from the weakest, the patches whose cumulative sum passes 1 - share are kept, as in the authors'
    code; the one that crosses is kept too.

    Args:
        attention: of CLS to the patches, without CLS itself, >= 0, of any sum, [..., N].
        share: 0 to 1 (the paper's figure: 0.6; its appendix: 0.8).

    Returns:
        bool [..., N]; no patch of a row that is zero throughout.

    Raises:
        ValueError: `share` is out of range.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be in [0, 1], got {share}")
    weakest_first, order = attention.detach().double().sort(dim=-1)  # [..., N]
    cumulative = weakest_first.cumsum(-1) / weakest_first.sum(-1, keepdim=True)
    kept = cumulative > 1.0 - share
    return torch.zeros_like(kept).scatter(-1, order, kept)
