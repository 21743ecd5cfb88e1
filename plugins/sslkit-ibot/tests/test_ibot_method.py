"""The method: what its parts see, what they learn from, and what moves afterwards."""

# G global views, L local views, B images, N patches, M masked patches, K and J prototypes

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sslkit import Method, Progress, StepOutput, Views
from sslkit.core.randomness import seeded
from sslkit.errors import RecipeError
from sslkit.losses.dino import dino_loss
from sslkit.methods.dino import DINO, DINOConfig
from sslkit.testing import SmallSetup, make_views
from sslkit_ibot import IBOT, IBOTConfig, koleo_loss, sinkhorn_knopp
from sslkit_ibot.masks import Masks
from sslkit_ibot.patch_head import patch_head_of

SIZES: dict[str, Any] = {"out_dim": 12, "hidden_dim": 16, "bottleneck_dim": 8, "freeze_last_layer_epochs": 0}
DRAWN: dict[str, Any] = {"mask_ratio": 0.4, "mask_ratio_spread": 0.3}
SMALL = IBOTConfig(**SIZES, **DRAWN)
NO_MASKS = replace(SMALL, patch_weight=0.0, mask_probability=0.0)
GRID = 16
"""Patches of a global view of the kit's ViT, 4 x 4."""
CLOSE: dict[str, Any] = {"rtol": 1e-7, "atol": 1e-9}
"""The networks are in float64, the masks' weights in float32."""


def progress(step: int = 0) -> Progress:
    return Progress(step, 20, steps_per_epoch=4)


def build(cls: type[Any], config: object) -> Any:
    with seeded(0, "weights"):
        return cls(config, SmallSetup()).double().train()


def views(local_count: int = 0, seed: int = 0) -> Views:
    given = make_views(local_count)
    with seeded(seed, "noise"):
        whole, local = (
            None if x is None else x.double() + torch.randn_like(x, dtype=torch.float64)
            for x in (given.global_views, given.local_views)
        )
    assert whole is not None
    return replace(given, global_views=whole, local_views=local)


def forward(method: Method, batch: Views, step: int = 0, *draws: int) -> StepOutput:
    with seeded(0, "model", step, *draws):
        output: StepOutput = method(batch, progress(step))
    return output


def train(method: Method, steps: int = 5, local_count: int = 0) -> list[float]:
    """Real optimiser steps; gives back the losses."""
    learning = [p for group in method.parameter_groups() for p in group.parameters.values()]
    optimizer = torch.optim.AdamW(learning, lr=1e-3, weight_decay=0.1)
    losses = []
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        output = forward(method, views(local_count, seed=step), step)
        output.loss.backward()
        method.before_step(progress(step))
        optimizer.step()
        method.after_step(progress(step), [output])
        losses.append(output.loss.item())
    return losses


@contextmanager
def masks_seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Masks]]:
    """The masks of each forward pass within the block."""
    seen: list[Masks] = []
    make = IBOT._masks

    def keep(method: IBOT, global_views: Tensor) -> Masks:
        seen.append(make(method, global_views))
        return seen[-1]

    monkeypatch.setattr(IBOT, "_masks", keep)
    yield seen


def move_centres(method: IBOT) -> None:
    with seeded(0, "centres"):
        for center in (method.dino.center, method.patch_center):
            center.normal_()


def outputs_of(module: nn.Module, kept: list[Tensor]) -> None:
    module.register_forward_hook(lambda _module, _args, output: kept.append(output))


def test_a_network_without_patches_is_refused_before_training() -> None:
    with pytest.raises(RecipeError, match=r"backbone 'resnet18' has none\n  choose a ViT, such as backbone"):
        IBOT(SMALL, SmallSetup("resnet"))


# --- beside DINO -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local_count", [0, 2])
@pytest.mark.parametrize("teacher_update_epochs", [0, 1])
def test_without_masks_and_weights_it_is_dino_bit_for_bit(
    local_count: int, teacher_update_epochs: int
) -> None:
    """Five steps with drop path, a warm-up of the temperature and a last layer that is frozen at first."""
    changes: dict[str, Any] = {
        "warmup_teacher_temperature": 0.03,
        "warmup_teacher_temperature_epochs": 2,
        "freeze_last_layer_epochs": 1,
        "teacher_update_epochs": teacher_update_epochs,
    }
    ibot = build(IBOT, replace(NO_MASKS, **changes))
    dino = build(DINO, DINOConfig(**{**SIZES, **changes}))
    assert train(ibot, local_count=local_count) == train(dino, local_count=local_count)
    for name, value in dino.state_dict().items():
        assert torch.equal(ibot.state_dict()[f"dino.{name}"], value), name
    assert set(ibot.state_dict()) == {*(f"dino.{name}" for name in dino.state_dict()), "patch_center"}
    assert ibot.encoder is ibot.dino.teacher
    features = torch.randn(3, 32, dtype=torch.float64)
    assert torch.equal(ibot.assignments(features), dino.assignments(features))


@pytest.mark.parametrize("change", [{"mask_probability": 0.5}, {"koleo_weight": 0.1}])
def test_masks_and_koleo_each_change_the_steps(change: dict[str, Any]) -> None:
    """So that the test above can fail."""
    assert train(build(IBOT, replace(NO_MASKS, **change)))[1:] != train(build(IBOT, NO_MASKS))[1:]


def test_the_loss_is_the_sum_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the heads gave, by loops: views that are not masked count 0, and are counted."""
    config = replace(SMALL, koleo_weight=0.3, patch_weight=0.7, patch_head="separate", patch_out_dim=5)
    method, batch = build(IBOT, config), views(2)
    move_centres(method)
    kept: dict[str, list[Tensor]] = {}
    for who in ("student", "teacher"):
        head = getattr(method.dino, f"{who}_head")
        outputs_of(head, kept.setdefault(who, []))
        outputs_of(patch_head_of(head), kept.setdefault(f"{who} patches", []))
    features: list[Tensor] = []
    method.dino.student_head.register_forward_pre_hook(lambda _module, args: features.append(args[0]))
    with masks_seen(monkeypatch) as seen:
        output = forward(method, batch)
    student, teacher = kept["student"][0].view(4, 8, 12), kept["teacher"][0].view(2, 8, 12)
    image = dino_loss(student, teacher, method.dino.center, student_temperature=0.1, teacher_temperature=0.04)
    patch, row = 0.0, 0
    for view in seen[0].where:
        count = int(view.sum())
        for _ in range(count):
            p = ((kept["teacher patches"][0][row] - method.patch_center) / 0.04).softmax(-1)
            patch -= (p * (kept["student patches"][0][row] / 0.1).log_softmax(-1)).sum().item() / count / 16
            row += 1
    spread = sum(koleo_loss(features[0].view(4, 8, 32)[view]).item() for view in (0, 1))
    assert row == len(seen[0].rows) > 20
    np.testing.assert_allclose(output.loss.item(), image.item() + 0.7 * patch + 0.3 * spread, **CLOSE)
    np.testing.assert_allclose(output.metrics["image_loss"], image.item(), **CLOSE)
    np.testing.assert_allclose(output.metrics["patch_loss"], patch, **CLOSE)
    np.testing.assert_allclose(output.metrics["koleo"], spread, **CLOSE)
    assert output.metrics["masked"].item() == pytest.approx(row / 16 / GRID)
    assert output.metrics["patch_kl"] > 0


def test_the_patches_temperature_warms_up() -> None:
    config = replace(SMALL, warmup_teacher_temperature_epochs=2)
    method = build(IBOT, config)
    got = [
        forward(method, views(), step).metrics["patch_teacher_temperature"].item() for step in (0, 4, 8, 16)
    ]
    assert got == pytest.approx(
        [0.04, 0.07, 0.07, 0.07]
    )  # a warm-up of n epochs reaches its end in epoch n - 1


# --- who sees and learns what ------------------------------------------------------------------------------


def test_the_student_sees_nothing_of_what_is_hidden_and_the_teacher_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, batch = build(IBOT, replace(SMALL, patch_head="separate")), views(1)
    for module in method.dino.student.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    kept: dict[str, list[Tensor]] = {"student": [], "teacher": []}
    outputs_of(method.dino.student_head, kept["student"])
    outputs_of(method.dino.teacher_head, kept["teacher"])
    with masks_seen(monkeypatch) as seen:
        forward(method, batch)
        hidden = seen[0].where.view(2, 8, 1, 4, 4).repeat_interleave(8, 3).repeat_interleave(8, 4)
        changed = replace(batch, global_views=batch.global_views + hidden)
        forward(method, changed)
    assert hidden.any()
    assert torch.equal(seen[0].where, seen[1].where)
    assert torch.equal(*kept["student"])
    assert not torch.equal(*kept["teacher"])


@pytest.mark.parametrize("patch_head", ["shared", "separate"])
def test_the_patch_term_reaches_the_students_masked_positions_only(
    monkeypatch: pytest.MonkeyPatch, patch_head: Literal["shared", "separate"]
) -> None:
    method = build(IBOT, replace(SMALL, patch_head=patch_head))
    tokens: list[Tensor] = []
    make = type(method.dino.student).features_and_tokens

    def keep(net: Any, x: Tensor, mask: Tensor | None = None) -> Any:
        features, given = make(net, x, mask)
        if given.patches.requires_grad:
            given.patches.retain_grad()
            tokens.append(given.patches)
        return features, given

    monkeypatch.setattr(type(method.dino.student), "features_and_tokens", keep)
    with masks_seen(monkeypatch) as seen:
        output = forward(method, views(1))
    output.loss.backward()
    (patches,) = tokens  # the teacher's have no gradient; [G B, N, D]
    assert patches.grad is not None
    assert torch.equal(patches.grad.abs().sum(-1) > 0, seen[0].where)


def test_all_that_learns_gets_a_gradient_and_no_copy_does() -> None:
    method = build(IBOT, replace(SMALL, patch_head="separate"))
    train(method, 2)
    copies, fixed = ("dino.teacher.", "dino.teacher_head."), "last_layer.parametrizations.weight.original0"
    for name, parameter in method.named_parameters():
        assert (parameter.grad is None) is name.startswith(copies) or name.endswith(fixed), name
    assert method.dino.student.mask_token.any()
    assert method.dino.teacher.mask_token.any()  # it follows
    assert not method.dino.teacher.mask_token.equal(method.dino.student.mask_token)


def test_every_view_has_a_mask_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(IBOT, replace(SMALL, mask_probability=1.0))
    with masks_seen(monkeypatch) as seen:
        forward(method, views(), 0)
        forward(method, views(), 1)
        forward(method, views(), 0, 1)
    first = seen[0].where
    assert first.shape == (16, GRID)
    assert len({tuple(row.tolist()) for row in first}) > 8
    assert not torch.equal(first, seen[1].where)  # another step
    assert not torch.equal(first, seen[2].where)  # another micro-batch or rank


def test_the_first_epochs_leave_both_last_layers() -> None:
    method = build(IBOT, replace(SMALL, patch_head="separate", freeze_last_layer_epochs=1))
    head = method.dino.student_head
    forward(method, views()).loss.backward()
    for last in (head.last_layer, patch_head_of(head).last_layer):
        assert all(p.grad is not None for p in last.parameters() if p.requires_grad)
    method.before_step(progress(3))
    for last in (head.last_layer, patch_head_of(head).last_layer):
        assert all(p.grad is None for p in last.parameters())
    assert head.mlp[0].weight.grad is not None


# --- after the step ----------------------------------------------------------------------------------------


def masked_outputs(method: IBOT, batches: Sequence[Views]) -> tuple[list[StepOutput], list[Tensor]]:
    """The outputs of some micro-batches, and what the teacher said of their masked patches."""
    said: list[Tensor] = []
    outputs_of(patch_head_of(method.dino.teacher_head), said)
    return [forward(method, batch, 0, number) for number, batch in enumerate(batches)], said


def test_the_patches_centre_follows_the_mean_of_all_masked_patches() -> None:
    """Of two micro-batches with different numbers of them: not the mean of their means."""
    method = build(IBOT, replace(SMALL, patch_head="separate", patch_center_momentum=0.8))
    move_centres(method)
    before = method.patch_center.clone()
    outputs, said = masked_outputs(method, [views(seed=0), views(seed=1)])
    assert len(said[0]) != len(said[1])
    method.after_step(progress(), outputs)
    wanted = 0.8 * before + 0.2 * torch.cat(said).mean(0)
    np.testing.assert_allclose(method.patch_center, wanted, **CLOSE)


def test_a_step_without_a_masked_patch_leaves_the_centre_and_costs_nothing() -> None:
    method = build(IBOT, replace(SMALL, mask_ratio=0.0, mask_ratio_spread=0.0))
    move_centres(method)
    before = method.patch_center.clone()
    output = forward(method, views())
    method.after_step(progress(), [output])
    assert torch.equal(method.patch_center, before)
    assert output.metrics["patch_loss"] == 0
    assert output.loss.isfinite()


@pytest.mark.parametrize("way", ["center", "sinkhorn_knopp"])
def test_targets_are_centred_or_balanced(way: Literal["center", "sinkhorn_knopp"]) -> None:
    """Of a teacher that prefers one prototype whatever it sees."""
    method = build(IBOT, replace(SMALL, patch_centering=way, sinkhorn_iterations=5))
    teacher = torch.randn(20, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    teacher[:, 3] += 4
    method.patch_center.copy_(teacher[:10].mean(0))
    targets = method._patch_targets(teacher, 0.5)
    centred = ((teacher - method.patch_center) / 0.5).softmax(-1)
    balanced = sinkhorn_knopp(teacher, teacher_temperature=0.5, iterations=5)
    np.testing.assert_allclose(targets, centred if way == "center" else balanced, **CLOSE)
    assert targets.sum(0).argmax() != 3 or targets.mean(0)[3] < 0.3


# --- what can be asked for ---------------------------------------------------------------------------------


def test_heads_are_shared_or_two_of_their_own() -> None:
    shared, separate = build(IBOT, SMALL), build(IBOT, replace(SMALL, patch_head="separate", patch_out_dim=5))
    assert patch_head_of(shared.dino.student_head) is shared.dino.student_head
    own = patch_head_of(separate.dino.student_head)
    assert own is not separate.dino.student_head
    assert own.last_layer.out_features == len(separate.patch_center) == 5
    of_teacher = patch_head_of(separate.dino.teacher_head)
    for a, b in zip(own.parameters(), of_teacher.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not b.requires_grad


def test_defaults_are_the_authors() -> None:
    config = IBOTConfig()
    assert (config.out_dim, config.patch_head, config.patch_weight) == (8192, "shared", 1.0)
    assert (config.patch_teacher_temperature, config.warmup_patch_teacher_temperature) == (0.07, 0.04)
    assert (config.mask_probability, config.mask_ratio, config.mask_ratio_spread) == (0.5, 0.3, 0.2)
    assert (config.patch_center_momentum, config.koleo_weight, config.mask_shape) == (0.9, 0.0, "block")


def test_what_chance_costs() -> None:
    """A student and a teacher that say the same of everything: the number that the doctor knows."""
    method = build(IBOT, replace(SMALL, mask_probability=1.0, patch_weight=0.5, patch_head="separate"))
    for head in (method.dino.student_head, method.dino.teacher_head):
        for module in (head, patch_head_of(head)):
            module.register_forward_hook(lambda _module, _args, output: 0 * output)
    assert forward(method, views()).loss.item() == pytest.approx(method.chance_loss)
    assert build(IBOT, replace(SMALL, koleo_weight=0.1)).chance_loss is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_weight": -1}, "'patch_weight' is -1, but must be >= 0"),
        ({"koleo_weight": -0.1}, "'koleo_weight' is -0.1, but must be >= 0"),
        ({"mask_probability": 1.5}, "'mask_probability' is 1.5, but must be from 0 to 1"),
        ({"mask_ratio": 0.1}, "'mask_ratio minus mask_ratio_spread' is -0.1, but must be from 0 to 1"),
        ({"mask_ratio": 0.9}, "'mask_ratio plus mask_ratio_spread' is 1.1, but must be from 0 to 1"),
        ({"patch_center_momentum": 2}, "'patch_center_momentum' is 2, but must be from 0 to 1"),
        ({"sinkhorn_iterations": 0}, "'sinkhorn_iterations' is 0, but must be >= 1"),
        ({"patch_out_dim": 1}, "'patch_out_dim' is 1, but must be >= 2"),
        ({"patch_out_dim": 5}, "'patch_out_dim' is 5, but the shared head has 8192 prototypes"),
        ({"patch_teacher_temperature": -0.1}, "'patch_teacher_temperature' is -0.1, but must be >= 0"),
        (
            {"patch_centering": "sinkhorn_knopp", "patch_teacher_temperature": 0},
            "a patch teacher temperature is 0, but must be > 0 with sinkhorn_knopp",
        ),
        ({"out_dim": 1}, "'out_dim' is 1, but must be >= 2"),
    ],
)
def test_ranges(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        IBOTConfig(**changes)
    assert str(caught.value).startswith(message)
