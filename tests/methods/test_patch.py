"""What patch discrimination itself decides: an anchor's candidates, and how they are compared."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from methods.small import WIDTHS, batch_of_views, build, check_gradients, check_range, numbers, progress
from oracles.info_nce import Array, cosine
from tolerances import assert_close
from torch import nn

from sslkit.core.method import Views
from sslkit.core.randomness import seeded
from sslkit.errors import RecipeError
from sslkit.methods.patch import PatchConfig, PatchDiscrimination
from sslkit.testing import BATCH, SmallSetup

LEARNED = PatchConfig(hidden_dim=16, out_dim=8, temperature=0.3)
COSINE = replace(LEARNED, similarity="cosine")
CONFIGS = {"learned": LEARNED, "cosine": COSINE}
NEIGHBOUR = [1, 0, 3, 2, 5, 4, 7, 6]


def score(method: PatchDiscrimination, anchor: Array, candidate: Array) -> float:
    """Of two projections [P]: the formula of each similarity."""
    if method.judge is None:
        return cosine(anchor, candidate) / 0.3
    both = [a * b for a, b in zip(anchor, candidate, strict=True)]
    apart = [abs(a - b) for a, b in zip(anchor, candidate, strict=True)]
    first, last = (m for m in method.judge if isinstance(m, nn.Linear))
    hidden = np.maximum(numbers(first.weight) @ np.array(both + apart) + numbers(first.bias), 0)
    return float(numbers(last.weight)[0] @ hidden + numbers(last.bias)[0])


def game(choices: list[tuple[float, float]]) -> tuple[float, float]:
    """Loss and accuracy of choices between the score of the own candidate and that of the other's."""
    losses = [-math.log(math.exp(own) / (math.exp(own) + math.exp(other))) for own, other in choices]
    right = [float(own > other) for own, other in choices]
    return sum(losses) / len(losses), sum(right) / len(right)


def views_of(global_count: int, local_count: int) -> Views:
    """The third global view is what the augmentation `patches` cuts for the neighbour."""
    views, third = batch_of_views(local_count), batch_of_views(seed=1).global_views[:1]
    return replace(views, global_views=torch.cat([views.global_views, third])[:global_count])


ROLES = {
    (3, 0): [(1, 2)],
    (2, 0): [(1, 1)],
    (2, 2): [(1, 1), (2, 2), (3, 3)],
    (3, 1): [(1, 1), (2, 2), (3, 3)],
}
"""By the numbers of global and local views: which view is the own candidate, and which the neighbour's."""


@pytest.mark.parametrize("similarity", CONFIGS)
@pytest.mark.parametrize("network", ["resnet", "vit"])
@pytest.mark.parametrize("counts", ROLES)
def test_who_is_compared_with_whom(similarity: str, network: str, counts: tuple[int, int]) -> None:
    method, views = build(PatchDiscrimination, CONFIGS[similarity], network), views_of(*counts)
    z = [numbers(method.projector(method.backbone(view))) for view in views.each()]
    choices = [
        (score(method, z[0][i], z[a][i]), score(method, z[0][i], z[b][NEIGHBOUR[i]]))
        for a, b in ROLES[counts]
        for i in range(BATCH)
    ]
    loss, accuracy = game(choices)
    output = method(views, progress())
    assert_close(output.loss, loss)
    assert_close(output.metrics["accuracy"], accuracy)
    assert output.features is not None
    assert_close(output.features, method.backbone(views.global_views[0]))


@pytest.mark.parametrize("similarity", CONFIGS)
def test_the_similarity_of_features(similarity: str) -> None:
    method = build(PatchDiscrimination, CONFIGS[similarity])
    anchors, candidates = torch.randn(2, 5, method.backbone.embed_dim, dtype=torch.float64)
    x, y = numbers(method.projector(anchors)), numbers(method.projector(candidates))
    got = method.similarity(anchors, candidates)
    assert_close(got, np.array([score(method, a, b) for a, b in zip(x, y, strict=True)]))
    assert_close(method.similarity(candidates, anchors), got)


def test_the_cosine_is_not_taken_in_half_precision() -> None:
    method = build(PatchDiscrimination, COSINE).bfloat16()
    scores = method.similarity(*torch.randn(2, 5, method.backbone.embed_dim, dtype=torch.bfloat16))
    assert scores.dtype == torch.float32


@pytest.mark.parametrize("similarity", CONFIGS)
def test_untrained_it_is_at_chance(similarity: str) -> None:
    accuracies = []
    for seed in range(8):
        method = build(PatchDiscrimination, CONFIGS[similarity], "vit", batch=64)
        with seeded(seed, "patches"):
            views = Views(torch.randn(3, 64, 3, 16, 16, dtype=torch.float64))
        accuracies.append(float(method(views, progress()).metrics["accuracy"]))
    assert sum(accuracies) / 8 == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("similarity", CONFIGS)
def test_everything_is_trained(similarity: str) -> None:
    method = build(PatchDiscrimination, CONFIGS[similarity])
    check_gradients(method, {})
    assert method.encoder is method.backbone
    assert (method.judge is None) is (similarity == "cosine")


def test_an_odd_batch_has_no_pairs() -> None:
    message = "'optim.batch_size' is 7, but patch discrimination needs pairs: an even number"
    with pytest.raises(RecipeError, match=message):
        PatchDiscrimination(LEARNED, SmallSetup(batch_size=7))
    method = build(PatchDiscrimination, LEARNED)
    with pytest.raises(RecipeError, match=r"of a process and micro-batch is 3, .* an even number"):
        method(batch_of_views(batch=3), progress())


@pytest.mark.parametrize(
    ("key", "value", "valid"), [*WIDTHS, *[("temperature", v, "> 0") for v in (0, -0.1)]]
)
def test_ranges(key: str, value: Any, valid: str) -> None:
    check_range(PatchConfig, key, value, valid)


def test_a_similarity_that_does_not_exist() -> None:
    wrong: Any = "dot"
    with pytest.raises(RecipeError, match="'similarity' is 'dot', but must be learned or cosine"):
        PatchConfig(similarity=wrong)
