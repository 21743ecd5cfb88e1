"""Running a study: what is run, what is not run again, what is refused, and what a kill leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ablation.studies import (
    InThisProcess,
    carry,
    small_study,
    two_at_a_time,
    without_times,
    write_breaking_plugin,
)
from ablation.test_worker import wait_for_the_end
from runs import learned, lines

from sslkit.ablation import running
from sslkit.ablation.places import Places
from sslkit.ablation.result import as_record, read_result
from sslkit.ablation.running import alone, jobs_of, recipe_of, watches_of, write_recipes
from sslkit.ablation.study import read_study
from sslkit.errors import RunError
from sslkit.recipe.load import load_recipe, to_yaml

TESTS = Path(__file__).parents[1]
SHARP, WIDE = {"method.teacher_temperature": 0.02}, {"method.out_dim": 32}
QUICK: dict[str, Any] = {"runtime": {"max_steps": 2}, "optim": {"epochs": 1}}


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs are over whenever they are looked at."""
    monkeypatch.setattr(running, "LOOK_SECONDS", 0.05)


def statuses(study: Path, out: Path, **how: Any) -> dict[str, str]:
    """By run how it is, as another process sees it."""
    found = watches_of(read_study(study, **how), Places(out))
    for watch in found:
        watch.has_ended = True
        watch.look()
    return {watch.name: watch.status for watch in found}


def kept(out: Path) -> dict[str, tuple[bytes, int]]:
    """What all runs have written, with the times."""
    files = [path for path in (out / "runs").rglob("*") if path.is_file()]
    assert files
    return {str(path.relative_to(out)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


# What is run


def test_all_arms_of_a_seed_come_before_the_next_seed(tmp_path: Path) -> None:
    study = read_study(small_study(tmp_path, {"sharp": SHARP}, seeds=(3, 1), runtime={"device": "cpu"}))
    watches = watches_of(study, Places(tmp_path / "out"))
    assert [watch.name for watch in watches] == ["baseline-3", "sharp-3", "baseline-1", "sharp-1"]
    assert [(w.metric, w.batch_size, w.epochs, w.max_steps) for w in watches] == [
        ("knn.top1_k3", 4, 2, None)
    ] * 4
    job = jobs_of(study, watches)[1]
    assert job.command == (
        sys.executable,
        "-P",
        "-m",
        "sslkit.ablation.worker",
        str(tmp_path / "out"),
        "sharp-3",
    )
    assert (job.log, job.wants_gpu) == (tmp_path / "out" / "jobs" / "sharp-3.log", False)


def test_a_run_wants_a_gpu_unless_its_recipe_says_otherwise(tmp_path: Path) -> None:
    devices = ("auto", "cuda", "cuda:1", "mps")
    arms = {
        device.replace(":", ""): {"runtime.device": device, "optim.lr": 0.01 * (i + 1)}
        for i, device in enumerate(devices)
    }
    study = read_study(small_study(tmp_path, arms, runtime={"device": "cpu"}))
    jobs = jobs_of(study, watches_of(study, Places(tmp_path)))
    assert [job.wants_gpu for job in jobs] == [False, True, True, True, False]


def test_the_recipe_of_a_run_is_whole(tmp_path: Path) -> None:
    base = {"closing": "Well done.", "expect": {"metrics": {"knn.top1_k3": [0, 1]}}}
    study, places = (
        read_study(small_study(tmp_path, {"sharp": SHARP}, seeds=(5, 7), **base)),
        Places(tmp_path),
    )
    write_recipes(study, places)
    recipe = load_recipe(places.recipe("sharp-7")).recipe
    assert recipe == recipe_of(study, study.arms[1], 7)
    assert (recipe.name, recipe.seed, recipe.closing) == ("small-sharp-7", 7, "")
    assert recipe.method.config.teacher_temperature == 0.02
    assert not recipe.expect.metrics
    assert places.recipe("sharp-7").read_text().startswith("# small: sharp, seed 7\n")


@pytest.mark.slow
def test_a_study_is_run_once_and_grows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, executor = tmp_path / "out", InThisProcess()
    study = small_study(tmp_path, {"sharp": SHARP}, **QUICK)
    assert carry(study, out, executor) is None
    assert executor.taken == ["baseline-0", "sharp-0"]
    assert statuses(study, out) == {"baseline-0": "finished", "sharp-0": "finished"}
    assert "sharp-0" in capsys.readouterr().out
    before = kept(out)
    again = InThisProcess()
    assert carry(study, out, again) is None
    assert again.taken == []
    assert kept(out) == before
    grown, more = (
        small_study(tmp_path, {"sharp": SHARP, "wide": WIDE}, seeds=(0, 1), **QUICK),
        InThisProcess(),
    )
    assert carry(grown, out, more) is None
    assert more.taken == ["wide-0", "baseline-1", "sharp-1", "wide-1"]
    assert set(statuses(grown, out).values()) == {"finished"}
    assert {name: kept(out)[name] for name in before} == before


@pytest.mark.slow
def test_a_failure_is_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin, flag = write_breaking_plugin(tmp_path)
    arms = {
        "breaks": {"plugins": [plugin], "method": {"name": "breaks"}},
        "nowhere": {"data.root": str(tmp_path / "later")},
        "sharp": SHARP,
    }
    study, out, first = small_study(tmp_path, arms), tmp_path / "out", InThisProcess()
    assert carry(study, out, first) is None
    results = {"baseline-0": "finished", "breaks-0": "failed", "nowhere-0": "failed", "sharp-0": "finished"}
    assert statuses(study, out) == results
    shown = capsys.readouterr().out
    assert "breaks-0" in shown
    assert "failed: ValueError: it broke" in shown
    assert str(tmp_path / "later") in shown
    again = InThisProcess()
    assert carry(study, out, again) is None
    assert again.taken == []
    assert statuses(study, out) == results
    flag.unlink()
    shutil.copytree(tmp_path / "photos", tmp_path / "later")
    finished, retried = kept(out), InThisProcess()
    assert carry(study, out, retried, retry_failed=True) is None
    assert retried.taken == ["breaks-0", "nowhere-0"]
    assert set(statuses(study, out).values()) == {"finished"}
    assert json.loads((out / "runs/breaks-0/run.json").read_text())["resumed"]  # it went on where it broke
    untouched = [name for name in finished if "breaks-0" not in name]
    assert all(kept(out)[name] == finished[name] for name in untouched)


@pytest.mark.slow
def test_a_metric_that_is_not_measured_is_told_at_the_first_evaluation(tmp_path: Path) -> None:
    study = small_study(tmp_path, {"sharp": SHARP}, **QUICK)
    study.write_text(study.read_text().replace("knn.top1_k3", "knn.top1_k5"))
    out = tmp_path / "out"
    with pytest.raises(RunError, match=r"'knn' gives no 'top1_k5' in baseline-0\n  did you mean 'top1_k3'"):
        carry(study, out, InThisProcess())
    assert statuses(study, out) == {"baseline-0": "finished", "sharp-0": "waiting"}
    study.write_text(study.read_text().replace("knn.top1_k5", "knn.top1_k3"))
    more = InThisProcess()
    carry(study, out, more)
    assert more.taken == ["sharp-0"]


# What is refused


def begun(folder: Path, arms: dict[str, Any], names: Sequence[str], **base: Any) -> Places:
    """A study of which some runs have begun."""
    study, places = read_study(small_study(folder, arms, **base)), Places(folder / "out")
    write_recipes(study, places)
    for arm in study.arms:
        if arm.name in names:
            run = places.run(f"{arm.name}-0")
            run.mkdir(parents=True)
            (run / "recipe.yaml").write_text(to_yaml(recipe_of(study, arm, 0), run_dir=run))
    return places


def test_another_recipe_than_a_run_was_started_with_is_refused(tmp_path: Path) -> None:
    places = begun(tmp_path, {"sharp": SHARP, "wide": WIDE}, ["sharp"])
    changed = read_study(small_study(tmp_path, {"sharp": {"method.teacher_temperature": 0.03}, "wide": WIDE}))
    with pytest.raises(RunError) as caught:
        write_recipes(changed, places)
    assert str(caught.value) == (
        f"{places.run('sharp-0')} was run with another recipe: what the study says now differs in"
        " method.teacher_temperature\n"
        f"  to keep both: another --out than {places.folder}"
        f"      to run it again: remove {places.run('sharp-0')}"
    )


def test_whatever_changes_a_result_is_refused_and_nothing_else(tmp_path: Path) -> None:
    places = begun(tmp_path, {"sharp": SHARP}, ["baseline", "sharp"])
    harmless = ["runtime.threads=2", "checkpoint.keep=5", "trackers=[tensorboard]", "name=b"]
    write_recipes(read_study(tmp_path / "study.yaml", harmless), places)
    words = ["optim.epochs=9", "runtime.precision=bf16", "runtime.max_steps=1", "eval.every_epochs=2"]
    keys = ", ".join(word.partition("=")[0] for word in words)
    with pytest.raises(RunError, match=f"differs in {keys}\n"):
        write_recipes(read_study(tmp_path / "study.yaml", [*harmless, *words]), places)


def test_an_arm_that_has_not_begun_may_change(tmp_path: Path) -> None:
    places = begun(tmp_path, {"sharp": SHARP, "wide": WIDE}, ["sharp"])
    arms = {"sharp": SHARP, "wide": {"method.out_dim": 64}, "new": {"optim.lr": 1}}
    write_recipes(read_study(small_study(tmp_path, arms)), places)
    assert load_recipe(places.recipe("wide-0")).recipe.method.config.out_dim == 64


def test_two_commands_do_not_run_one_study(tmp_path: Path) -> None:
    places = Places(tmp_path / "out")
    refused = pytest.raises(
        RunError, match="is being run by another command already\n  wait for it, or choose"
    )
    with alone(places), refused, alone(places):
        pass
    with alone(places):
        pass


# Kills and signals


def start(study: Path, out: Path) -> "subprocess.Popen[str]":
    """The study's process, as `sslkit ablate` would be."""
    return subprocess.Popen(
        [sys.executable, "-m", "ablation.studies", str(study), str(out)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def steps(places: Places) -> dict[str, int]:
    """By run how many step records it has."""
    files = places.runs.glob("*/metrics.jsonl")
    return {file.parent.name: file.read_text().count('"kind": "step"') for file in files}


def wait_for_steps(places: Places, more_than: int, before: dict[str, int], seconds: float = 300) -> None:
    """Until any run has so many steps more than before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(count > before.get(name, 0) + more_than for name, count in steps(places).items()):
            return
        time.sleep(0.02)
    pytest.fail("no run has trained")


def running_processes(places: Places) -> list[int]:
    told = [json.loads(path.read_text()) for path in places.jobs.glob("*-0.json")]
    return [each["pid"] for each in told if each["status"] == "running"]


@pytest.mark.slow
def test_a_study_that_was_stopped_and_killed_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    study = small_study(tmp_path, {"sharp": SHARP}, optim={"epochs": 15}, eval={"every_epochs": 5})
    whole, places = Places(tmp_path / "whole"), Places(tmp_path / "out")
    assert carry(study, whole.folder, InThisProcess()) is None
    process = start(study, places.folder)
    try:
        wait_for_steps(places, 3, {})
        with pytest.raises(RunError, match="is being run by another command"), alone(places):
            pass
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, printed
    assert "stopping: the runs save their state" in printed
    assert "Traceback" not in printed
    check_stopped(study, places)

    before = steps(places)
    process = start(study, places.folder)
    try:
        wait_for_steps(places, 2, before)
        children = running_processes(places)
        for pid in (process.pid, *children):  # at once, so that no run can save its state
            os.kill(pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert children
    if sys.platform == "linux":
        assert all(wait_for_the_end(child, 60.0) for child in children)
    assert "finished" not in statuses(study, places.folder).values()

    last = two_at_a_time()
    assert carry(study, places.folder, last) is None
    assert set(statuses(study, places.folder).values()) == {"finished"}
    for name in ("baseline-0", "sharp-0"):
        assert numbers(places.run(name)) == numbers(whole.run(name))
    assert table(study, places) == table(study, whole)
    assert json.loads((places.run("baseline-0") / "run.json").read_text())["resumed"]


def table(study: Path, places: Places) -> dict[str, Any]:
    """What the study's table, record and page are made of, less what is about time."""
    return without_times(as_record(read_result(read_study(study), places)))


def numbers(run: Path) -> list[dict[str, Any]]:
    """All that was recorded, but for the speed and the run's own folder."""
    return [{key: value for key, value in r.items() if key != "command"} for r in learned(lines(run))]


def check_stopped(study: Path, places: Places) -> None:
    """Every run can go on; those that trained stand at a checkpoint."""
    assert set(statuses(study, places.folder).values()) <= {"stopped", "waiting"}
    trained = [path.parent for path in places.runs.glob("*/metrics.jsonl") if '"step", ' in path.read_text()]
    assert trained
    for run in trained:
        record = json.loads((run / "run.json").read_text())
        newest = max(int(path.name[5:]) for path in (run / "checkpoints").iterdir())
        assert (record["status"], record["step"]) == ("stopped", newest)
