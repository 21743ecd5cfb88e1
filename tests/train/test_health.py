"""Verdicts from numbers, causes from recipes, and what is kept and told while a run is sick."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sslkit.core.diagnosis import Cause, Sign
from sslkit.core.method import Method
from sslkit.errors import RunError
from sslkit.recipe.load import Loaded, load_recipe
from sslkit.recipe.schema import Recipe
from sslkit.stations import Facts, build_method
from sslkit.train.checkup import Checkup, stop_if_collapsed, was_at_evaluation
from sslkit.train.health import FEWEST_STEPS, WINDOW, Doctor
from sslkit.train.rundir import RunDirectory

K = 128
FULL = math.log(K)
FACTS = Facts(image_size=24, steps_per_epoch=46, num_classes=10, canvas_size=38)
HEALTHY = {
    "loss": 3.5,
    "grad_norm": 1.5,
    "feature_std": 0.5,
    "rankme": 5.0,
    "teacher_entropy": 0.5 * FULL,
    "mean_teacher_entropy": 0.7 * FULL,
    "teacher_information": 0.2 * FULL,
    "kl": 0.8,
}


def doctor_of(*overrides: str, recipe: str = "dino_pocket") -> Doctor:
    """The doctor of a recipe with its real method."""
    loaded, method = built(recipe, overrides)
    return Doctor.of(loaded.recipe, method)


@cache
def built(recipe: str, overrides: tuple[str, ...]) -> tuple[Loaded, Method]:
    loaded = load_recipe(recipe, overrides)
    return loaded, build_method(loaded.recipe, loaded.registry, FACTS)


def seen(doctor: Doctor, steps: int = 200, start: int = 1, **numbers: Any) -> Doctor:
    """After steps with the same numbers; the first ones of a run are healthy."""
    for step in range(start, start + steps):
        record = {"step": step, "epoch": step // 46, **HEALTHY, **({} if step <= WINDOW else numbers)}
        doctor.see(record)
    return doctor


def verdict_after(doctor: Doctor, steps: int = 200, start: int = 1, **numbers: Any) -> str:
    return seen(doctor, steps, start, **numbers).verdict.verdict


SAME: dict[str, Any] = {"kl": 0.001, "teacher_information": 0.0}
UNIFORM: dict[str, Any] = {**SAME, "teacher_entropy": FULL, "mean_teacher_entropy": FULL, "loss": FULL}
ONE: dict[str, Any] = {**SAME, "teacher_entropy": 0.0, "mean_teacher_entropy": 0.0, "loss": 0.001}


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ({}, "healthy"),
        (UNIFORM, "uniform collapse"),
        (UNIFORM | {"kl": 0.5}, "diverging"),  # the student disagrees: no fixed point
        (ONE, "one-dimension collapse"),
        ({"teacher_entropy": 0.0, "mean_teacher_entropy": 0.9 * FULL}, "healthy"),  # sharp, not collapsed
        ({"teacher_information": 0.001}, "diverging"),
        ({"feature_std": 0.01}, "dead features"),
        ({"rankme": 1.5}, "dead features"),
        ({"rankme": 1.5, **ONE}, "one-dimension collapse"),  # the more telling one
        ({"loss": 9.0}, "diverging"),
        ({"loss": FULL}, "not learning yet"),
    ],
)
def test_numbers_and_their_verdict(numbers: dict[str, Any], verdict: str) -> None:
    assert verdict_after(doctor_of(), **numbers) == verdict


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_what_is_not_finite_is_told_at_once(name: str, value: Any) -> None:
    doctor = seen(doctor_of(), 3)
    doctor.see({"step": 4, **HEALTHY, name: value})
    assert doctor.verdict.verdict == "diverging"
    assert doctor.verdict.evidence == f"{name} is not finite"


def test_half_precision() -> None:
    """A scaler skips steps whose gradient overflows; the doctor minds once it can skip no more."""
    doctor = doctor_of("runtime.precision=fp16")
    assert verdict_after(doctor, grad_norm=math.inf, loss_scale=1024.0) == "healthy"
    doctor.see({"step": 500, **HEALTHY, "loss_scale": 0.5})
    assert doctor.verdict.evidence == "the loss scale is down to 0.5"
    assert doctor.verdict.overrides == "runtime.precision=fp32"


def test_a_few_steps_tell_nothing_and_one_window_changes_nothing() -> None:
    doctor = doctor_of()
    assert verdict_after(doctor, FEWEST_STEPS - 1, **ONE) == "not learning yet"
    assert doctor.verdict.advice is None
    assert verdict_after(doctor, 101, FEWEST_STEPS) == "healthy"
    assert verdict_after(doctor, 30, FEWEST_STEPS + 101, **ONE) == "healthy"  # the first of three is mixed
    assert verdict_after(doctor, 20, FEWEST_STEPS + 131, **ONE) == "one-dimension collapse"


@pytest.mark.parametrize(
    ("overrides", "numbers", "cause", "advice"),
    [
        (["method.center_momentum=1"], ONE, "nothing centres", "method.center_momentum=0.9"),
        (["method.center_momentum=0.999"], UNIFORM, "too slowly", "method.center_momentum=0.9"),
        (
            ["method.teacher_temperature=0.2"],
            UNIFORM,
            "too soft",
            "method.teacher_temperature=0.04 method.warmup_teacher_temperature=0.04",
        ),
        (["method.teacher_momentum=0"], {"feature_std": 0.0}, "no EMA", "method.teacher_momentum=0.99"),
        (
            ["method.student_temperature=0.05", "method.teacher_temperature=0.04"],
            UNIFORM,
            "too soft",
            "method.teacher_temperature=0.02 method.warmup_teacher_temperature=0.02",
        ),
        (["optim.lr=0.2"], {"loss": 9.0}, "learning rate is high: 0.2", "optim.lr=0.001"),
        (["optim.lr_base_batch=1"], {"loss": 9.0}, "x 64 / 1 images", "optim.lr=2e-05"),
        (["optim.clip.mode=none"], {"loss": 9.0}, "not clipped", "optim.clip.mode=per_parameter"),
        (["optim.warmup_epochs=0"], ONE, "no warm-up", "optim.warmup_epochs=4"),
        (
            ["augment.global_scale=[1,1]", "augment.color_jitter.p=0"],
            {"rankme": 1.0},
            "nearly the same picture",
            "'augment.global_scale=[0.4,1.0]' augment.color_jitter.p=0.8",
        ),
    ],
)
def test_the_cause_is_read_from_the_recipe(
    overrides: list[str], numbers: dict[str, Any], cause: str, advice: str
) -> None:
    verdict = seen(doctor_of(*overrides), **numbers).verdict
    assert cause in str(verdict.cause)
    assert verdict.overrides == advice


def test_the_advice_can_be_pasted() -> None:
    """It is taken back by the recipe, and then the doctor knows no cause any more."""
    overrides = ["method.center_momentum=1", "optim.lr=0.2", "optim.warmup_epochs=0"]
    verdict = seen(doctor_of(*overrides), **ONE).verdict
    mended = seen(doctor_of(*overrides, *str(verdict.advice).split()), **ONE).verdict
    assert mended.cause == "one output has everything: nothing balances them"
    assert mended.overrides == "optim.lr=0.0003 optim.warmup_epochs=8"  # smaller steps, whatever it is


def test_advice_that_comes_late_is_told() -> None:
    """While it is early, a loss at its start is no news; later the same verdict has an advice."""
    checkup = Checkup(doctor_of(), RunDirectory(Path()))
    told = [checkup.see({"step": s, "epoch": s // 46, **HEALTHY, "loss": FULL}) for s in range(1, 500)]
    (late,) = [record for record in told if record is not None and record["advice"]]
    assert late["verdict"] == "not learning yet"
    assert late["step"] > 46 * 4


def test_the_first_step_of_a_run_that_goes_on_is_no_untrained_network() -> None:
    doctor = doctor_of()
    for step in range(500, 600):
        doctor.see({"step": step, **HEALTHY, "rankme": 2.0})
    assert "untrained" not in str(doctor.verdict.cause)


def test_numbers_that_are_not_there() -> None:
    doctor = doctor_of()
    for step in range(1, 100):
        doctor.see({"step": step, **HEALTHY, "rankme": math.nan, "feature_std": None})
    assert doctor.verdict.verdict == "healthy"


def test_images_that_are_all_alike() -> None:
    doctor = doctor_of()
    for step in range(1, 100):
        doctor.see({"step": step, **HEALTHY, "rankme": 2.0})
    assert "alike to the untrained network already" in str(doctor.verdict.cause)
    assert doctor.verdict.overrides == ""  # words for a person, not for a command line
    assert "command" not in Checkup(doctor, RunDirectory(Path())).after_evaluation(100)


@pytest.mark.parametrize("method", ["byol", "simclr", "mocov2", "mocov3", "patch", "supervised"])
def test_other_methods_are_judged_by_what_is_watched_of_all(method: str) -> None:
    recipe = f"methods/{method}"
    assert verdict_after(doctor_of(recipe=recipe), loss=0.5) == "healthy"
    assert verdict_after(doctor_of(recipe=recipe), feature_std=0.0, loss=0.5) == "dead features"
    doctor = doctor_of(recipe=recipe)
    if doctor.chance_loss is not None:
        late = seen(doctor, 1000, loss=doctor.chance_loss * 1.001).verdict
        assert late.verdict == "not learning yet"
        assert late.advice


@pytest.mark.parametrize(
    ("method", "key"), [("byol", "target_momentum"), ("mocov2", "key_momentum"), ("mocov3", "key_momentum")]
)
def test_targets_without_an_ema(method: str, key: str) -> None:
    verdict = seen(doctor_of(f"method.{key}=0", recipe=f"methods/{method}"), feature_std=0.0).verdict
    assert verdict.overrides == f"method.{key}=0.99"


def test_a_methods_own_signs_and_causes() -> None:
    sign = Sign("one-dimension collapse", {"my_number": (5.0, math.inf)})
    cause = Cause(("one-dimension collapse",), "my_key is too small", "method.my_key=3")
    doctor = seen(Doctor(Recipe(), [sign], [cause]), my_number=6.0)
    assert doctor.verdict.cause == "my_key is too small"
    assert doctor.verdict.evidence == "my_number 6 over the last 20 steps"
    assert verdict_after(Doctor(Recipe(), [sign], [cause])) == "healthy"  # the number is not there


# --- during a run ------------------------------------------------------------------------------------------


def rounds(checkup: Checkup, start: int, steps: int, **numbers: Any) -> list[dict[str, Any]]:
    found = (checkup.see({"step": s, **HEALTHY, **numbers}) for s in range(start, start + steps))
    return [record for record in found if record is not None]


def test_the_command_starts_from_the_last_healthy_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    for step in (100, 150, 250):
        (run / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    checkup = Checkup(doctor_of("method.center_momentum=1"), RunDirectory(run))
    healthy = rounds(checkup, 1, 180)
    assert [r["verdict"] for r in healthy] == ["healthy"]
    (told,) = rounds(checkup, 181, 100, **ONE)
    assert told["command"] == (
        f"sslkit run '{run}' --from '{run}/checkpoints/step-00000150' method.center_momentum=0.9"
    )
    assert checkup.spared() == (150,)
    other = doctor_of("method.center_momentum=1")
    other.load(json.loads(json.dumps(checkup.doctor.state())))
    assert other == checkup.doctor
    assert other.last_healthy >= 150
    again = checkup.after_evaluation(280)
    assert was_at_evaluation(again)
    assert not was_at_evaluation(told)
    with pytest.raises(RunError, match=r"(?s)one-dimension.*nothing centres.*--from"):
        stop_if_collapsed(again)
    stop_if_collapsed(healthy[0])


def test_without_a_healthy_checkpoint_a_new_run_starts_at_the_beginning(tmp_path: Path) -> None:
    checkup = Checkup(doctor_of("method.center_momentum=1"), RunDirectory(tmp_path))
    (told,) = rounds(checkup, 1, 100, **ONE)
    assert told["command"] == f"sslkit run {tmp_path} method.center_momentum=0.9"
    assert checkup.spared() == ()
