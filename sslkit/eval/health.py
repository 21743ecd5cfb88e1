"""Numbers that tell a collapsed network from a healthy one, without labels: pure functions of features."""

# N images, D features, q views of an image, m = min(N, D), r ranks

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.evaluator import Estimate, EvalContext, EvalData, Evaluator, Result, Subject
from sslkit.errors import RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.health_intervals import GROUPS, jackknife
from sslkit.eval.in_memory import spread
from sslkit.hookspecs import hookimpl
from sslkit.losses import spectrum
from sslkit.losses.dino import teacher_entropy_and_kl

__all__ = [
    "alignment",
    "alpha_req",
    "dead_dimensions",
    "feature_std",
    "power_law",
    "rankme",
    "teacher_entropy_and_kl",
    "uniformity",
]

FIRST_RANK, LAST_RANK = 11, 100
"""alpha-ReQ is fitted to the eigenvalues of these ranks (the largest ones follow no power law)."""
NOISE = 1e-12
"""Eigenvalues below this share of the largest are rounding."""
BLOCK = 2048
"""Images compared at a time."""
DEAD = 0.01
"""A dimension is dead whose deviation is at most this share of the features' root mean square."""


def rankme(features: Tensor) -> Tensor:
    """Effective rank: exp of the entropy of the singular values (RankMe, Garrido et al. 2023).

    Neither centred nor squared. Worked out in float64, because a share of 1e-7 is below float32's noise.

    Args:
        features: [N, D], not normalised, on a device that has float64.

    Returns:
        [] of the features' type, from 1 (all on one line, or all zero) to min(N, D); NaN without images.
    """
    return spectrum.rankme(_matrix(features).double()).to(features.dtype)


def alignment(x: Tensor, y: Tensor, power: float = 2) -> Tensor:
    """Mean distance between two views of an image on the unit sphere, to a power (Wang & Isola 2020).

    Args:
        x, y: features of the views, [N, D], normalised here.
        power: > 0 (paper: 2).

    Returns:
        [], from 0 (both views alike) to 2 ** power; NaN without images.
    """
    if x.shape != y.shape:
        raise ValueError(f"expected two views [N, D], got {[*x.shape]} and {[*y.shape]}")
    difference = F.normalize(_matrix(x), dim=1) - F.normalize(y, dim=1)  # [N, D]
    distance: Tensor = difference.norm(dim=1)  # [N]
    return distance.pow(power).mean()


def uniformity(x: Tensor, t: float = 2) -> Tensor:
    """log of the mean of exp(-t squared distance) over distinct pairs on the unit sphere (Wang & Isola 2020).

    Goes through the pairs in blocks: without a gradient the memory does not grow with N squared.

    Args:
        x: features, [N, D], normalised here.
        t: > 0 (paper: 2).

    Returns:
        [], 0 (one point) to a little over -2 t (spread evenly); NaN for fewer than two images.
    """
    points = F.normalize(_matrix(x), dim=1)  # [N, D]
    parts = [(-t * distances).flatten().logsumexp(0) for distances in _squared_distances(points)]
    if not parts:
        return x.new_full((), float("nan"))
    pairs = points.new_tensor(len(x) * (len(x) - 1) / 2)
    return torch.stack(parts).logsumexp(0) - pairs.log()


def _squared_distances(points: Tensor) -> Iterator[Tensor]:
    """Of each distinct pair of points [N, D] once, block by block: [a, b], or [pairs within a block]."""
    squares = points.square().sum(1)  # [N]
    starts = range(0, len(points), BLOCK)
    for start in starts:
        rows = slice(start, start + BLOCK)
        for other in range(start, len(points), BLOCK):
            columns = slice(other, other + BLOCK)
            products = points[rows] @ points[columns].T  # [a, b]
            distances = (squares[rows, None] + squares[columns] - 2 * products).clamp(min=0)
            if other == start:
                size = len(distances)
                above = torch.ones(size, size, dtype=torch.bool, device=points.device).triu(1)
                distances = distances[above]  # [a (a - 1) / 2]
            if distances.numel():
                yield distances


def alpha_req(features: Tensor) -> Tensor:
    """How fast the variances of the principal components fall: alpha of rank ** -alpha (Agrawal et al. 2022).

    Near 1 is said to be best; larger is nearer to collapse. Fitted as there and by Stringer et al. (2019):
    logarithms of the ranks 11 to 100 with weights 1 / rank.

    Args:
        features: [N, D], not normalised, on a device that has float64.

    Returns:
        [] of the features' type; NaN where fewer than 12 components have a variance.
    """
    x = _matrix(features).double()
    if len(x) < 2:
        return features.new_full((), float("nan"))
    return power_law(torch.linalg.svdvals(x - x.mean(0)).square()).to(features.dtype)


def power_law(eigenvalues: Tensor) -> Tensor:
    """The alpha of `alpha_req` from the eigenvalues, largest first, [m] -> []."""
    kept = int((eigenvalues > NOISE * eigenvalues[:1]).sum())
    y = eigenvalues[FIRST_RANK - 1 : min(LAST_RANK, kept)].log()  # [r]
    if len(y) < 2:
        return eigenvalues.new_full((), float("nan"))
    rank = torch.arange(FIRST_RANK, FIRST_RANK + len(y), device=y.device, dtype=y.dtype)  # [r]
    weight = 1 / rank / (1 / rank).sum()
    x = rank.log() - (weight * rank.log()).sum()
    slope: Tensor = (weight * x * y).sum() / (weight * x.square()).sum()
    return -slope


def feature_std(features: Tensor) -> Tensor:
    """Spread of normalised features, [N, D] -> []: 1 for directions at random, 0 for one point."""
    return spectrum.feature_std(_matrix(features))


def dead_dimensions(features: Tensor) -> Tensor:
    """Share of the dimensions that are the same for all images, [N, D] -> [] in [0, 1].

    The same: a deviation of at most 1 % of the root mean square of all numbers.
    """
    x = _matrix(features)
    deviation: Tensor = x.std(0, correction=0)  # [D]
    dead: Tensor = deviation <= DEAD * x.square().mean().sqrt()  # [D]
    return dead.to(x.dtype).mean()


def _matrix(features: Tensor) -> Tensor:
    if features.ndim != 2:
        raise ValueError(f"expected features [N, D], got {[*features.shape]}")
    return features


# --- the evaluator -----------------------------------------------------------------------------------------


@dataclass
class HealthConfig:
    """Label-free numbers of held-out images and of augmented views of them."""

    images: int = 2000
    """At most so many images, >= 20 (one for each group of the jackknife), spread evenly over the held-out
    ones. RankMe grows with their number: compare runs at the same."""
    views: int = 2
    """Augmented views of each image, as the run's training makes its global ones; even, >= 2. Their number
    times the images are the additional forward passes."""

    def __post_init__(self) -> None:
        if self.images < GROUPS:
            raise RecipeError(f"'images' is {self.images}, but must be {GROUPS} or more")
        if self.views < 2 or self.views % 2:
            raise RecipeError(f"'views' is {self.views}, but must be even, and 2 or more")


class Health(Evaluator):
    """How many dimensions the features use, how evenly they are spread, and whether views stay together.

    `rankme`, `alpha_req`, `uniformity`, `feature_std` and `dead_dimensions`: of the held-out images as they
    are. `alignment`: of augmented views of them. None of it needs labels.
    """

    Config = HealthConfig

    def __init__(self, config: HealthConfig) -> None:
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        from sslkit.eval.health_figure import draw_health
        from sslkit.eval.health_views import view_features

        total = len(data.test)
        if total < GROUPS:
            return Result({}, notes=(f"it needs {GROUPS} held-out images, of which there are {total}",))
        places = spread(total, self.config.images)
        features = context.features(data.test).features[places]  # [N, D]
        some = data.test.part(places, "health")
        views = view_features(subject.backbone, some, self.config.views, context)  # [N, q, D]
        estimates = {**of_features(features), "alignment": aligned(views)}
        path = draw_health(features, views, estimates, context.figures / "health.png")
        return Result.of(estimates, figures={"health": path})


def of_features(features: Tensor) -> dict[str, Estimate]:
    """The numbers of features [N, D] alone, with their intervals."""
    numbers: dict[str, Callable[[Tensor], Tensor]] = {
        "rankme": rankme,
        "alpha_req": alpha_req,
        "uniformity": uniformity,
        "feature_std": feature_std,
        "dead_dimensions": dead_dimensions,
    }
    return {name: jackknife(partial(_of_rows, of, features), len(features)) for name, of in numbers.items()}


def _of_rows(of: Callable[[Tensor], Tensor], features: Tensor, rows: Tensor) -> float:
    return float(of(features[rows]))


def aligned(views: Tensor) -> Estimate:
    """Alignment of views [N, q, D], q even, two by two, with the interval over images."""
    x = F.normalize(views, dim=2)
    distances = (x[:, ::2] - x[:, 1::2]).square().sum(2)  # [N, q / 2]
    return mean_estimate(distances.mean(1))


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"health": Health}
