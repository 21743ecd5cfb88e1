"""One step of GLOM (Hinton 2021, Sec. 2): what a level of a column becomes.

Functions of states alone; the nets that predict them are in `nets`.
"""

# L levels, B images, N places, D features

import torch
import torch.nn.functional as F
from torch import Tensor


def places_seen(grid: tuple[int, int], *, radius: float | None = None, attend_self: bool = False) -> Tensor:
    """Which places each place attends to: bool [N, N], N = rows x columns, row by row.

    Args:
        radius: greatest distance in places, >= 0; None: all of the image.
        attend_self: whether a place attends to itself too. One with nobody else in reach always does.
    """
    rows, columns = grid
    at = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()  # [N, 2]
    near = torch.ones(len(at), len(at), dtype=torch.bool) if radius is None else torch.cdist(at, at) <= radius
    own = torch.eye(len(at), dtype=torch.bool)
    others = near & ~own
    return others | (own if attend_self else own & ~others.any(1))


def attention_weights(states: Tensor, seen: Tensor, *, temperature: float | Tensor) -> Tensor:
    """How much each place listens to each other one of its level; nothing in it is learned.

    Args:
        states: [..., N, D].
        seen: bool [..., N, N], as `places_seen` gives them.
        temperature: of the softmax over the cosines, > 0: the smaller, the more it listens to its likes only;
            one number, or a tensor [..., 1, 1].

    Returns:
        [..., N, N], each row of sum 1, 0 where a place is not seen (Hinton's eq. 1, by cosines).
    """
    unit = F.normalize(states, dim=-1)
    cosine = unit @ unit.mT  # [..., N, N]
    return (cosine / temperature).masked_fill(~seen, -torch.inf).softmax(-1)


def consensus(states: Tensor, seen: Tensor, *, temperature: float | Tensor) -> Tensor:
    """The mean of the states [..., N, D] that each place sees, by `attention_weights`: [..., N, D].

    Computed without ever holding the weights of all places, where torch can.
    """
    unit = F.normalize(states, dim=-1)
    return F.scaled_dot_product_attention(unit / temperature, unit, states, attn_mask=seen, scale=1)


def next_states(
    states: Tensor, bottom_up: Tensor, top_down: Tensor, agreed: Tensor, missing: Tensor | None = None
) -> Tensor:
    """The mean of what is said of each level: all four say as much.

    Args:
        states: of the step before, [L, B, N, D], the lowest level first.
        bottom_up: predictions from the level below, the lowest level's from the image, [L, B, N, D].
        top_down: predictions from the level above, [L - 1, B, N, D]; of the top level there is none.
        agreed: the other places' consensus, [L, B, N, D].
        missing: bool [B, N]: places of which the image says nothing; their lowest level has no `bottom_up`.

    Returns:
        [L, B, N, D].
    """
    above = F.pad(top_down, (0, 0, 0, 0, 0, 0, 0, 1))  # [L, B, N, D]
    said = torch.full(states.shape[:1], 4.0, dtype=states.dtype, device=states.device)  # [L]
    said[-1] = 3
    said = said.view(-1, 1, 1, 1)
    if missing is not None:
        silent = torch.zeros_like(states[..., :1], dtype=torch.bool)  # [L, B, N, 1]
        silent[0] = missing[..., None]
        bottom_up, said = bottom_up.masked_fill(silent, 0), said - silent.to(said.dtype)
    return (states + bottom_up + above + agreed) / said
