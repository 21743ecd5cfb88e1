"""What the softmax outputs of a method became: its own classes."""

# N images, K prototypes, C classes, D features

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.augment.build import build_augmentation
from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import (
    Estimate,
    EvalContext,
    EvalData,
    Evaluator,
    FeatureSet,
    Need,
    Result,
    Subject,
)
from sslkit.core.method import Method
from sslkit.errors import RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.csv_file import write_csv
from sslkit.eval.features import eval_mode
from sslkit.eval.health_intervals import GROUPS, groups_of, jackknife, jackknifed
from sslkit.hookspecs import hookimpl

AT_A_TIME = 1024
"""Images whose probabilities are worked out together."""


@dataclass(frozen=True)
class Assigned:
    """What the prototypes claim of a set of images."""

    winners: Tensor
    """[N] int64, the prototype with the largest probability."""
    strength: Tensor
    """[N], that probability."""
    entropy: Tensor
    """[N] in nats, of each image's distribution."""
    totals: Tensor
    """[g, K], sums of the distributions of each group of the jackknife."""

    @property
    def prototypes(self) -> int:
        """K."""
        return self.totals.shape[1]


@dataclass(frozen=True)
class Resized:
    """The backbone's own features of images brought to another size."""

    side: int
    """Pixels."""

    @property
    def name(self) -> str:
        return f"pooled at {self.side} px"

    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        size = (self.side, self.side)
        return backbone(  # type: ignore[no-any-return]
            F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
        )


@torch.no_grad()
def assign(method: Method, features: Tensor, device: torch.device) -> Assigned:
    """Features [N, D] -> what the method's prototypes claim; never holds all probabilities [N, K]."""
    parts = []
    groups = groups_of(len(features))  # [N]
    totals: Tensor | None = None
    with eval_mode(method):
        for some, group in zip(features.split(AT_A_TIME), groups.split(AT_A_TIME), strict=True):
            p = method.assignments(some.to(device)).double().cpu()  # [n, K]
            totals = p.new_zeros(int(groups.max()) + 1, p.shape[1]) if totals is None else totals
            totals.index_add_(0, group, p)
            parts.append((*p.max(1), torch.special.entr(p).sum(1)))
    assert totals is not None
    strength, winners, entropy = (torch.cat(x) for x in zip(*parts, strict=True))
    return Assigned(winners, strength, entropy, totals)


# --- pure functions ----------------------------------------------------------------------------------------


def contingency(winners: Tensor, labels: Tensor, prototypes: int, classes: int) -> Tensor:
    """How many images each prototype has of each class: [N] and [N] int64 -> [K, C] int64."""
    cells = torch.bincount(winners * classes + labels, minlength=prototypes * classes)
    return cells.view(prototypes, classes)


def hungarian_accuracy(winners: Tensor, labels: Tensor) -> float:
    """Share of the images that are right when each class gets one prototype of its own, in the best way.

    With more prototypes than classes the others count as wrong, with fewer some classes get none.
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency(winners, labels, int(winners.max()) + 1, int(labels.max()) + 1).numpy()
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum()) / len(winners)


def majority_answers(winners: Tensor, labels: Tensor, group: Tensor) -> Tensor:
    """For each image the commonest class among the images of its prototype in the other groups.

    Args:
        winners, labels: int64, [N].
        group: int64 [N]; no image has a say in its own group's answers.

    Returns:
        int64 [N]; -1 where the prototype has no image in another group.
    """
    shape = int(winners.max()) + 1, int(labels.max()) + 1
    table = contingency(winners, labels, *shape)  # [K, C]
    answers = torch.full_like(winners, -1)
    for each in group.unique():
        mine = group == each
        others = table - contingency(winners[mine], labels[mine], *shape)
        commonest = torch.where(others.sum(1) > 0, others.argmax(1), -1)  # [K]
        answers[mine] = commonest[winners[mine]]
    return answers


def agreement(winners: Tensor, labels: Tensor) -> dict[str, Estimate]:
    """How well the partition by prototypes fits that by labels: [N] int64 each."""
    from sklearn import metrics

    numbers = {
        "nmi": metrics.normalized_mutual_info_score,
        "ami": metrics.adjusted_mutual_info_score,
        "ari": metrics.adjusted_rand_score,
    }
    return {
        name: jackknife(partial(_score, score, winners, labels), len(winners))
        for name, score in numbers.items()
    }


def _score(score: Callable[..., Any], winners: Tensor, labels: Tensor, rows: Tensor) -> float:
    return float(score(labels[rows].numpy(), winners[rows].numpy()))


# --- the evaluator -----------------------------------------------------------------------------------------


@dataclass
class PrototypesConfig:
    """What the method's own classes are, and which images fire them."""

    size: int | None = None
    """Side that images are resized to, pixels, >= 1: a head knows the features of the size it was trained at
    (a supervised one at 24 px had .85 of the classes right at 24 px, .52 at 64). null: that of the run's
    global crops."""
    rows: int = 8
    """Most used prototypes in the gallery, >= 1."""
    columns: int = 10
    """Images of each that fire it most strongly, >= 1."""

    def __post_init__(self) -> None:
        for key in ("size", "rows", "columns"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise RecipeError(f"'{key}' is {getattr(self, key)}, but must be 1 or more")


class Prototypes(Evaluator):
    """How many of its own classes a method uses, how sure it is, and whether they are those of the labels.

    An image belongs to the prototype with the largest probability. Of the held-out images: `used`, prototypes
    that have an image; `perplexity`, exp of `entropy_of_mean`, the entropy of the mean distribution;
    `entropy`, the mean entropy of an image's own. Where there are labels: `nmi`, `ami`, `ari`; `hungarian`,
    accuracy with one prototype for each class; `majority`, accuracy where a prototype means the class that is
    commonest among its other images, so that many may mean the same. `instance_nmi` and
    `instance_ami` where objects are known.
    """

    Config = PrototypesConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"method", "prototypes"})

    def __init__(self, config: PrototypesConfig) -> None:
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        from sslkit.eval.prototypes_figure import draw_prototypes

        assert subject.method is not None
        if len(data.test) < GROUPS:
            return Result(
                {}, notes=(f"it needs {GROUPS} held-out images, of which there are {len(data.test)}",)
            )
        side = self.config.size or build_augmentation(context.recipe, context.registry).image_size
        known = context.features(data.test, Resized(side))
        claimed = assign(subject.method, known.features, context.device)
        members = members_of(claimed, known.labels, data.test.classes)
        table = write_table(members, context.figures / "prototypes.csv")
        path = context.figures / "prototypes.png"
        draw_prototypes(claimed, members, data.test, path, self.config.rows, self.config.columns)
        k = claimed.prototypes
        return Result.of(
            {**usage(claimed), **agreements(claimed, known)},
            figures={"prototypes": path},
            tables={"prototypes": table},
            notes=(f"{k:,} prototypes, whose entropy is at most ln {k:,} = {math.log(k):.2f}",),
        )


def agreements(claimed: Assigned, known: FeatureSet) -> dict[str, Estimate]:
    """All that labels and objects say of the prototypes; nothing where they are not known."""
    estimates = {}
    if (objects := _known(claimed.winners, known.instances)) is not None:
        of_objects = agreement(*objects)
        estimates = {f"instance_{name}": of_objects[name] for name in ("nmi", "ami")}
    if (pair := _known(claimed.winners, known.labels)) is not None:
        winners, labels = pair
        estimates |= agreement(winners, labels)
        estimates["hungarian"] = jackknife(
            lambda rows: hungarian_accuracy(winners[rows], labels[rows]), len(winners)
        )
        answers = majority_answers(winners, labels, groups_of(len(winners)))
        estimates["majority"] = mean_estimate(answers == labels)
    return estimates


def _known(winners: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Without the images whose label is not known (below 0); None if too few are left."""
    known = torch.zeros(0) if labels is None else labels >= 0
    return (winners[known], labels[known]) if labels is not None and known.sum() >= GROUPS else None


def usage(claimed: Assigned) -> dict[str, Estimate]:
    """How many prototypes are used, and how sure the method is of each image."""
    count, total = len(claimed.winners), claimed.totals.sum(0)  # [K]
    without = [_entropy(total - group) for group in claimed.totals]
    of_mean = jackknifed(_entropy(total), without, count)
    return {
        "used": jackknife(lambda rows: float(len(claimed.winners[rows].unique())), count),
        "perplexity": Estimate(math.exp(of_mean.value), math.exp(of_mean.low), math.exp(of_mean.high), count),
        "entropy": mean_estimate(claimed.entropy),
        "entropy_of_mean": of_mean,
    }


def _entropy(amounts: Tensor) -> float:
    return float(torch.special.entr(amounts.clamp(min=0) / amounts.sum()).sum())


@dataclass(frozen=True)
class Members:
    """One prototype's images."""

    prototype: int
    images: int
    share: float
    """Of all images."""
    commonest: str | None
    """Class that most of those with a label are of; None without labels."""
    commonest_share: float | None
    """Share of those with a label that are of it."""


def members_of(claimed: Assigned, labels: Tensor | None, classes: Sequence[str] | None) -> list[Members]:
    """The prototypes that have an image, most images first; labels [N] below 0 are not known."""
    counts = torch.bincount(claimed.winners, minlength=claimed.prototypes)  # [K]
    order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    found = []
    for prototype in order.tolist():
        mine = claimed.winners == prototype  # [N]
        commonest = _commonest(None if labels is None else labels[mine], classes)
        count = int(counts[prototype])
        found.append(Members(prototype, count, count / len(mine), *commonest))
    return found


def _commonest(labels: Tensor | None, classes: Sequence[str] | None) -> tuple[str | None, float | None]:
    known = labels[labels >= 0] if labels is not None else None
    if known is None or len(known) == 0:
        return None, None
    counts = torch.bincount(known)
    label = int(counts.argmax())
    return classes[label] if classes and label < len(classes) else str(label), float(
        counts[label] / len(known)
    )


def write_table(members: Sequence[Members], path: Path) -> Path:
    """prototypes.csv: one line a prototype that has an image."""
    return write_csv(path, [field.name for field in fields(Members)], map(astuple, members))


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"prototypes": Prototypes}
