"""DINO's teacher when it is the student of an earlier epoch; all else is in the golden steps."""

from dataclasses import replace

import pytest
import torch
from methods.small import (
    TOTAL_STEPS,
    batch_of_views,
    build,
    check_ema,
    check_range,
    check_starts_as_copy,
    disturb,
    progress,
    sgd,
    train_step,
)
from tolerances import assert_close
from torch import Tensor

from sslkit.methods.dino import DINO, DINOConfig

EPOCH = progress().steps_per_epoch
SMALL = DINOConfig(out_dim=8, hidden_dim=16, bottleneck_dim=8, freeze_last_layer_epochs=0)
COPIES = {"teacher": "student", "teacher_head": "student_head"}


def of_epochs(epochs: int, network: str = "resnet") -> DINO:
    """With a teacher that follows every so many epochs, and is no copy yet."""
    method = build(DINO, replace(SMALL, teacher_update_epochs=epochs), network)
    disturb(method.student, method.student_head)
    return method


def weights(method: DINO, module: str) -> dict[str, Tensor]:
    """The parameters that are learned, or copied; batch norm's statistics are each network's own."""
    heads = {"student": "student_head", "teacher": "teacher_head"}
    named = [*method.get_submodule(module).named_parameters()]
    named += [(f"head.{name}", p) for name, p in method.get_submodule(heads[module]).named_parameters()]
    return {name: parameter.detach().clone() for name, parameter in named}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("network", ["resnet", "vit"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_the_teacher_is_the_student_after_each_nth_epoch_and_stands_still_between(
    network: str, epochs: int
) -> None:
    method = of_epochs(epochs, network)
    optimizer, teacher = sgd(method), weights(method, "teacher")
    assert not same(teacher, weights(method, "student"))
    updated = []
    for step in range(TOTAL_STEPS):
        (output,) = train_step(method, optimizer, [batch_of_views(2, seed=step)], step)
        is_last = (step + 1) % (epochs * EPOCH) == 0
        assert_close(output.metrics["teacher_momentum"], 0.0 if is_last else 1.0)
        if is_last:
            updated.append(step + 1)
            assert same(weights(method, "teacher"), weights(method, "student"))
            teacher = weights(method, "teacher")
        else:
            assert same(weights(method, "teacher"), teacher)
            assert not same(teacher, weights(method, "student"))
    assert updated == list(range(epochs * EPOCH, TOTAL_STEPS + 1, epochs * EPOCH))


def test_nothing_else_moves_with_the_copy() -> None:
    method = build(DINO, replace(SMALL, teacher_update_epochs=1, center_momentum=1.0))
    disturb(method.student, method.student_head)
    outputs = [method(batch_of_views(2), progress(EPOCH - 1))]
    check_ema(method, COPIES, 0.0, lambda: method.after_step(progress(EPOCH - 1), outputs))


def test_zero_is_the_ema_of_every_step() -> None:
    method = build(DINO, replace(SMALL, teacher_momentum=0.9, center_momentum=1.0))
    disturb(method.student, method.student_head)
    outputs = [method(batch_of_views(2), progress(0))]
    check_ema(method, COPIES, 0.9, lambda: method.after_step(progress(0), outputs))


def test_a_resume_in_the_middle_of_an_epoch_is_exact() -> None:
    """Nothing is carried along but the weights."""
    whole, broken = of_epochs(2, "vit"), of_epochs(2, "vit")
    assert whole.state_dict().keys() == build(DINO, SMALL, "vit").state_dict().keys()
    for step in range(TOTAL_STEPS):
        if step in (3, EPOCH, 2 * EPOCH - 1, 13):
            again = build(DINO, broken.config, "vit")
            again.load_state_dict(broken.state_dict())
            broken = again
        for method in (whole, broken):
            train_step(method, sgd(method), [batch_of_views(2, seed=step)], step)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, broken.state_dict()[name]), name


def test_the_teacher_starts_as_a_copy() -> None:
    check_starts_as_copy(build(DINO, replace(SMALL, teacher_update_epochs=1)), COPIES)


def test_ranges() -> None:
    check_range(DINOConfig, "teacher_update_epochs", -1, ">= 0")
