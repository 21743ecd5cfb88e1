"""Weighted k-nearest-neighbour classification of frozen features (Wu et al. 2018; Caron et al. 2021)."""

# N images of the memory bank, Q queries, D features, C classes, k neighbours

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.evaluator import (
    Estimate,
    EvalContext,
    EvalData,
    Evaluator,
    FeatureSet,
    Result,
    Subject,
)
from sslkit.errors import RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.confusion import Classified, class_names, write_by_class
from sslkit.hookspecs import hookimpl

CHUNK = 1024
"""Queries compared at a time."""
BANK_BLOCK = 16384
"""Images of the memory bank compared at a time; with CHUNK it bounds the memory to some 100 MB."""
TOP = 5
"""The largest top-n that is asked for."""
PICTURED_K = 20
"""Neighbours whose classes are pictured (those of the paper's figures), or the nearest number asked for."""
LARGEST_EXPONENT = 60.0
"""Votes stay finite in float32 below exp of this, for any number of neighbours."""


@torch.no_grad()
def knn_votes(
    train: Tensor, train_labels: Tensor, queries: Tensor, *, k: int, temperature: float, num_classes: int
) -> Tensor:
    """Each neighbour votes for its class with exp(cosine / temperature).

    Works through queries and bank in chunks, so that ImageNet fits in memory. Where exp would overflow (a
    temperature below 1/60), all votes of a query are scaled down alike.

    Args:
        train: the memory bank's features, not normalised, [N, D].
        train_labels: int64 in [0, C), [N].
        queries: features, not normalised, [Q, D].
        k: neighbours that vote, >= 1; more than N means all.
        temperature: > 0 (paper: 0.07).
        num_classes: C.

    Returns:
        Votes, [Q, C], of the queries' type and on their device; 0 for a class that no neighbour has.

    Raises:
        ValueError: `k`, the temperature or the shapes are out of range.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"k must be >= 1 and temperature > 0, got {k} and {temperature}")
    if len(train) == 0 or len(train) != len(train_labels) or train.shape[1:] != queries.shape[1:]:
        shapes = [[*x.shape] for x in (train, train_labels, queries)]
        raise ValueError(f"expected train [N, D], labels [N], queries [Q, D] with N >= 1, got {shapes}")
    labels = train_labels.to(queries.device)
    votes = [
        _votes(similarity, labels[index], temperature, num_classes)
        for similarity, index in _nearest(train, queries, k, CHUNK, queries.device)
    ]
    return torch.cat(votes) if votes else queries.new_zeros(0, num_classes)


def _nearest(
    train: Tensor, queries: Tensor, k: int, chunk: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """For one chunk of queries after another, the k nearest, best first: cosine, position [q, k]."""
    for some in queries.split(chunk):
        query = F.normalize(some.to(device), dim=-1)  # [q, D]
        best = (
            query.new_empty(len(query), 0),
            torch.empty(len(query), 0, dtype=torch.int64, device=query.device),
        )
        for start in range(0, len(train), BANK_BLOCK):
            bank = F.normalize(train[start : start + BANK_BLOCK].to(query), dim=-1)
            similarity, index = (query @ bank.T).topk(min(k, len(bank)))  # [q, k]
            best = _merged(best, (similarity, index + start), k)
        yield best


def _merged(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    similarity, index = (torch.cat(pair, 1) for pair in zip(first, second, strict=True))  # [q, <= 2k]
    similarity, order = similarity.topk(min(k, similarity.shape[1]))
    return similarity, index.gather(1, order)


def _votes(similarity: Tensor, labels: Tensor, temperature: float, num_classes: int) -> Tensor:
    """Cosines and labels of the neighbours, best first, [q, k] each -> votes [q, C]."""
    excess = (similarity[:, :1] - LARGEST_EXPONENT * temperature).clamp(min=0)  # [q, 1]
    weights = ((similarity - excess) / temperature).exp()
    return weights.new_zeros(len(weights), num_classes).scatter_add_(1, labels, weights)


@dataclass
class KNNConfig:
    """Weighted kNN on frozen features."""

    k: list[int] = field(default_factory=lambda: [10, 20, 100, 200])
    """Numbers of neighbours, >= 1 each (DINO: 10, 20, 100, 200); more than the bank has means all of it."""
    temperature: float = 0.07
    """A neighbour votes with exp(cosine / temperature), > 0 (DINO: 0.07)."""
    chunk: int = CHUNK
    """Queries compared with the memory bank at a time, >= 1; fewer need less memory."""


class KNN(Evaluator):
    """Classes of held-out images by their nearest training images.

    `top1_k10`, `top5_k10` and so on: share of the queries whose class has the most votes, or is among the
    five with the most. A class without a vote is never among them, and with fewer than five classes there is
    no top-5. Where objects are known, `instance_top1_k10` asks for the very object instead of the class, of
    the queries whose object the bank has. Images without a label are left out on both sides. `per_class.csv`
    and `confusion.png` tell of k = 20, or of the number next to it.
    """

    Config = KNNConfig
    needs = frozenset({"labels"})

    def __init__(self, config: KNNConfig) -> None:
        if not config.k or min(config.k) < 1:
            raise RecipeError(f"knn.k must be numbers >= 1, got {list(config.k)}")
        if not config.temperature > 0 or config.chunk < 1:
            raise RecipeError(
                f"knn.temperature must be > 0 and knn.chunk >= 1, got {config.temperature} and {config.chunk}"
            )
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        bank, queries = context.features(data.train), context.features(data.test)
        estimates: dict[str, Estimate] = {}
        figures: Mapping[str, Path] = {}
        tables: Mapping[str, Path] = {}
        by_class = _question(bank, bank.labels, queries, queries.labels)
        if by_class is not None:
            names = class_names(data.train.classes, by_class.classes)
            by_class = replace(by_class, classes=len(names))
            ranked = self._ranked(by_class, context.device)
            estimates |= _shares(by_class, ranked, 1)
            estimates |= _shares(by_class, ranked, TOP) if len(names) >= TOP else {}
            k = min(ranked, key=lambda k: abs(k - PICTURED_K))
            classified = Classified(by_class.answers, ranked[k][:, 0], names)
            figures, tables = write_by_class(classified, context.figures, f"kNN with k = {k}")
        by_object = _question(bank, bank.instances, queries, queries.instances)
        if by_object is not None and (known := by_object.answerable()) is not None:
            shares = _shares(known, self._ranked(known, context.device), 1)
            estimates |= {f"instance_{key}": share for key, share in shares.items()}
        return Result.of(estimates, figures=figures, tables=tables)

    def _ranked(self, question: "_Question", device: torch.device) -> dict[int, Tensor]:
        """For each k the classes with the most votes, best first, [Q, TOP] on the CPU.

        What is not in [0, C) stands for none: classes without votes are never found by chance.
        """
        found: dict[int, list[Tensor]] = {k: [] for k in self.config.k}
        labels = question.bank_labels.to(device)
        neighbours = _nearest(question.bank, question.queries, max(self.config.k), self.config.chunk, device)
        for similarity, index in neighbours:
            for k, ranked in found.items():
                nearest = similarity[:, :k], labels[index[:, :k]]
                votes = _votes(*nearest, self.config.temperature, question.classes)
                ranked.append(_with_blanks(votes).topk(TOP).indices.cpu())
        return {k: torch.cat(ranked) for k, ranked in found.items()}


@dataclass(frozen=True)
class _Question:
    """Labelled features on both sides."""

    bank: Tensor
    """[N, D]."""
    bank_labels: Tensor
    """[N] in [0, C)."""
    queries: Tensor
    """[Q, D]."""
    answers: Tensor
    """[Q] in [0, C)."""
    classes: int
    """C."""

    def answerable(self) -> "_Question | None":
        """The queries whose label the bank has; None if there are none."""
        there = torch.isin(self.answers, self.bank_labels)  # [Q]
        if not there.any():
            return None
        return replace(self, queries=self.queries[there], answers=self.answers[there])


def _question(
    bank: FeatureSet, bank_labels: Tensor | None, queries: FeatureSet, answers: Tensor | None
) -> _Question | None:
    """Without the images whose label is not known (below 0); None if a side has no others."""
    if bank_labels is None or answers is None:
        return None
    kept_bank, kept_queries = bank_labels >= 0, answers >= 0
    if not kept_bank.any() or not kept_queries.any():
        return None
    return _Question(
        bank=bank.features if kept_bank.all() else bank.features[kept_bank],
        bank_labels=bank_labels[kept_bank],
        queries=queries.features[kept_queries],
        answers=answers[kept_queries],
        classes=int(torch.maximum(bank_labels.max(), answers.max())) + 1,
    )


def _shares(question: _Question, ranked: Mapping[int, Tensor], n: int) -> dict[str, Estimate]:
    """For each k the share of queries whose answer is among the first n of the ranked classes [Q, TOP]."""
    hits = {k: (classes[:, :n] == question.answers[:, None]).any(1) for k, classes in ranked.items()}
    return {f"top{n}_k{k}": mean_estimate(hit) for k, hit in hits.items()}


def _with_blanks(votes: Tensor) -> Tensor:
    """[q, C] -> [q, C + TOP]: blanks beat classes without a vote, whose ties would be found by chance."""
    return F.pad(votes, (0, TOP), value=torch.finfo(votes.dtype).tiny)


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"knn": KNN}
