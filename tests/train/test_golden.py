"""Five training steps of each method are its paper's, and stay as they are."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from runs import METHODS
from torch import nn
from train import golden, papers

from sslkit.errors import RunError
from sslkit.plugins import Registry
from sslkit.train.loop import Stopped, Trainer

ADVICE = (
    "the trajectory drifted: if you meant it, run `python tests/train/golden.py {}`, and say so in "
    "CHANGELOG.md"
)
ROUNDING = 1e-8
"""Norms below this are zero by the mathematics (a bias before a batch norm), their value the processor's."""
MICRO_BATCHES = ("dino", "mocov2", "patch")
"""The others' losses need the whole batch: batch norm in the head, negatives of the batch, known labels."""


def test_no_built_in_method_is_forgotten() -> None:
    """Neither here nor among the runs that are stopped and go on."""
    assert sorted(golden.CASES) == sorted(METHODS) == sorted(Registry.load(allow="").names("methods"))


@pytest.mark.parametrize("local_views", [2, 0])
@pytest.mark.parametrize("name", golden.CASES)
def test_five_steps_are_the_papers(name: str, local_views: int) -> None:
    case = replace(golden.CASES[name], views=(2, local_views))
    assert papers.difference(golden.run(name, case=case)) < 1


def test_three_patches_are_a_triplet() -> None:
    assert golden.CASES["patch"].views == (3, 0)
    assert papers.difference(golden.run("patch")) < 1


@pytest.mark.parametrize("name", golden.CASES)
def test_five_steps_are_the_golden_ones(name: str) -> None:
    got, wanted = golden.run(name).as_json(), json.loads(golden.file_of(name).read_text())
    assert got["losses"] == pytest.approx(wanted["losses"], rel=1e-5), ADVICE.format(name)
    assert got["norms"] == pytest.approx(wanted["norms"], rel=1e-6, abs=ROUNDING), ADVICE.format(name)


@pytest.mark.parametrize("name", MICRO_BATCHES)
def test_micro_batches_give_the_same_steps(name: str) -> None:
    whole, parts = golden.run(name), golden.run(name, accumulate=4)
    papers.assert_same(parts, whole.records, whole.method.state_dict())


@pytest.mark.parametrize("name", ["dino", "mocov2"])
def test_a_skipped_step_moves_neither_teacher_nor_centre_nor_queue(name: str) -> None:
    """As under fp16: infinite gradients, the scaler skips, `after_step` is not called, the number counts."""

    def overflow(trainer: Trainer) -> None:
        trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1000)
        first = next(p for p in trainer.method.parameters() if p.requires_grad)
        first.register_hook(lambda gradient: torch.full_like(gradient, float("inf")))

    trajectory = golden.run(name, change=overflow, steps=1)
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
    heard: list[int] = []

    def change(trainer: Trainer) -> None:
        trainer.reads_late = True
        trainer.stop_asked = lambda: next(asked)

    with pytest.raises(Stopped):
        golden.run(
            change=change,
            on_record=records.append,
            on_step=lambda progress, output: heard.append(progress.step),
        )
    assert [r["step"] for r in records] == [1, 2, 3]
    assert heard == [0, 1, 2], "also the step in which the run is stopped"
