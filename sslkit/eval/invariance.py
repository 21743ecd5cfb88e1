"""What is augmented away does not matter: how far features move when images are changed."""

# N images, M of the memory bank, D features

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sslkit.core.evaluator import Estimate, EvalContext, EvalData, Evaluator, Result, Subject
from sslkit.errors import RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.csv_file import write_csv
from sslkit.eval.features import eval_mode
from sslkit.eval.floors import untrained
from sslkit.eval.in_memory import ROUNDING, Chosen, choose, embed
from sslkit.eval.knn import knn_votes
from sslkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from sslkit.eval.invariance_operations import Operation

NEIGHBOURS, TEMPERATURE = 10, 0.07
"""Of the kNN."""
STAYED, HELD = 0.8, 0.9
"""Ignored: similarity of so much or more, and with labels so large a share of the kNN accuracy or more."""
MOVED, LOST = 0.5, 0.5
"""Kept: similarity below this, nearer to another image than to its own, or, with labels, less of the kNN."""
ALIKE = 1e-6
"""Features of different images that are this near to one another tell nothing."""
FEWEST = 3


@dataclass
class InvarianceConfig:
    """Held-out images changed by one operation after the other, at growing strength."""

    strengths: list[float] = field(default_factory=lambda: [0.0, 0.5, 1.0, 2.0])
    """How strong each operation is, 0 to 2: 0 is none, 1 the most that training drew, 2 twice that; 1 is
    always among them."""
    images: int = 100
    """At most so many images, >= 3, spread evenly over the held-out ones; each is seen some 35 times."""
    floor: bool = True
    """Whether an untrained network is asked as well, at strength 1."""

    def __post_init__(self) -> None:
        if self.images < FEWEST:
            raise RecipeError(f"'images' is {self.images}, but must be {FEWEST} or more")
        if not all(0 <= s <= 2 for s in self.strengths) or 1 not in self.strengths:
            raise RecipeError(
                f"'strengths' is {list(self.strengths)!r}, but must be numbers from 0 to 2, 1 among them"
            )


@dataclass(frozen=True)
class Point:
    """What one operation at one strength does to the features."""

    similarity: Estimate
    """1: the same as of the unchanged image; 0: as far as those of another image."""
    retrieved: Estimate
    """Share of the changed images whose nearest unchanged one is their own."""
    knn: Estimate | None
    """Accuracy of the changed images' classes by unchanged neighbours; None without labels."""


@dataclass(frozen=True)
class Curve:
    """One operation."""

    operation: "Operation"
    points: Mapping[float, Point]
    """By strength, 0 included."""
    floor: Estimate | None
    """An untrained network's similarity at strength 1."""

    @property
    def verdict(self) -> str:
        """`ignored`, `kept` or, between the two, `noticed`, at the strength of training; or `unknown`."""
        before, after = self.points[0.0], self.points[1.0]
        similarity = after.similarity.value
        if math.isnan(similarity):
            return "unknown"
        right = after.knn.value / before.knn.value if before.knn and after.knn and before.knn.value else 1.0
        if similarity < MOVED or right < LOST:
            return "kept"
        return "ignored" if similarity >= STAYED and right >= HELD else "noticed"


class Invariance(Evaluator):
    """How far the features move as images are changed, for each operation of the augmentation and some more.

    `similarity_hue` and so on: cosine of the features of changed and unchanged images at the strength of
    training, on a scale on which 1 is no change and 0 the mean cosine of different images.
    `similarity_hue_untrained`: of the same network with its initial weights. `retrieved_hue`: share of the
    changed images that are still nearest to their own unchanged one, ties shared. `knn_hue`, with labels:
    accuracy of the changed images by the unchanged memory bank; `knn_none`: of the unchanged ones. All
    strengths are in the table.
    """

    Config = InvarianceConfig

    def __init__(self, config: InvarianceConfig) -> None:
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        from sslkit.eval.invariance_figure import draw_curves, draw_examples

        chosen = choose(data.test, self.config.images, least=FEWEST, what="invariance")
        done, left_out = _possible(context.recipe.augment.config, chosen.pixels.shape[1])
        curves = self._curves(subject, data, context, chosen, done)
        figures = {
            "invariance": draw_curves(curves, context.figures / "curves.png"),
            "invariance_examples": draw_examples(
                chosen.pixels, done, self.config.strengths, context.figures / "examples.png"
            ),
        }
        table = write_curves(curves, context.figures / "curves.csv")
        return Result.of(
            metrics_of(curves), figures=figures, tables={"curves": table}, notes=notes_on(curves, left_out)
        )

    @torch.no_grad()
    def _curves(
        self,
        subject: Subject,
        data: EvalData,
        context: EvalContext,
        chosen: Chosen,
        done: list["Operation"],
    ) -> list[Curve]:
        floor = untrained(subject.backbone, context.recipe.seed) if self.config.floor else None
        with eval_mode(subject.backbone):
            plain = embed(subject.backbone, chosen.pixels, data.test, context.device)  # [N, D]
            judge = _Judge(plain, chosen, data, context)
            below = None if floor is None else embed(floor, chosen.pixels, data.test, context.device)
            curves = []
            for operation in context.track(done, len(done), "operations"):
                points, lowest = {0.0: judge.point(plain)}, None
                for strength in operation.strengths(self.config.strengths):
                    changed = operation(chosen.pixels, strength)
                    points[strength] = judge.point(
                        embed(subject.backbone, changed, data.test, context.device)
                    )
                    if floor is not None and below is not None and strength == 1:
                        moved = embed(floor, changed, data.test, context.device)
                        lowest = mean_estimate(scaled_similarity(below, moved))
                curves.append(Curve(operation, points, lowest))
        return curves


def scaled_similarity(plain: Tensor, changed: Tensor) -> Tensor:
    """Cosine of each image to its changed self: 1 the same, 0 as different images are in the mean.

    Args:
        plain, changed: of length 1, float64 [N, D].

    Returns:
        [N], at most 1; NaN where different images have the same features.
    """
    n = len(plain)
    apart = (plain.sum(0).square().sum() - plain.square().sum()) / (n * (n - 1))  # mean over pairs i != j
    if 1 - apart < ALIKE:
        return plain.new_full((n,), float("nan"))
    return ((plain * changed).sum(1) - apart) / (1 - apart)


def own_is_nearest(wholes: Tensor, queries: Tensor) -> Tensor:
    """Whether query i is nearest to whole i of all, by cosine; ties are shared.

    Args:
        wholes, queries: of length 1, float64 [N, D].

    Returns:
        [N] in [0, 1]: 0 where another one is nearer, else one over the number of the equally near.
    """
    cosine = queries @ wholes.T  # [N, N]
    own = cosine.diagonal()[:, None]  # [N, 1]
    nearer, equal = (cosine > own + ROUNDING).any(1), ((cosine - own).abs() <= ROUNDING).sum(1)
    return torch.where(nearer, 0.0, 1.0 / equal)


class _Judge:
    """Compares features of changed images with those of the unchanged ones."""

    def __init__(self, plain: Tensor, chosen: Chosen, data: EvalData, context: EvalContext) -> None:
        self._plain = plain
        self._known: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        if data.train.classes is None or chosen.labels is None:
            return
        bank = context.features(data.train)
        if bank.labels is None or not (bank.labels >= 0).any() or not (chosen.labels >= 0).any():
            return
        there = bank.labels >= 0
        self._known = bank.features[there], bank.labels[there], chosen.labels, chosen.labels >= 0

    def point(self, changed: Tensor) -> Point:
        return Point(
            mean_estimate(scaled_similarity(self._plain, changed)),
            mean_estimate(own_is_nearest(self._plain, changed)),
            self._accuracy(changed),
        )

    def _accuracy(self, changed: Tensor) -> Estimate | None:
        if self._known is None:
            return None
        bank, bank_labels, labels, labelled = self._known
        votes = knn_votes(
            bank,
            bank_labels,
            changed[labelled].float(),
            k=NEIGHBOURS,
            temperature=TEMPERATURE,
            num_classes=int(torch.cat([bank_labels, labels]).max()) + 1,
        )
        return mean_estimate(votes.argmax(1) == labels[labelled])


def _possible(augment: object, channels: int) -> tuple[list["Operation"], list[str]]:
    """The operations on images of so many channels, and the names of those that need others."""
    from sslkit.eval.invariance_operations import operations

    every = operations(augment)
    fits = [o for o in every if channels == 3 or not (o.colours or (o.name == "jpeg" and channels != 1))]
    return fits, [o.name for o in every if o not in fits]


def metrics_of(curves: list[Curve]) -> dict[str, Estimate]:
    """Of all operations at the strength of training."""
    found: dict[str, Estimate] = {}
    for curve in curves:
        name, point = curve.operation.name, curve.points[1.0]
        found[f"similarity_{name}"] = point.similarity
        if curve.floor is not None:
            found[f"similarity_{name}_untrained"] = curve.floor
        found[f"retrieved_{name}"] = point.retrieved
        if point.knn is not None:
            found[f"knn_{name}"] = point.knn
    unchanged = curves[0].points[0.0].knn
    return found if unchanged is None else {"knn_none": unchanged, **found}


def notes_on(curves: list[Curve], left_out: list[str]) -> list[str]:
    """What the backbone ignores and what it keeps, in sentences."""
    told = {
        verdict: [_starred(curve.operation) for curve in curves if curve.verdict == verdict]
        for verdict in ("ignored", "noticed", "kept", "unknown")
    }
    if told["unknown"]:
        return ["The features of different images are the same: nothing to compare with."]
    labelled = curves[0].points[0.0].knn is not None
    and_right, or_wrong = (
        (f" and {HELD:.0%} of the kNN accuracy", f" or less than {LOST:.0%} of it") if labelled else ("", "")
    )
    notes = [
        f"This backbone ignores: {_listed(told['ignored'])} (at the strength of training a similarity of"
        f" {STAYED:g}{and_right} or more).",
        f"It keeps: {_listed(told['kept'])} (a similarity below {MOVED:g}{or_wrong}).",
        f"In between: {_listed(told['noticed'])}.",
        "Similarity: 1 unchanged, 0 as far as another image.",
    ]
    if not all(curve.operation.trained for curve in curves):
        notes.append("*: not trained on; strengths of our own.")
    if left_out:
        notes.append(f"Left out, since they need RGB images: {_listed(left_out)}.")
    return notes


def _starred(operation: "Operation") -> str:
    return operation.name if operation.trained else f"{operation.name}*"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


COLUMNS = ("similarity", "retrieved", "knn")


def write_curves(curves: list[Curve], path: Path) -> Path:
    """One row for each operation and strength; empty where there is no number."""
    heads = [f"{name}{end}" for name in COLUMNS for end in ("", "_low", "_high")]
    rows = []
    for curve in curves:
        operation = curve.operation
        for strength, point in curve.points.items():
            row = [operation.name, str(operation.trained).lower(), operation.meaning, f"{strength:g}"]
            rows.append(row + [cell for name in COLUMNS for cell in _numbers(getattr(point, name))])
    return write_csv(path, ["operation", "trained", "meaning", "strength", *heads], rows)


def _numbers(known: Estimate | None) -> list[str]:
    if known is None:
        return ["", "", ""]
    return [f"{value:.4f}" for value in (known.value, known.low, known.high)]


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"invariance": Invariance}
