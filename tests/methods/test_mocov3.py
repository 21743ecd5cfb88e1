"""What MoCo v3 itself decides: who looks for whom, what stands still, and how the key encoder follows."""

from dataclasses import replace
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
    sgd,
    train_step,
)
from oracles import byol as schedule
from oracles import info_nce as oracle
from tolerances import assert_close
from torch import nn

from sslkit.methods.mocov3 import MoCoV3, MoCoV3Config
from sslkit.testing import BATCH, CROP, IMAGE, SmallSetup

SMALL = MoCoV3Config(hidden_dim=16, out_dim=8, temperature=0.3, key_momentum=0.8)
COPIES = {"key_backbone": "backbone", "key_projector": "projector"}
PATCHES = {f"backbone._network.patch_embed.proj.{part}" for part in ("weight", "bias")}


def apart(config: MoCoV3Config = SMALL, network: str = "vit") -> MoCoV3:
    """With a key encoder that is no copy any more."""
    method = build(MoCoV3, config, network)
    disturb(method.backbone, method.projector, method.predictor)
    return method


def trained(method: MoCoV3) -> set[str]:
    return {name for group in method.parameter_groups() for name in group.parameters}


@pytest.mark.parametrize("network", ["resnet", "vit"])
@pytest.mark.parametrize("local_count", [0, 2])
def test_each_view_looks_for_the_keys_of_the_other_global_ones(network: str, local_count: int) -> None:
    method, views = apart(network=network), batch_of_views(local_count)
    queries = [numbers(method.predictor(method.projector(method.backbone(v)))) for v in views.each()]
    keys = [numbers(method.key_projector(method.key_backbone(v))) for v in views.global_views]
    own = list(range(BATCH))
    pairs = [(i, j) for i in range(2 + local_count) for j in range(2) if i != j]
    losses = [2 * 0.3 * oracle.in_batch(queries[i], keys[j], own, 0.3)[0] for i, j in pairs]
    output = method(views, progress())
    assert_close(output.loss, sum(losses) / len(losses) * 2)
    if not local_count:
        assert_close(output.loss, losses[0] + losses[1])
    assert_close(output.metrics["contrast_accuracy"], oracle.nearest_is_own(queries[0], keys[1], own))
    assert output.features is not None
    assert_close(output.features, method.backbone(views.global_views[0]))


def test_local_views_are_no_keys() -> None:
    method = apart(network="resnet")
    with inputs_of(method.key_backbone) as of_keys, inputs_of(method.backbone) as of_queries:
        method(batch_of_views(2), progress())
    assert [x.shape[-1] for x in of_queries] == [IMAGE, IMAGE, CROP, CROP]
    assert [x.shape[-1] for x in of_keys] == [IMAGE, IMAGE]


def test_the_patch_projection_stands_still() -> None:
    method = build(MoCoV3, SMALL, "vit")
    start = {name: value.clone() for name, value in method.state_dict().items()}
    optimizer = sgd(method)
    for step in range(3):
        train_step(method, optimizer, [batch_of_views(2, seed=step)], step)
    assert set(dict(method.named_parameters())) >= PATCHES
    state, copied = method.state_dict(), {f"key_{name}" for name in PATCHES}
    still = {
        name for name in state if name.endswith(("weight", "bias")) and torch.equal(state[name], start[name])
    }
    assert still == PATCHES | copied
    assert not PATCHES & trained(method)
    assert all(p.grad is None for name, p in method.named_parameters() if name in PATCHES)


def test_the_patch_projection_can_be_trained() -> None:
    method = build(MoCoV3, replace(SMALL, freeze_patch_projection=False), "vit")
    assert trained(method) >= PATCHES
    check_gradients(method, COPIES)


def test_a_resnet_has_nothing_to_freeze() -> None:
    check_gradients(apart(network="resnet"), COPIES)


def test_the_key_encoder_starts_as_a_copy() -> None:
    for network in ("vit", "resnet"):
        check_starts_as_copy(build(MoCoV3, SMALL, network), COPIES)
    check_drop_path(MoCoV3(SMALL, SmallSetup("vit")), original="backbone", copy="key_backbone")


@pytest.mark.parametrize("step", [0, 5, TOTAL_STEPS - 1])
def test_the_key_encoder_moves_by_the_next_steps_momentum(step: int) -> None:
    """The paper's update opens the next step; the metric is that of the update which opened this one."""
    method = apart(network="resnet")
    following = schedule.momentum(step + 1, TOTAL_STEPS, 0.8)
    check_ema(method, COPIES, following, lambda: method.after_step(progress(step), []))
    metric = method(batch_of_views(), progress(step)).metrics["key_momentum"]
    assert_close(metric, schedule.momentum(step, TOTAL_STEPS, 0.8))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_heads_are_the_papers(layers: int) -> None:
    """Batch norm everywhere, without scale and shift at the end."""
    method, config = build(MoCoV3, replace(SMALL, projector_layers=layers)), MoCoV3Config()
    assert (config.hidden_dim, config.out_dim, config.projector_layers) == (4096, 256, 3)
    assert (config.temperature, config.key_momentum) == (0.2, 0.99)
    for head, count in ((method.projector, layers), (method.key_projector, layers), (method.predictor, 2)):
        linears = [m for m in head if isinstance(m, nn.Linear)]
        norms = [m for m in head if isinstance(m, nn.BatchNorm1d)]
        assert [m.out_features for m in linears] == [16] * (count - 1) + [8]
        assert [m.affine for m in norms] == [True] * (count - 1) + [False]
        assert all(m.bias is None for m in linears)
        assert head[-1] is norms[-1]
    assert method.encoder is method.backbone


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [
        *WIDTHS,
        ("projector_layers", 0, ">= 1"),
        *[("temperature", v, "> 0") for v in (0, -0.1)],
        *[("key_momentum", v, "from 0 to 1") for v in (-0.1, 1.1)],
    ],
)
def test_ranges(key: str, value: Any, valid: str) -> None:
    check_range(MoCoV3Config, key, value, valid)
