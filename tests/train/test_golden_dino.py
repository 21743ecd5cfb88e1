"""DINO's five steps: each of these mistakes, which spoils a line of loop or method, is caught."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from train import golden
from train.papers import difference

from sslkit.core.ema import ema_
from sslkit.core.method import Progress, StepOutput, Views, mean_carry
from sslkit.losses.dino import dino_loss
from sslkit.methods.dino import DINO
from sslkit.recipe.schema import ClipSection
from sslkit.train import loop, optim


def center_before_loss(patch: pytest.MonkeyPatch) -> None:
    original = DINO.forward

    def forward(self: DINO, views: Views, progress: Progress) -> StepOutput:
        teacher, _ = self._teacher_outputs(views.global_views)
        self.center.lerp_(teacher.mean((0, 1)), 1 - self.config.center_momentum)
        return original(self, views, progress)

    patch.setattr(DINO, "forward", forward)


def centered_outputs_in_the_center(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sslkit.methods.dino.mean_carry", lambda outputs, key: mean_carry(outputs, key) * 0.9)


def teacher_before_optimiser(patch: pytest.MonkeyPatch) -> None:
    before, after = DINO.before_step, DINO.after_step

    def before_step(self: DINO, progress: Progress) -> None:
        before(self, progress)
        ema_(self.teacher.parameters(), self.student.parameters(), self._momentum(progress))
        ema_(self.teacher_head.parameters(), self.student_head.parameters(), self._momentum(progress))

    def after_step(self: DINO, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        patch.setattr("sslkit.methods.dino.ema_", lambda *args: None)
        after(self, progress, outputs)

    patch.setattr(DINO, "before_step", before_step)
    patch.setattr(DINO, "after_step", after_step)


def zeroed_instead_of_absent_gradients(patch: pytest.MonkeyPatch) -> None:
    def before_step(self: DINO, progress: Progress) -> None:
        if progress.epoch < self.config.freeze_last_layer_epochs:
            for parameter in self.student_head.last_layer.parameters():
                if parameter.grad is not None:
                    parameter.grad.zero_()

    patch.setattr(DINO, "before_step", before_step)


def frozen_before_clipping_is_the_same_but_never_frozen_is_not(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DINO, "before_step", lambda self, progress: None)


def global_clip(patch: pytest.MonkeyPatch) -> None:
    original = optim.clip_gradients
    patch.setattr(loop, "clip_gradients", lambda m, clip: original(m, ClipSection("global", clip.norm)))


def decay_on_biases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(optim, "_is_exempt", lambda name, parameter: False)


def no_decay_on_the_position_embedding(patch: pytest.MonkeyPatch) -> None:
    original = optim._is_exempt
    patch.setattr(optim, "_is_exempt", lambda name, p: original(name, p) or "pos_embed" in name)


def schedules_one_step_late(patch: pytest.MonkeyPatch) -> None:
    original = optim.set_schedules
    patch.setattr(loop, "set_schedules", lambda o, schedules, step: original(o, schedules, step + 1))


def constant_momentum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DINO, "_momentum", lambda self, progress: self.config.teacher_momentum)


def own_view_among_the_pairs(patch: pytest.MonkeyPatch) -> None:
    def all_pairs(student: Tensor, teacher: Tensor, center: Tensor, **temperatures: float) -> Tensor:
        p = ((teacher - center) / temperatures["teacher_temperature"]).softmax(-1)
        log_q = (student / temperatures["student_temperature"]).log_softmax(-1)
        return -(p[:, None] * log_q[None]).sum(-1).mean()

    patch.setattr("sslkit.methods.dino.dino_loss", all_pairs)


def no_temperature_warmup(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DINO, "_teacher_temperature", lambda self, progress: self.config.teacher_temperature)


def centre_forgotten(patch: pytest.MonkeyPatch) -> None:
    def without(student: Tensor, teacher: Tensor, center: Tensor, **temperatures: float) -> Tensor:
        return dino_loss(student, teacher, torch.zeros_like(center), **temperatures)

    patch.setattr("sslkit.methods.dino.dino_loss", without)


def teacher_sees_the_student_views_swapped(patch: pytest.MonkeyPatch) -> None:
    original = DINO._teacher_outputs
    patch.setattr(DINO, "_teacher_outputs", lambda self, views: original(self, views.flip(0)))


MISTAKES: tuple[Callable[[pytest.MonkeyPatch], None], ...] = (
    center_before_loss,
    centered_outputs_in_the_center,
    teacher_before_optimiser,
    zeroed_instead_of_absent_gradients,
    frozen_before_clipping_is_the_same_but_never_frozen_is_not,
    global_clip,
    decay_on_biases,
    no_decay_on_the_position_embedding,
    schedules_one_step_late,
    constant_momentum,
    own_view_among_the_pairs,
    no_temperature_warmup,
    centre_forgotten,
    teacher_sees_the_student_views_swapped,
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.__name__)
def test_a_mistake_is_caught(mistake: Callable[[pytest.MonkeyPatch], None], monkeypatch: Any) -> None:
    mistake(monkeypatch)
    assert difference(golden.run()) > 1000
