"""What BYOL itself decides: who predicts whom, and how the target follows."""

import copy
from typing import Any

import pytest
import torch
from methods.small import (
    TOTAL_STEPS,
    WIDTHS,
    batch_of_views,
    build,
    check_drop_path,
    check_ema,
    check_gradients,
    check_range,
    check_starts_as_copy,
    disturb,
    inputs_of,
    numbers,
    progress,
)
from oracles import byol as oracle
from tolerances import assert_close
from torch import nn

from sslkit.methods.byol import BYOL, BYOLConfig
from sslkit.testing import CROP, IMAGE, SmallSetup

SMALL = BYOLConfig(hidden_dim=16, out_dim=8, target_momentum=0.9)
COPIES = {"target": "backbone", "target_projector": "projector"}


def apart(network: str = "resnet") -> BYOL:
    """With a target that is no copy any more."""
    method = build(BYOL, SMALL, network)
    disturb(method.backbone, method.projector, method.predictor)
    return method


@pytest.mark.parametrize("network", ["resnet", "vit"])
@pytest.mark.parametrize("local_count", [0, 2])
def test_each_view_predicts_the_other_global_ones(network: str, local_count: int) -> None:
    method, views = apart(network), batch_of_views(local_count)
    predictions = [numbers(method.predictor(method.projector(method.backbone(v)))) for v in views.each()]
    targets = [numbers(method.target_projector(method.target(v))) for v in views.global_views]
    pairs = [(i, j) for i in range(2 + local_count) for j in range(2) if i != j]
    losses = [oracle.byol_loss(predictions[i], targets[j]) for i, j in pairs]
    output = method(views, progress())
    assert_close(output.loss, sum(losses) / len(losses) * 2)
    if not local_count:
        assert_close(output.loss, losses[0] + losses[1])
    assert output.features is not None
    assert_close(output.features, method.backbone(views.global_views[0]))


def test_local_views_are_never_predicted() -> None:
    method = apart()
    with inputs_of(method.target) as of_target, inputs_of(method.backbone) as of_online:
        method(batch_of_views(2), progress())
    assert [x.shape[-1] for x in of_online] == [IMAGE, IMAGE, CROP, CROP]
    assert [x.shape[-1] for x in of_target] == [IMAGE, IMAGE]


def test_the_target_starts_as_a_copy() -> None:
    check_starts_as_copy(build(BYOL, SMALL), COPIES)
    check_drop_path(BYOL(SMALL, SmallSetup("vit")), original="backbone", copy="target")


def test_the_target_gets_no_gradient() -> None:
    check_gradients(apart(), COPIES)


@pytest.mark.parametrize("step", [0, 5, TOTAL_STEPS - 1, TOTAL_STEPS])
def test_the_target_moves_by_the_papers_momentum(step: int) -> None:
    method = apart()
    momentum = oracle.momentum(step, TOTAL_STEPS, 0.9)
    check_ema(method, COPIES, momentum, lambda: method.after_step(progress(step), []))
    assert_close(method(batch_of_views(), progress(step)).metrics["target_momentum"], momentum)


def test_the_momentum_can_end_elsewhere() -> None:
    method = build(BYOL, BYOLConfig(16, 8, target_momentum=0.5, target_momentum_end=0.7))
    disturb(method.backbone)
    check_ema(method, COPIES, 0.7, lambda: method.after_step(progress(TOTAL_STEPS), []))


def test_the_targets_batch_norm_has_statistics_of_its_own() -> None:
    method, views = apart(), batch_of_views(2)
    twin = copy.deepcopy(method.target)
    method(views, progress())
    for view in views.global_views:
        twin(view)
    online, target = dict(method.backbone.named_buffers()), dict(method.target.named_buffers())
    assert any(name.endswith("running_mean") for name in target)
    for name, wanted in twin.named_buffers():
        assert torch.equal(target[name], wanted)
        if name.endswith("running_mean"):
            assert not torch.allclose(target[name], online[name])


def test_the_encoder_is_the_online_one() -> None:
    method = build(BYOL, SMALL)
    assert method.encoder is method.backbone


def test_heads_are_the_papers() -> None:
    """One hidden layer with batch norm in projector and predictor."""
    method, config = build(BYOL, SMALL), BYOLConfig()
    assert (config.hidden_dim, config.out_dim, config.target_momentum) == (4096, 256, 0.996)
    for head, in_dim in ((method.projector, method.backbone.embed_dim), (method.predictor, 8)):
        assert [type(m) for m in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
        assert [tuple(m.weight.shape) for m in head if isinstance(m, nn.Linear)] == [(16, in_dim), (8, 16)]


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [
        *WIDTHS,
        *[(k, v, "from 0 to 1") for k in ("target_momentum", "target_momentum_end") for v in (-0.1, 1.1)],
    ],
)
def test_ranges(key: str, value: Any, valid: str) -> None:
    check_range(BYOLConfig, key, value, valid)


def test_the_ends_of_the_ranges_are_valid() -> None:
    BYOLConfig(hidden_dim=1, out_dim=1, target_momentum=0, target_momentum_end=1)
