"""Retrieval: what the database images nearest to a query show (revisited Oxford and Paris; labelled sets)."""

# N images of the database, Q queries, q of a chunk, D features

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sslkit.core.dataset import Relevance
from sslkit.core.evaluator import Estimate, EvalContext, EvalData, Evaluator, FeatureSet, Result, Subject
from sslkit.errors import DataError, RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.ranking import Method, Ranking, average_precisions, first_counted, rankings
from sslkit.hookspecs import hookimpl

CUTS = (1, 5, 10)
"""Numbers of neighbours of mP@k, as in the revisited protocol."""
NEIGHBOURS = 10
"""Neighbours of each query in the picture."""
FIGURE = "neighbours"


def average_precision(ranked_relevant: Tensor | Sequence[bool], *, method: Method) -> float:
    """Average precision of one ranking.

    Args:
        ranked_relevant: whether each image is relevant, bool, the best first, [N].
        method: "trapezoid" as the revisited Oxford and Paris are evaluated (Radenovic et al. 2018), or
            "step", scikit-learn's.

    Returns:
        0 to 1; NaN where nothing is relevant.
    """
    if method not in ("trapezoid", "step"):
        raise ValueError(f"method must be 'trapezoid' or 'step', got '{method}'")
    relevant = torch.as_tensor(ranked_relevant, dtype=torch.bool)
    return float(average_precisions(relevant[None], method=method))


@dataclass
class RetrievalConfig:
    """Searching the memory bank with held-out images."""

    shown: int = 8
    """Queries in the picture, half of them the best and half the worst, >= 2."""

    def __post_init__(self) -> None:
        if self.shown < 2:
            raise RecipeError(f"'shown' is {self.shown}, but must be 2 or more")


class Question(Protocol):
    """What counts as a right answer to a query."""

    method: ClassVar[Method]

    def judge(self, ranking: Ranking) -> tuple[Tensor, Tensor]:
        """Which images of a ranking are relevant, and which count at all, bool [q, N] each."""


@dataclass(frozen=True)
class SameLabel:
    """An image is relevant if it has the label of the query; images without one are left out."""

    database: Tensor
    """[N] int64, below 0: not known."""
    queries: Tensor
    """[Q] int64, the same."""
    method: ClassVar[Method] = "step"

    def judge(self, ranking: Ranking) -> tuple[Tensor, Tensor]:
        labels = self.database.to(ranking.order.device)[ranking.order]  # [q, N]
        asked = self.queries[ranking.queries].to(labels)[:, None]  # [q, 1]
        return (labels == asked) & (asked >= 0), labels >= 0


@dataclass(frozen=True)
class Listed:
    """The relevant images of each query, and those left out of its ranking, are listed one by one."""

    relevant: Sequence[npt.NDArray[np.int64]]
    """For each of Q queries, positions in the database."""
    left_out: Sequence[npt.NDArray[np.int64]]
    method: ClassVar[Method] = "trapezoid"

    def judge(self, ranking: Ranking) -> tuple[Tensor, Tensor]:
        relevant, left_out = (
            _listed(lists[ranking.queries], ranking.order) for lists in (self.relevant, self.left_out)
        )
        return relevant, ~left_out


def _listed(lists: Sequence[npt.NDArray[np.int64]], order: Tensor) -> Tensor:
    """Whether each image of each ranking [q, N] is in the query's list, bool [q, N]."""
    there = torch.zeros(order.shape, dtype=torch.bool)
    for row, positions in zip(there, lists, strict=True):
        row[torch.as_tensor(np.asarray(positions, dtype=np.int64))] = True
    return there.to(order.device).gather(1, order)


@dataclass(frozen=True)
class Answer:
    """How well the queries found what a question asks for."""

    average_precision: Tensor
    """[Q] float64, NaN without a relevant image."""
    precision: Mapping[int, Tensor]
    """By k: the share of relevant images among the first k, [Q] float64; NaN without a relevant image."""
    nearest: Tensor
    """[Q, <= 10] int64, positions of the nearest images that count; -1 for none."""
    right: Tensor
    """Whether they are relevant, bool [Q, <= 10]."""

    def put(self, rows: slice, part: "Answer") -> None:
        """Take over some queries' answers; small tensors of every chunk, kept, would pin freed memory."""
        self.average_precision[rows] = part.average_precision
        self.nearest[rows], self.right[rows] = part.nearest, part.right
        for k, precision in part.precision.items():
            self.precision[k][rows] = precision


def ask(
    questions: Mapping[str, Question], database: Tensor, queries: Tensor, device: torch.device
) -> dict[str, Answer]:
    """Rank the database [N, D] for the queries [Q, D] once, and judge the rankings by each question."""
    answers = {name: _unanswered(len(queries), min(NEIGHBOURS, len(database))) for name in questions}
    for ranking in rankings(database, queries, device):
        for name, question in questions.items():
            answers[name].put(ranking.queries, _judged(ranking, question))
    return answers


def _unanswered(queries: int, neighbours: int) -> Answer:
    return Answer(
        torch.empty(queries, dtype=torch.float64),
        {k: torch.empty(queries, dtype=torch.float64) for k in CUTS},
        torch.empty(queries, neighbours, dtype=torch.int64),
        torch.empty(queries, neighbours, dtype=torch.bool),
    )


def _judged(ranking: Ranking, question: Question) -> Answer:
    relevant, counted = question.judge(ranking)
    precision = average_precisions(
        relevant, method=question.method, counted=counted, similarity=ranking.similarity
    )
    places = first_counted(ranking.order, counted, NEIGHBOURS)  # [q, <= 10]
    none = places == ranking.order.shape[1]
    places = places.masked_fill(none, 0)
    return Answer(
        precision.cpu(),
        {k: precision_at(relevant & counted, counted, k).cpu() for k in CUTS},
        ranking.order.gather(1, places).masked_fill(none, -1).cpu(),
        (relevant.gather(1, places) & ~none).cpu(),
    )


def precision_at(relevant: Tensor, counted: Tensor, k: int) -> Tensor:
    """Share of relevant images among the first k that count, float64 [q]; NaN without a relevant one.

    As published: a ranking ends with its last relevant image, so that one with fewer than k of them can be
    perfect.
    """
    rank = counted.cumsum(1)  # [q, N], from 1
    last = (rank * relevant).amax(1) if relevant.shape[1] else rank.sum(1)  # [q]
    cut = last.clamp(max=k).double()
    return (relevant & (rank <= k)).sum(1) / cut  # 0 / 0 is NaN


class Retrieval(Evaluator):
    """Searches the memory bank with held-out images, by the cosine of their features.

    With a list of answers (`data.name` of the revisited Oxford and Paris): `map_easy`, `map_medium`,
    `map_hard`, and `mp1_medium`, `mp5_medium` and so on, the mean precision at k. Else `map_class` and
    `top1_class` where labels are known, and `map_instance` and `top1_instance` where objects are: of the
    queries whose class or object the bank has at all.
    """

    Config = RetrievalConfig

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        from sslkit.eval.retrieval_figure import TITLES, chosen, draw_neighbours

        bank, queries = context.features(data.train), context.features(data.test)
        relevance = data.test.relevance
        if relevance is None:
            questions: Mapping[str, Question] = same_label(bank, queries)
        else:
            questions = levels(relevance, len(bank.features), len(queries.features))
        answers = ask(questions, bank.features, queries.features, context.device)
        known = {name: a for name, a in answers.items() if not a.average_precision.isnan().all()}
        if not known:
            return Result({}, notes=(NOTHING_RELEVANT,))
        estimates = _estimates(known, by_k=relevance is not None)
        name = next((name for name in PICTURED if name in known), next(iter(known)))
        path = context.figures / f"{FIGURE}.png"
        labels = None if queries.labels is None or name != "class" else queries.labels.tolist()
        shown = chosen(known[name].average_precision, self.config.shown, labels)
        draw_neighbours(known[name], shown, TITLES[name], estimates[f"map_{name}"], data, path)
        return Result.of(estimates, figures={FIGURE: path}, notes=_left_out(known))


PICTURED = ("medium", "class")
"""Questions whose answers are shown, the first there is."""
NOTHING_RELEVANT = (
    "nothing to measure: no query has a label, an instance or a listed answer that the memory bank has too"
)


def same_label(bank: FeatureSet, queries: FeatureSet) -> dict[str, Question]:
    """What can be asked of labelled images: the same class, the same instance."""
    known = {
        "class": (bank.labels, queries.labels),
        "instance": (bank.instances, queries.instances),
    }
    return {
        name: SameLabel(of_bank, of_queries)
        for name, (of_bank, of_queries) in known.items()
        if of_bank is not None and of_queries is not None
    }


def levels(relevance: Relevance, images: int, queries: int) -> dict[str, Question]:
    """The three questions of the revisited Oxford and Paris (Radenovic et al. 2018, Sec. 3.3).

    Raises:
        DataError: the lists are not of these queries and this database.
    """
    lists = (relevance.easy, relevance.hard, relevance.junk)
    largest = max((int(np.max(x)) for part in lists for x in part if len(x)), default=-1)
    if largest >= images or {len(part) for part in lists} != {queries}:
        raise DataError(
            f"the answers are listed for {len(relevance.easy)} queries, among {largest + 1} images or more,"
            f" but {queries} queries and {images} images are evaluated"
            "\n  evaluate all of them: eval.max_images=null"
        )
    both = [np.concatenate(pair) for pair in zip(relevance.easy, relevance.hard, strict=True)]
    junk_and_hard = [np.concatenate(pair) for pair in zip(relevance.junk, relevance.hard, strict=True)]
    junk_and_easy = [np.concatenate(pair) for pair in zip(relevance.junk, relevance.easy, strict=True)]
    return {
        "easy": Listed(relevance.easy, junk_and_hard),
        "medium": Listed(both, relevance.junk),
        "hard": Listed(relevance.hard, junk_and_easy),
    }


def _estimates(answers: Mapping[str, Answer], by_k: bool) -> dict[str, Estimate]:
    estimates = {}
    for name, answer in answers.items():
        estimates[f"map_{name}"] = mean_estimate(answer.average_precision)
        if by_k:
            estimates |= {f"mp{k}_{name}": mean_estimate(answer.precision[k]) for k in CUTS}
        else:
            estimates[f"top1_{name}"] = mean_estimate(answer.precision[1])
    return estimates


def _left_out(answers: Mapping[str, Answer]) -> list[str]:
    """A sentence on each question that some queries cannot be asked."""
    return [
        f"{name}: {int(missing.sum())} of {len(missing)} queries have nothing relevant in the memory bank and"
        " are left out"
        for name, answer in answers.items()
        if (missing := answer.average_precision.isnan()).any()
    ]


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"retrieval": Retrieval}
