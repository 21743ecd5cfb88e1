"""Mean scores of masks with their intervals, and what is gained over the floors."""

# N images, S shares of the mass, h heads

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sslkit.core.evaluator import Estimate
from sslkit.core.randomness import seed_of
from sslkit.eval.attention_scores import Floors, Found, Scores
from sslkit.eval.bootstrap import estimate, mean_estimate

OWN = ""
"""Among the networks: the one that is evaluated."""
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Statistic = Callable[[Tensor], float]
"""Of positions int64 [N], with repetitions."""


def estimates(found: Found, shares: Sequence[float]) -> dict[str, Estimate]:
    """Every number by its key."""
    own = found.networks[OWN]
    names = [f"{100 * share:g}" for share in shares]
    numbers = dict(_scores("", own, names))
    for kind, others in found.networks.items():
        if kind != OWN:
            numbers |= _gains(f"gain_over_{kind}", own, others, names)
            numbers |= _scores(f"{kind}_", others, names)
    return numbers | _floors(found.floors)


def _scores(prefix: str, networks: Sequence[Scores], names: Sequence[str]) -> Iterator[tuple[str, Estimate]]:
    """Of one network, or the mean over several of a kind."""
    best, mean, on_object, finds = (
        _mean([getattr(scores, key) for scores in networks]) for key in ("best", "mean", "on_object", "finds")
    )  # [N, S] twice, [N] twice
    for place, name in enumerate(names):
        yield f"{prefix}jaccard_best_{name}", mean_estimate(best[:, place])
        yield f"{prefix}jaccard_fixed_{name}", estimate(fixed_head(networks, place), len(best))
        yield f"{prefix}jaccard_mean_{name}", mean_estimate(mean[:, place])
    yield f"{prefix}corloc", mean_estimate(finds)
    yield f"{prefix}attention_on_object", mean_estimate(on_object)


def _gains(
    prefix: str, own: Sequence[Scores], others: Sequence[Scores], names: Sequence[str]
) -> Iterator[tuple[str, Estimate]]:
    """Differences image by image."""
    best = _mean([s.best for s in own]) - _mean([s.best for s in others])  # [N, S]
    for place, name in enumerate(names):
        yield f"{prefix}_best_{name}", mean_estimate(best[:, place])
        fixed = _difference(fixed_head(own, place), fixed_head(others, place))
        yield f"{prefix}_fixed_{name}", estimate(fixed, len(best))


def _floors(floors: Floors) -> dict[str, Estimate]:
    named = {
        "ellipse_jaccard": floors.ellipse,
        "ellipse_corloc": floors.ellipse_finds,
        "ellipse_on_object": floors.ellipse_on_object,
        "whole_image_jaccard": floors.whole,
        "whole_image_corloc": floors.whole_finds,
    }
    return {name: mean_estimate(values) for name, values in named.items()}


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.double() for part in parts]).mean(0)


def _difference(first: Statistic, second: Statistic) -> Statistic:
    return lambda rows: first(rows) - second(rows)


def fixed_head(networks: Sequence[Scores], place: int) -> Statistic:
    """Mean Jaccard index with one head for all images, mean over the networks; `place` of the share.

    An image stays in its half however often it is drawn, so that no head is scored on what it was chosen on.
    """
    tables = [scores.jaccard[:, place, :-1].numpy() for scores in networks]  # [N, h] each
    half = _halves(len(tables[0]))

    def statistic(rows: Tensor) -> float:
        drawn = rows.numpy()
        return sum(cross_fitted(table[drawn], half[drawn]) for table in tables) / len(tables)

    return statistic


def cross_fitted(jaccard: Floats, half: Bools) -> float:
    """Mean over images, in each half with the head that is best in the other; NaN where one half is empty.

    Args:
        jaccard: [N, h].
        half: which half an image is in, [N].
    """
    first, second = jaccard[half], jaccard[~half]
    if not len(first) or not len(second):
        return math.nan
    scored = first[:, second.mean(0).argmax()].sum() + second[:, first.mean(0).argmax()].sum()
    return float(scored / len(jaccard))


def _halves(count: int) -> Bools:
    """The same random half of so many images, always."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed_of("halves", count)))
    return (order < count // 2).numpy()
