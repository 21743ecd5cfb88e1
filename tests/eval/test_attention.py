import numpy as np
import pytest
import torch

from sslkit.eval.attention import mass_mask


def authors_mask(attention: torch.Tensor, share: float) -> torch.Tensor:
    """The authors' visualize_attention.py, for one image: [heads, N] -> [heads, N]."""
    val, idx = torch.sort(attention)
    val = val / torch.sum(val, dim=1, keepdim=True)
    cumval = torch.cumsum(val, dim=1)
    th_attn = cumval > (1 - share)
    idx2 = torch.argsort(idx)
    for head in range(attention.shape[0]):
        th_attn[head] = th_attn[head][idx2[head]]
    return th_attn


@pytest.mark.parametrize("share", [0.1, 0.6, 0.8, 0.95])
def test_same_as_the_authors_code(share: float) -> None:
    attention = torch.softmax(torch.randn(6, 100, dtype=torch.float64) * 2, -1)
    assert torch.equal(mass_mask(attention, share), authors_mask(attention, share))


def test_keeps_the_fewest_patches_that_reach_the_share() -> None:
    attention = torch.rand(2, 3, 50) * 7  # any sum
    mask = mass_mask(attention, 0.6)
    mass = (attention * mask).sum(-1) / attention.sum(-1)
    weakest = attention.masked_fill(~mask, float("inf")).amin(-1) / attention.sum(-1)
    assert mask.shape == attention.shape
    assert mask.dtype == torch.bool
    assert (mass >= 0.6 - 1e-6).all()
    assert (mass - weakest < 0.6).all()


def test_by_hand() -> None:
    attention = torch.tensor([0.1, 0.4, 0.2, 0.3])
    assert mass_mask(attention, 0.6).tolist() == [False, True, False, True]
    assert mass_mask(attention, 0.75).tolist() == [False, True, True, True]


def test_ends_and_impossible_shares() -> None:
    attention = torch.tensor([0.0, 1.0, 3.0])
    assert mass_mask(attention, 1.0).tolist() == [False, True, True]
    assert mass_mask(attention, 0.0).sum() == 0
    assert mass_mask(torch.zeros(3), 0.6).sum() == 0
    for share in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"share must be in \[0, 1\]"):
            mass_mask(attention, share)
