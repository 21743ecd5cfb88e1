"""Images of a database in the order of their cosine to each query, in bounded memory, and how good it is."""

# N images of the database, Q queries, q of a chunk, D features

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

PAIRS_AT_ONCE = 2**20
"""Pairs of a query and an image that are compared at a time: some 200 MB, whatever the sizes of the sets."""
Method = Literal["trapezoid", "step"]


@dataclass(frozen=True)
class Ranking:
    """The whole database in the order of each query of a chunk, the nearest first.

    Images of equal similarity keep the order that they have in the database.
    """

    queries: slice
    """Which of the Q queries."""
    order: Tensor
    """[q, N] int64, positions in the database."""
    similarity: Tensor
    """[q, N] cosines, falling."""


def rankings(database: Tensor, queries: Tensor, device: torch.device) -> Iterator[Ranking]:
    """Rank the database [N, D] for queries [Q, D], neither normalised, chunk by chunk."""
    for rows, cosines in similarities(database, queries, device):
        similarity, order = cosines.sort(dim=1, descending=True, stable=True)  # [q, N]
        yield Ranking(rows, order, similarity)


def similarities(database: Tensor, queries: Tensor, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """Cosines [q, N] of one chunk of queries after another, in the order of the database."""
    bank = F.normalize(database.to(device), dim=-1)  # [N, D]
    rows = max(1, PAIRS_AT_ONCE // max(1, len(bank)))
    for start in range(0, len(queries), rows):
        some = slice(start, min(start + rows, len(queries)))
        yield some, F.normalize(queries[some].to(bank), dim=-1) @ bank.T


def average_precisions(
    relevant: Tensor, *, method: Method, counted: Tensor | None = None, similarity: Tensor | None = None
) -> Tensor:
    """Average precision of each ranking, float64 [q]; NaN where nothing relevant is counted.

    `step` is the sum over the relevant images of their precision (scikit-learn's; Manning et al. 2008, Sec.
    8.4). `trapezoid` lays a straight line between the precision before and after each of them, as the
    evaluations of Holidays, Copydays and the revisited Oxford and Paris do.

    Args:
        relevant: bool, the best first, [q, N].
        counted: bool [q, N]; others are left out before ranks are counted, as junk is. None: all count.
        similarity: falling, [q, N]. With it `step` treats images of equal similarity as found together, as
            scikit-learn does; without it they were found one by one.
    """
    kept = torch.ones_like(relevant) if counted is None else counted
    relevant = relevant & kept
    seen, found = kept.cumsum(1), relevant.cumsum(1)  # [q, N] images so far, relevant ones so far
    if method == "step" and similarity is not None:
        last = _last_of_equals(similarity)
        seen, found = seen.gather(1, last), found.gather(1, last)
    precision = found / seen.clamp(min=1).double()
    if method == "trapezoid":
        before = torch.where(seen > 1, (found - 1) / (seen - 1).clamp(min=1).double(), 1.0)
        precision = (precision + before) / 2
    return (precision * relevant).sum(1) / relevant.sum(1)


def first_counted(order: Tensor, counted: Tensor, k: int) -> Tensor:
    """The k nearest of those that count, as places in the ranking, [q, k] or fewer; N for none."""
    count = order.shape[1]
    places = torch.where(counted, torch.arange(count, device=order.device), count)  # [q, N]
    return places.topk(min(k, count), largest=False, sorted=True).values


def _last_of_equals(similarity: Tensor) -> Tensor:
    """[q, N] -> for each place the last one with the same similarity, [q, N] int64."""
    count = similarity.shape[1]
    place = torch.arange(count, device=similarity.device).expand_as(similarity)
    ends = F.pad(similarity[:, 1:] != similarity[:, :-1], (0, 1), value=True)[:, :count]  # [q, N]
    later = torch.where(ends, place, count).flip(1)  # the nearest end to the right is the least so far
    return later.cummin(1).values.flip(1) if count else later
