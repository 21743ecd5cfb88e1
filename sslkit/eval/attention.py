"""What the attention of CLS rests on."""

# N = h x w patches, H x W pixels

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


def enlarged(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Patches [..., h, w] as pixels [..., H, W], each pixel that of the patch which its centre lies in."""
    rows, columns = (_patch_of(length, count) for length, count in zip(size, mask.shape[-2:], strict=True))
    return mask[..., rows[:, None].to(mask.device), columns.to(mask.device)]


def pixels_in(pixels: Tensor, grid: tuple[int, int]) -> Tensor:
    """How many of the pixels that are True, [..., H, W], each patch has: float64 [..., h, w]."""
    rows, columns = (
        (_patch_of(length, count)[None] == torch.arange(count)[:, None]).to(pixels.device, torch.float32)
        for length, count in zip(pixels.shape[-2:], grid, strict=True)
    )  # [h, H], [w, W]
    return (rows @ pixels.float() @ columns.T).double()


def _patch_of(length: int, count: int) -> Tensor:
    """Which of `count` patches each of `length` pixels' centre lies in, int64 [length]."""
    return (2 * torch.arange(length) + 1) * count // (2 * length)
