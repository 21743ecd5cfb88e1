"""Following a run from outside, by what it writes while it trains."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sslkit.ablation.places import Places
from sslkit.ablation.watch import Watch
from sslkit.train.rundir import write_aside
from sslkit.train.trackers import cut_after


def watch(folder: Path, **more: Any) -> Watch:
    made = Watch("a", 0, Places(folder), "knn.top1_k3", batch_size=10, epochs=4, **more)
    made.places.jobs.mkdir(parents=True, exist_ok=True)
    made.directory.path.mkdir(parents=True, exist_ok=True)
    return made


def tell(of: Watch, **told: Any) -> None:
    """What the run's process says of itself."""
    write_aside(of.places.told(of.name), json.dumps(told))


def record(of: Watch, **changes: Any) -> None:
    """What the run itself keeps."""
    of.directory.update_record(**changes)


def add(of: Watch, *records: dict[str, Any], end: str = "\n") -> None:
    with of.directory.metrics.open("a") as file:
        file.write("\n".join(map(json.dumps, records)) + end)


def step(number: int, speed: float | None = 5.0) -> dict[str, Any]:
    return {"kind": "step", "step": number, "loss": 1.0, "images_per_second": speed}


def knn(number: int, **metrics: float | None) -> dict[str, Any]:
    return {"kind": "eval", "step": number, "evaluator": "knn", "dataset": "demo/val", "metrics": metrics}


# Statuses


@pytest.mark.parametrize(
    ("told", "recorded", "has_ended", "status"),
    [
        (None, None, False, "waiting"),
        (None, None, True, "waiting"),
        ("running", None, False, "running"),
        ("running", "running", False, "running"),
        ("running", "running", True, "stopped"),  # killed
        ("running", None, True, "stopped"),
        ("running", "finished", False, "finished"),
        ("running", "finished", True, "finished"),  # killed after its last word
        ("stopped", "stopped", True, "stopped"),
        ("failed", None, True, "failed"),  # before it had a directory
        ("failed", "failed", True, "failed"),
        ("failed", "failed", False, "failed"),
        ("running", "failed", False, "running"),  # tried again
        (None, "failed", False, "waiting"),  # to be tried again
        (None, "failed", True, "failed"),
        (None, "stopped", False, "waiting"),  # to be continued
        (None, "stopped", True, "stopped"),
        (None, "running", True, "stopped"),
        ("finished", "finished", True, "finished"),
    ],
)
def test_what_its_process_says_and_what_the_run_has_kept(
    tmp_path: Path, told: str | None, recorded: str | None, has_ended: bool, status: str
) -> None:
    run = watch(tmp_path, has_ended=has_ended)
    if told is not None:
        tell(run, status=told)
    if recorded is not None:
        record(run, status=recorded)
    run.look()
    assert run.status == status


@pytest.mark.parametrize(
    ("told", "recorded", "how_ended", "error"),
    [
        ({"status": "failed", "error": "no images\n  give some"}, {}, "exit code 2", "no images"),
        ({"status": "stopped", "error": None}, {"status": "stopped"}, "exit code 143", ""),
        (
            {"status": "running", "error": None},
            {"status": "running"},
            "killed by SIGKILL",
            "killed by SIGKILL",
        ),
        (
            {"status": "running", "error": None},
            {"status": "failed", "error": "old"},
            "exit code 9",
            "exit code 9",
        ),
        ({}, {}, "exit code 1", "exit code 1"),  # before it could say anything
        ({}, {"status": "failed", "error": "old"}, "", "old"),  # in an earlier session
    ],
)
def test_why_it_is_over(
    tmp_path: Path, told: dict[str, Any], recorded: dict[str, Any], how_ended: str, error: str
) -> None:
    run = watch(tmp_path, has_ended=True, how_ended=how_ended)
    if told:
        tell(run, **told)
    record(run, **recorded)
    run.look()
    assert run.error == error
    assert run.status == ("failed" if error in ("no images", "old") else "stopped")


def test_files_that_cannot_be_read_say_nothing(tmp_path: Path) -> None:
    run = watch(tmp_path)
    run.places.told(run.name).write_text("{")
    run.directory.record.write_text("[")
    run.look()
    assert (run.status, run.step, run.value, run.seconds_left) == ("waiting", 0, None, None)


# Numbers


def test_what_is_added_is_read_once(tmp_path: Path) -> None:
    run = watch(tmp_path)
    record(run, setup={"steps_per_epoch": 5})
    add(run, knn(0, top1_k3=0.25, top1_k5=0.5), step(1), step(2))
    run.look()
    assert (run.step, run.total_steps, run.value) == (2, 20, 0.25)
    assert run.measured == {"knn": ["top1_k3", "top1_k5"]}
    written = run.directory.metrics.stat().st_size
    add(run, step(3), knn(3, top1_k3=0.75), {"kind": "health", "step": 3, "verdict": "healthy"})
    with run.directory.metrics.open("r+b") as file:  # what was read is not looked at again
        file.write(b"x" * (written - 1))
    run.look()
    assert (run.step, run.value, run.verdict) == (3, 0.75, "healthy")


def test_a_line_that_is_half_written_is_left_for_later(tmp_path: Path) -> None:
    run = watch(tmp_path)
    add(run, step(1))
    add(run, step(2), end="")
    run.look()
    assert run.step == 1
    add(run, end="\n")
    run.look()
    assert run.step == 2


def test_a_line_that_was_torn_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    run = watch(tmp_path)
    run.directory.metrics.write_text('{"kind": "step", "st\n')
    add(run, step(7))
    run.look()
    assert run.step == 7


@pytest.mark.parametrize("later", [(), (step(3), step(4), step(5), step(6), knn(6, top1_k3=0.9))])
def test_a_resume_drops_what_came_after_its_checkpoint(
    tmp_path: Path, later: Sequence[dict[str, Any]]
) -> None:
    run = watch(tmp_path)
    add(run, knn(0, top1_k3=0.1), step(1), step(2), knn(2, top1_k3=0.2), step(3), knn(3, top1_k3=0.3))
    add(run, {"kind": "health", "step": 3, "verdict": "diverging"})
    run.look()
    assert (run.step, run.value, run.verdict) == (3, 0.3, "diverging")
    cut_after(run.directory.metrics, 2)
    if later:  # it may have grown beyond its old length meanwhile
        add(run, *later)
    run.look()
    assert (run.step, run.value, run.verdict) == ((6, 0.9, "") if later else (2, 0.2, ""))


def test_a_run_that_starts_anew_forgets_everything(tmp_path: Path) -> None:
    run = watch(tmp_path)
    add(run, knn(0, top1_k3=0.1), step(1), {"kind": "health", "step": 1, "verdict": "diverging"})
    run.look()
    cut_after(run.directory.metrics, 0)
    run.look()
    assert (run.step, run.value, run.verdict) == (0, None, "")


def test_only_its_own_metric_is_its_value(tmp_path: Path) -> None:
    run = watch(tmp_path)
    add(run, {**knn(0, top1_k3=0.9), "evaluator": "linear"}, knn(0, top1_k5=0.8))
    run.look()
    assert run.value is None
    assert run.measured == {"linear": ["top1_k3"], "knn": ["top1_k5"]}


@pytest.mark.parametrize(("max_steps", "total"), [(None, 40), (7, 7), (100, 40)])
def test_how_long_it_is(tmp_path: Path, max_steps: int | None, total: int) -> None:
    run = watch(tmp_path, max_steps=max_steps)
    run.look()
    assert run.total_steps is None
    record(run, setup={"steps_per_epoch": 10})
    run.look()
    assert run.total_steps == total


def test_the_time_left_is_by_the_last_steps(tmp_path: Path) -> None:
    run = watch(tmp_path)
    record(run, setup={"steps_per_epoch": 10})
    add(run, step(1, 0.01), *(step(n, 5.0) for n in range(2, 22)), step(22, None))
    run.look()
    assert run.seconds_per_step == pytest.approx(10 / 5)  # the first, which warms up, is long gone
    assert run.seconds_left == pytest.approx((40 - 22) * 2)


@pytest.mark.parametrize(
    ("verdict", "collapsed"),
    [
        ("uniform collapse", True),
        ("dead features", True),
        ("diverging", False),
        ("healthy", False),
        ("", False),
    ],
)
def test_a_collapse_is_what_the_doctor_says(tmp_path: Path, verdict: str, collapsed: bool) -> None:
    run = watch(tmp_path)
    add(run, {"kind": "health", "step": 1, "verdict": verdict})
    run.look()
    assert run.collapsed is collapsed
