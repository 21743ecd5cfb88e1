"""Processes of this machine: how many at a time, with what, how they end, and how they are stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from executor_jobs import (
    STUBBORN,
    TELLS,
    check_that_one_begins_when_another_ends,
    is_alive,
    job,
    run_all,
    saver,
    start_and_await,
    told,
    until,
)

from sslkit.core.executor import Resources
from sslkit.errors import RecipeError
from sslkit.executors.local import LocalConfig, LocalExecutor, visible_gpus


def executor(jobs: int | None = None, threads: int | None = None) -> LocalExecutor:
    return LocalExecutor(LocalConfig(threads), Resources(jobs))


def test_so_many_run_at_a_time_and_in_order(tmp_path: Path) -> None:
    check_that_one_begins_when_another_ends(executor(2), tmp_path, at_a_time=2)


def test_it_is_told_in_words_how_a_job_ended(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "good", ""),
        job(tmp_path, "bad", "raise SystemExit(3)"),
        job(tmp_path, "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        job(tmp_path / "missing", "lost", ""),
    ]
    how = run_all(executor(2), jobs)
    lost = how["lost"]
    assert how == {"good": "", "bad": "exit code 3", "killed": "killed by SIGKILL", "lost": lost}
    assert "missing/lost.log" in lost


def test_threads_and_gpus_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    wants = {"a": True, "b": False, "c": True, "d": True}
    code = TELLS.replace("print", "import time; time.sleep(0.5); print")
    jobs = [job(tmp_path, name, code, wants_gpu=gpu) for name, gpu in wants.items()]
    run_all(executor(4, threads=3), jobs)
    assert {told(each)["OMP_NUM_THREADS"] for each in jobs} == {"3"}
    assert [told(each)["CUDA_VISIBLE_DEVICES"] for each in jobs] == ["3", "3,5", "5", "3"]


def test_without_a_number_each_gpu_has_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    check_that_one_begins_when_another_ends(executor(), tmp_path, at_a_time=3)


@pytest.mark.parametrize(
    ("words", "gpus"),
    [("", []), ("-1", []), ("0", ["0"]), ("3, 5", ["3", "5"]), ("1,-1,2", ["1"]), ("GPU-8f,MIG-a", None)],
)
def test_the_variable_is_read_as_cuda_reads_it(
    words: str, gpus: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", words)
    assert visible_gpus() == (words.split(",") if gpus is None else gpus)


def test_cores_are_those_that_are_left_to_us() -> None:
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "from sslkit.executors.local import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_stopping_waits_until_all_have_saved_and_begins_none(tmp_path: Path) -> None:
    jobs = [saver(tmp_path, name) for name in "abc"]
    stopped = executor(2)
    start_and_await(stopped, jobs, running=jobs[:2])
    stopped.stop()
    assert sorted(path.name for path in tmp_path.glob("*.saved")) == ["a.saved", "b.saved"]
    assert stopped.ended() == {"a": "exit code 143", "b": "exit code 143"}
    assert not jobs[2].log.exists()


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_a_second_ctrl_c_ends_what_does_not_save(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "stubborn", STUBBORN), saver(tmp_path, "saves")]
    stopped = executor(2)
    start_and_await(stopped, jobs, running=jobs)
    pids = [int(word) for word in jobs[0].log.read_text().split()]

    def press_ctrl_c() -> None:
        until((tmp_path / "saves.saved").exists)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c).start()
    with pytest.raises(KeyboardInterrupt):
        stopped.stop()
    stopped.kill()
    assert stopped.ended() == {"stubborn": "killed by SIGKILL", "saves": "exit code 143"}
    until(lambda: not any(map(is_alive, pids)))


def test_killing_does_not_wait_for_a_job_that_saves(tmp_path: Path) -> None:
    killed = executor(1)
    jobs = [saver(tmp_path, "a"), saver(tmp_path, "b")]
    start_and_await(killed, jobs, running=jobs[:1])
    killed.kill()
    assert killed.ended() == {"a": "killed by SIGKILL"}
    assert not (tmp_path / "a.saved").exists()
    assert not jobs[1].log.exists()


def test_no_threads_are_refused() -> None:
    with pytest.raises(RecipeError, match="'threads' is 0, but must be 1 or more"):
        executor(threads=0)
