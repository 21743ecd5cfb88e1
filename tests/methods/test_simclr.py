"""What SimCLR itself decides: which views are projected together, and who looks for whom."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from methods.small import WIDTHS, batch_of_views, build, check_gradients, check_range, numbers, progress
from oracles import info_nce as oracle
from tolerances import assert_close
from torch import nn

from sslkit.core.method import Views
from sslkit.methods.simclr import SimCLR, SimCLRConfig
from sslkit.testing import BATCH

SMALL = SimCLRConfig(hidden_dim=16, out_dim=8, temperature=0.3)


def projections(method: SimCLR, views: Views) -> tuple[oracle.Array, oracle.Array]:
    """Of the first two views, whose batch norms take their statistics over both."""
    z = numbers(method.projector(method.backbone(views.global_views[:2].flatten(0, 1))))
    return z[:BATCH], z[BATCH:]


@pytest.mark.parametrize("network", ["resnet", "vit"])
def test_the_loss_is_nt_xent_of_the_projections(network: str) -> None:
    method, views = build(SimCLR, SMALL, network), batch_of_views()
    first, second = projections(method, views)
    output = method(views, progress())
    assert_close(output.loss, oracle.nt_xent(first, second, 0.3)[0])
    own = list(range(BATCH))
    assert_close(output.metrics["contrast_accuracy"], oracle.nearest_is_own(first, second, own))
    both = method.backbone(views.global_views.flatten(0, 1))
    assert output.features is not None
    assert_close(output.features, both[:BATCH])


@pytest.mark.parametrize("extra", ["local", "global"])
def test_further_views_look_for_both_views_of_their_image(extra: str) -> None:
    """The mean over all pairs of a view and another, one of the first two."""
    method, views = build(SimCLR, SMALL), batch_of_views(3)
    assert views.local_views is not None
    if extra == "global":
        third = batch_of_views(seed=1).global_views[:1]
        views = replace(views, global_views=torch.cat([views.global_views, third]), local_views=None)
    pair, own = projections(method, views), list(range(BATCH))
    losses = [oracle.nt_xent(*pair, 0.3)[0]] * 2
    for view in views.each()[2:]:
        z = numbers(method.projector(method.backbone(view)))
        losses += [oracle.in_batch(z, keys, own, 0.3)[0] for keys in pair]
    assert len(losses) == (8 if extra == "local" else 4)
    assert_close(method(views, progress()).loss, sum(losses) / len(losses))


def test_everything_is_trained() -> None:
    method = build(SimCLR, SMALL)
    check_gradients(method, {})
    assert method.encoder is method.backbone


def test_the_projector_ends_in_batch_norm() -> None:
    method, config = build(SimCLR, SMALL), SimCLRConfig()
    assert (config.hidden_dim, config.out_dim, config.temperature) == (2048, 128, 0.1)
    types = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert [type(m) for m in method.projector] == types
    widths = [tuple(m.weight.shape) for m in method.projector if isinstance(m, nn.Linear)]
    assert widths == [(16, method.backbone.embed_dim), (8, 16)]


@pytest.mark.parametrize(
    ("key", "value", "valid"), [*WIDTHS, *[("temperature", v, "> 0") for v in (0, -0.1)]]
)
def test_ranges(key: str, value: Any, valid: str) -> None:
    check_range(SimCLRConfig, key, value, valid)
