"""Losses that tell images apart: InfoNCE (van den Oord et al. 2018) as SimCLR and MoCo use it."""

# B images, D dimensions of the projection, N negatives or keys

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.losses.dtype import raised


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """SimCLR's loss: each of the 2B views must find its partner among the other 2B - 1.

    Memory: the similarities are [2B, 2B]. Source: Chen et al. 2020, equation 1.

    Args:
        first, second: projections of the two views, not normalised, [B, D] each.
        temperature: > 0 (paper: 0.1 to 0.5).

    Returns:
        Mean over the 2B anchors, []; ln(2B - 1) where all views are alike.

    Raises:
        ValueError: the temperature or the shapes are out of range.
    """
    _check(temperature, first=first, second=second)
    _check_pairs(first, second)
    count = len(first)
    z = torch.cat([first, second])  # [2B, D]
    logits = cosines(z, z) / temperature  # [2B, 2B]
    logits = logits.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(2 * count, device=z.device).roll(count)  # [2B]
    return F.cross_entropy(logits, partner)


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """MoCo's loss: each query must find its key among the negatives.

    Memory: the logits are [B, 1 + N]. Source: He et al. 2020, equation 1.

    Args:
        query: [B, D], not normalised, as the others.
        key: the query's positive, [B, D].
        negatives: the same for all queries, [N, D].
        temperature: > 0 (MoCo v2: 0.2).

    Returns:
        Mean over the queries, []; ln(1 + N) where all are alike.

    Raises:
        ValueError: the temperature or the shapes are out of range.
    """
    _check(temperature, query=query, key=key, negatives=negatives)
    _check_pairs(query, key)
    positive = F.cosine_similarity(raised(query), raised(key), dim=1)[:, None]  # [B, 1]
    logits = torch.cat([positive, cosines(query, negatives)], 1) / temperature  # [B, 1 + N]
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


def in_batch_info_nce(query: Tensor, keys: Tensor, own: Tensor, *, temperature: float) -> Tensor:
    """MoCo v3's loss without its factor: each query must find its key among the keys of the whole batch.

    Memory: the logits are [B, N]. Source: Chen, Xie and He 2021, algorithm 1.

    Args:
        query: [B, D], not normalised, as the keys.
        keys: of all images of the batch, over all ranks, [N, D].
        own: number of each query's own key, int64, [B].
        temperature: > 0 (MoCo v3: 0.2).

    Returns:
        Mean over the queries, []; ln N where all are alike.

    Raises:
        ValueError: the temperature or the shapes are out of range.
    """
    _check(temperature, query=query, keys=keys)
    return F.cross_entropy(cosines(query, keys) / temperature, own)


@torch.no_grad()
def retrieval_accuracy(query: Tensor, keys: Tensor, own: Tensor) -> Tensor:
    """Share of the queries [B, D] whose nearest of the keys [N, D] is their own, number `own` [B]: []."""
    return (cosines(query, keys).argmax(1) == own).float().mean()


@torch.no_grad()
def contrast_accuracy(query: Tensor, key: Tensor, negatives: Tensor) -> Tensor:
    """Share of the queries [B, D] nearer to their key [B, D] than to any of the negatives [N, D]: []."""
    positive = F.cosine_similarity(raised(query), raised(key), dim=1)  # [B]
    return (positive > cosines(query, negatives).amax(1)).float().mean()


def cosines(x: Tensor, y: Tensor) -> Tensor:
    """[B, D], [N, D] -> [B, N], not in half precision."""
    with torch.autocast(x.device.type, enabled=False):
        return F.normalize(raised(x), dim=1) @ F.normalize(raised(y), dim=1).T


def _check(temperature: float, **rows: Tensor) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    shapes = {name: [*x.shape] for name, x in rows.items()}
    if any(x.ndim != 2 for x in rows.values()) or len({x.shape[-1] for x in rows.values()}) > 1:
        raise ValueError(f"expected rows of one width, [B, D] or [N, D], got {shapes}")


def _check_pairs(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(f"both views need one shape, got {[*first.shape]} and {[*second.shape]}")
