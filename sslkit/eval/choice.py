"""Which checkpoint is best, without labels? How far label-free numbers agree with kNN accuracy, in ranks."""

# R runs, n checkpoints of a run

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from sslkit.core.evaluator import Estimate
from sslkit.eval.bootstrap import estimate, mean_estimate

BETTER = {
    "step": 1,
    "loss": -1,
    "rankme": 1,
    "alpha_req": -1,
    "uniformity": -1,
    "alignment": -1,
    "feature_std": 1,
}
"""What a checkpoint can be chosen by, and whether more (1) or less (-1) is said to be better. `step`, the
last one, is what the others have to beat. alpha-ReQ is best near 1, and larger in all our runs."""
LOSS_STEPS = 50
"""Steps before a checkpoint whose losses are averaged."""
FEWEST = 3
"""Checkpoints, or runs, below which a rank correlation says nothing."""


@dataclass(frozen=True)
class Checkpoints:
    """The evaluations of one run, oldest first."""

    accuracy: tuple[float, ...]
    """[n], of kNN."""
    numbers: Mapping[str, tuple[float, ...]]
    """[n] each, by their names in `BETTER`; NaN where one was not measured."""

    def scores(self, name: str) -> tuple[float, ...]:
        """A number turned so that more is said to be better, [n]."""
        return tuple(BETTER[name] * value for value in self.numbers[name])


def checkpoints_of(records: Iterable[Mapping[str, Any]], accuracy: str) -> Checkpoints:
    """From the records of a metrics.jsonl: all steps at which both kNN and health were asked.

    Args:
        records: oldest first; of several answers to a question at a step the last counts.
        accuracy: metric of kNN, such as "top1_k20".
    """
    losses: list[tuple[int, float]] = []
    asked: dict[str, dict[int, Mapping[str, float | None]]] = {"knn": {}, "health": {}}
    for record in records:
        if record["kind"] == "step" and record.get("loss") is not None:
            losses.append((record["step"], record["loss"]))
        elif record["kind"] == "eval" and record["evaluator"] in asked:
            asked[record["evaluator"]][record["step"]] = record["metrics"]
    steps = sorted(asked["knn"].keys() & asked["health"].keys())
    numbers = {name: tuple(_number(asked["health"][s].get(name)) for s in steps) for name in BETTER}
    numbers["step"] = tuple(map(float, steps))
    numbers["loss"] = tuple(_loss_before(losses, step) for step in steps)
    return Checkpoints(tuple(_number(asked["knn"][s].get(accuracy)) for s in steps), numbers)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _loss_before(losses: Sequence[tuple[int, float]], step: int) -> float:
    recent = [loss for at, loss in losses if step - LOSS_STEPS < at <= step]
    return fmean(recent) if recent else math.nan


def rank_correlation(x: Sequence[float], y: Sequence[float], kind: str = "spearman") -> float:
    """Spearman's rho or Kendall's tau-b of the pairs without NaN; NaN where it is not defined.

    Args:
        kind: "spearman" or "kendall".
    """
    from scipy import stats

    of = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}[kind]
    pairs = [pair for pair in zip(x, y, strict=True) if not any(map(math.isnan, pair))]
    if len(pairs) < FEWEST or any(len(set(values)) < 2 for values in zip(*pairs, strict=True)):
        return math.nan
    return float(of(*zip(*pairs, strict=True)).statistic)


@dataclass(frozen=True)
class Worth:
    """What a label-free number is worth for choosing a checkpoint."""

    spearman: Estimate
    """With kNN accuracy over a run's checkpoints; mean over runs, the interval over runs."""
    kendall: Estimate
    lost: Estimate
    """Accuracy of the best checkpoint minus that of the chosen one, >= 0; mean over runs."""
    gained: Estimate
    """Accuracy of the chosen checkpoint minus that of the last; mean over runs."""
    between: Estimate
    """Spearman's rho over the runs' last checkpoints."""


def worth(runs: Sequence[Checkpoints], name: str) -> Worth:
    """How well one number of `BETTER` chooses, over runs.

    The intervals are over runs, and those of `between` draw runs twice: with few runs they are rough.
    """
    chosen = [_chosen(run, name) for run in runs]
    return Worth(
        spearman=_mean(rank_correlation(run.scores(name), run.accuracy) for run in runs),
        kendall=_mean(rank_correlation(run.scores(name), run.accuracy, "kendall") for run in runs),
        lost=_mean(math.nan if a is None else _best(run) - a for run, a in zip(runs, chosen, strict=True)),
        gained=_mean(
            math.nan if a is None else a - run.accuracy[-1] for run, a in zip(runs, chosen, strict=True)
        ),
        between=_between(runs, name),
    )


def _chosen(run: Checkpoints, name: str) -> float | None:
    """Accuracy of the checkpoint that the number calls best, the later of equals; None without the number."""
    known = [
        (score, place)
        for place, score in enumerate(run.scores(name))
        if not math.isnan(score) and not math.isnan(run.accuracy[place])
    ]
    return run.accuracy[max(known)[1]] if known else None


def _best(run: Checkpoints) -> float:
    return max(a for a in run.accuracy if not math.isnan(a))


def _mean(values: Iterable[float]) -> Estimate:
    return mean_estimate(torch.tensor(list(values), dtype=torch.float64))


def _between(runs: Sequence[Checkpoints], name: str) -> Estimate:
    last = [(run.scores(name)[-1], run.accuracy[-1]) for run in runs if run.accuracy]
    if len(last) < FEWEST:
        return Estimate(math.nan, math.nan, math.nan, len(last))
    return estimate(_correlation_of_rows(last), len(last))


def _correlation_of_rows(pairs: Sequence[tuple[float, float]]) -> Callable[[Tensor], float]:
    def statistic(rows: Tensor) -> float:
        scores, accuracies = zip(*(pairs[row] for row in rows.tolist()), strict=True)
        return rank_correlation(scores, accuracies)

    return statistic


def table(runs: Sequence[Checkpoints]) -> list[str]:
    """A Markdown table: one line for each number, those that follow kNN best within a run first."""
    worths = {name: worth(runs, name) for name in BETTER}
    known = {name: found for name, found in worths.items() if found.spearman.count}
    order = sorted(known, key=lambda name: -known[name].spearman.value)
    return [
        "| chosen by | Spearman within a run | Kendall | points lost to the best | points won over the last"
        " | Spearman between runs |",
        "|---|---|---|---|---|---|",
        *(_line(name, known[name]) for name in order),
    ]


def _line(name: str, found: Worth) -> str:
    sign = "more" if BETTER[name] > 0 else "less"
    label = "the last one" if name == "step" else f"{sign} {name}"
    numbers = [_shown(x) for x in (found.spearman, found.kendall)]
    points = [_shown(x, 100, 1) for x in (found.lost, found.gained)]
    between = "" if name == "step" else _shown(found.between)
    return f"| {label} | {' | '.join([*numbers, *points])} | {between} |"


def _shown(x: Estimate, scale: float = 1.0, digits: int = 2) -> str:
    if math.isnan(x.value):
        return ""
    value, low, high = (f"{scale * number:+.{digits}f}" for number in (x.value, x.low, x.high))
    return value if math.isnan(x.low) else f"{value} ({low} to {high})"
