"""Five training steps are the paper's, and stay as they are; deliberate mistakes are caught."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from oracles import dino_steps
from torch import Tensor, nn
from train import golden

from sslkit.core.ema import ema_
from sslkit.core.method import Progress, StepOutput, Views, mean_carry
from sslkit.errors import RunError
from sslkit.losses.dino import dino_loss
from sslkit.methods.dino import DINO
from sslkit.recipe.schema import ClipSection
from sslkit.train import loop, optim
from sslkit.train.loop import Stopped, Trainer

ADVICE = (
    "the trajectory drifted: if you meant it, run `python tests/train/golden.py` and say so in CHANGELOG.md"
)
RELATIVE, ABSOLUTE = 1e-7, 1e-8
"""Float64 through five AdamW steps, which blow up the rounding of tiny gradients."""


def difference(trajectory: golden.Trajectory) -> float:
    """Largest difference of any loss or weight from what the paper's algorithm gives, over its tolerance."""
    wanted = oracle(trajectory)
    got = {"student": trajectory.method.student, "teacher": trajectory.method.teacher}
    heads = {"student": trajectory.method.student_head, "teacher": trajectory.method.teacher_head}
    pairs: list[tuple[Tensor, Tensor]] = [(trajectory.method.center, wanted.center)]
    for name, state in {"student": wanted.student, "teacher": wanted.teacher}.items():
        own = {f"backbone.{k}": v for k, v in got[name].network.state_dict().items()}
        own |= {f"head.{k}": v for k, v in heads[name].state_dict().items()}
        assert own.keys() == state.keys()
        pairs += [(_compared(k, own[k]), _compared(k, state[k])) for k in state]
    losses = torch.tensor([r["loss"] for r in trajectory.records])  # recorded in float32
    excess = [_excess(*pair, RELATIVE, ABSOLUTE) for pair in pairs]
    return max(*excess, _excess(losses, torch.tensor(wanted.losses), 1e-6, 0))


def _excess(got: Tensor, wanted: Tensor, relative: float, absolute: float) -> float:
    wanted = wanted.detach()
    return float(((got - wanted).abs() / (absolute + relative * wanted.abs())).max())


def _is_key_bias(name: str) -> bool:
    """The key third of `qkv.bias` has a true gradient of zero: what Adam makes of it is rounding."""
    return name.endswith("qkv.bias")


def _compared(name: str, tensor: Tensor) -> Tensor:
    """All of a tensor, but for that third."""
    return (
        torch.cat([part for i, part in enumerate(tensor.chunk(3)) if i != 1])
        if _is_key_bias(name)
        else tensor
    )


def oracle(trajectory: golden.Trajectory) -> dino_steps.Trace:
    c, o = golden.CONFIG, golden.OPTIM
    settings = dino_steps.Settings(
        total_steps=golden.EPOCHS * golden.STEPS_PER_EPOCH,
        steps_per_epoch=golden.STEPS_PER_EPOCH,
        lr=o.lr * o.batch_size / 256,
        min_lr=o.min_lr,
        warmup_steps=golden.STEPS_PER_EPOCH,
        weight_decay=o.weight_decay,
        weight_decay_end=o.weight_decay_end,
        clip=o.clip.norm,
        freeze_last_layer_epochs=c.freeze_last_layer_epochs,
        norm_last_layer=c.norm_last_layer,
        teacher_momentum=c.teacher_momentum,
        center_momentum=c.center_momentum,
        student_temperature=c.student_temperature,
        teacher_temperature=c.teacher_temperature,
        warmup_teacher_temperature=c.warmup_teacher_temperature,
        warmup_teacher_temperature_epochs=c.warmup_teacher_temperature_epochs,
    )
    start = trajectory.start
    steps = [[*v.global_views, *([] if v.local_views is None else v.local_views)] for v in trajectory.views]
    backbone = _part(start, "student._network.")
    return dino_steps.train(dino_steps.vit(2), backbone, _part(start, "student_head."), steps, settings)


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def test_five_steps_are_the_papers() -> None:
    assert difference(golden.run()) < 1


def test_five_steps_are_the_golden_ones() -> None:
    got, wanted = golden.run().as_json(), json.loads(golden.FILE.read_text())
    assert got["losses"] == pytest.approx(wanted["losses"], rel=1e-5), ADVICE
    assert got["norms"] == pytest.approx(wanted["norms"], rel=1e-6), ADVICE


def test_micro_batches_give_the_same_steps() -> None:
    whole, parts = golden.run(), golden.run(accumulate=4)
    assert [r["loss"] for r in parts.records] == pytest.approx([r["loss"] for r in whole.records], rel=1e-6)
    for key, wanted in whole.method.state_dict().items():
        got = parts.method.state_dict()[key]
        torch.testing.assert_close(_compared(key, got), _compared(key, wanted), rtol=1e-7, atol=1e-8)


# --- twelve mistakes: each spoils one line of the loop or of the method ------------------------------------


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


def test_a_skipped_step_moves_neither_teacher_nor_centre() -> None:
    """As under fp16: infinite gradients, the scaler skips, `after_step` is not called, the number counts."""

    def overflow(trainer: Trainer) -> None:
        trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1000)
        first = next(p for p in trainer.method.parameters() if p.requires_grad)
        first.register_hook(lambda gradient: torch.full_like(gradient, float("inf")))

    trajectory = golden.run(change=overflow, steps=1)
    assert trajectory.trainer.state.step == 1
    for key, value in trajectory.method.state_dict().items():
        assert torch.equal(value, trajectory.start[key]), key


def test_a_loss_that_is_not_finite_stops_with_advice() -> None:
    def spoil(trainer: Trainer) -> None:
        with torch.no_grad():
            next(m for m in trainer.method.modules() if isinstance(m, nn.Linear)).weight.fill_(float("nan"))

    with pytest.raises(RunError, match=r"loss became nan at step 1.*\n.*checkpoints before it are kept"):
        golden.run(change=spoil)


def test_a_gradient_that_is_not_finite_stops_too() -> None:
    def spoil(trainer: Trainer) -> None:
        first = next(p for p in trainer.method.parameters() if p.requires_grad)
        first.register_hook(lambda gradient: gradient * float("nan"))

    with pytest.raises(RunError, match="gradient norm became nan at step 1"):
        golden.run(change=spoil)


def test_numbers_that_are_read_late_are_all_read() -> None:
    """As on an accelerator: a wish to stop is seen a step later, and no step goes unrecorded."""
    asked = iter([False, True, False, False, False])
    records: list[Mapping[str, Any]] = []

    def change(trainer: Trainer) -> None:
        trainer.reads_late = True
        trainer.stop_asked = lambda: next(asked)

    with pytest.raises(Stopped):
        golden.run(change=change, on_record=records.append)
    assert [r["step"] for r in records] == [1, 2, 3]
