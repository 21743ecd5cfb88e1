"""Jobs by submitit: on this machine, on a cluster of `slurm_commands`, and as the script that sbatch gets."""

import json
import os
import pickle
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm_commands
from executor_jobs import (
    SAVES,
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
from sslkit.errors import RecipeError, RunError
from sslkit.executors import slurm_queue
from sslkit.executors.slurm import SlurmConfig, SlurmExecutor
from sslkit.executors.slurm_task import SlurmTask

GOES_ON = f"""
import sys
from pathlib import Path
if Path(sys.argv[1]).exists():
    print("goes on")
    sys.exit()
{SAVES}
"""
"""A job of `SAVES` that ends at once if it has saved before."""


def executor(folder: Path, jobs: int | None = None, **keys: Any) -> SlurmExecutor:
    return SlurmExecutor(SlurmConfig(**{"cpus": 1, **keys}), Resources(jobs, folder / "slurm"))


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """SLURM's commands on PATH, and answers that are asked for often."""
    folder = tmp_path / "bin"
    queue = slurm_commands.install(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm_queue, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(slurm_queue, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(slurm_queue, "STOPPING_LOOK_SECONDS", 0.2)
    yield queue
    for path in queue.glob("*.job"):
        slurm_commands.lose(queue, path.stem)


def calls(queue: Path, command: str) -> list[list[str]]:
    """The words of each call of a command."""
    path = queue / f"{command}.calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def options(queue: Path) -> dict[str, str]:
    """The lines `#SBATCH --KEY=VALUE` of the script."""
    lines = (queue / "script.sh").read_text().splitlines()
    words = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH --")]
    return {key: value for key, _, value in (word.partition("=") for word in words)}


# --- on this machine ---------------------------------------------------------------------------------------


def test_here_so_many_run_at_a_time_and_in_order(tmp_path: Path) -> None:
    check_that_one_begins_when_another_ends(executor(tmp_path, 2, cluster="local"), tmp_path, at_a_time=2)


def test_it_is_told_in_words_how_a_job_ended(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "good", TELLS),
        job(tmp_path, "bad", "raise SystemExit(3)"),
        job(tmp_path / "missing", "lost", ""),
    ]
    how = run_all(executor(tmp_path, cluster="local", cpus=2, setup=["export OMP_NUM_THREADS=7"]), jobs)
    lost = how["lost"]
    assert how == {"good": "", "bad": "exit code 3", "lost": lost}
    assert "missing/lost.log" in lost
    assert told(jobs[0]) == {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "", "folder": str(Path.cwd())}
    assert {path.parent.parent for path in tmp_path.rglob("*_result.pkl")} == {tmp_path / "slurm"}


def test_stopping_waits_until_all_have_saved_and_begins_none(tmp_path: Path) -> None:
    jobs = [saver(tmp_path, name) for name in "abc"]
    stopped = executor(tmp_path, 2, cluster="local")
    start_and_await(stopped, jobs, running=jobs[:2])
    for submitted in json.loads((tmp_path / "slurm/submitted.json").read_text()).values():
        os.kill(int(submitted["id"]), signal.SIGINT)  # Ctrl-C in the terminal is not for them
    stopped.stop()
    assert sorted(path.name for path in tmp_path.glob("*.saved")) == ["a.saved", "b.saved"]
    assert stopped.ended() == {"a": "exit code 143", "b": "exit code 143"}
    assert not jobs[2].log.exists()


def test_killing_ends_what_does_not_save(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a", STUBBORN)]
    killed = executor(tmp_path, 1, cluster="local")
    start_and_await(killed, jobs, running=jobs)
    pids = [int(word) for word in jobs[0].log.read_text().split()]
    killed.kill()
    assert killed.ended() == {"a": "killed by SIGKILL"}
    until(lambda: not any(map(is_alive, pids)))


# --- the script --------------------------------------------------------------------------------------------


def test_the_script_asks_for_what_the_options_say(tmp_path: Path, queue: Path) -> None:
    (queue / "room").write_text("0")
    asks = executor(
        tmp_path,
        2,
        partition="gpu",
        minutes=90,
        notice_seconds=100,
        memory_gb=1.5,
        cpus=6,
        gpus=2,
        account="lab",
        qos="low",
        constraint="a100|h100",
        setup=["module load cuda", "ulimit -n 4096"],
        additional={"nice": 50, "exclude": "node7"},
    )
    asks.start([job(tmp_path, name, "", wants_gpu=name == "b") for name in "abc"])
    wanted = options(queue)
    folder = Path(wanted.pop("output")).parent
    assert folder.parent == tmp_path / "slurm"
    assert wanted == {
        "account": "lab",
        "array": "0-2%2",
        "constraint": "'a100|h100'",
        "cpus-per-task": "6",
        "exclude": "node7",
        "gpus-per-node": "2",
        "job-name": "sslkit",
        "mem": "1536MB",
        "nice": "50",
        "nodes": "1",
        "open-mode": "append",
        "partition": "gpu",
        "qos": "low",
        "requeue": "",
        "signal": "USR2@100",
        "time": "90",
        "wckey": "submitit",
    }
    script = (queue / "script.sh").read_text()
    assert "\nmodule load cuda\nulimit -n 4096\n" in script
    assert re.search(r"^srun .* --cpus-per-task=6 ", script, re.MULTILINE)


def test_what_is_not_asked_for_is_left_to_the_cluster(tmp_path: Path, queue: Path) -> None:
    (queue / "room").write_text("0")
    executor(tmp_path).start([job(tmp_path, "a", "")])
    assert not {"array", "partition", "mem", "gpus-per-node", "account", "qos", "constraint"} & {
        *options(queue)
    }


def test_a_job_of_ours_does_not_colour_those_it_submits(
    tmp_path: Path, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (queue / "room").write_text("0")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1024")
    monkeypatch.setenv("SSLKIT_CACHE", "/cache")
    executor(tmp_path).start([job(tmp_path, "a", "")])
    environment = json.loads((queue / "environment.json").read_text())
    assert not [name for name in environment if name.startswith("SLURM_")]
    assert environment["SSLKIT_CACHE"] == "/cache"
    assert os.environ["SLURM_MEM_PER_NODE"] == "1024"


def test_what_sbatch_refuses_is_told(tmp_path: Path, queue: Path) -> None:
    (queue / "refuses").write_text("invalid partition specified: gpu")
    with pytest.raises(RunError, match="invalid partition specified: gpu"):
        executor(tmp_path, partition="gpu").start([job(tmp_path, "a", "")])


# --- a cluster ---------------------------------------------------------------------------------------------


def test_an_array_runs(tmp_path: Path, queue: Path) -> None:
    jobs = [job(tmp_path, "good", TELLS), job(tmp_path, "bad", "raise SystemExit(3)")]
    assert run_all(executor(tmp_path, cpus=3), jobs) == {"good": "", "bad": "exit code 3"}
    assert told(jobs[0])["OMP_NUM_THREADS"] == "3"
    assert len(calls(queue, "sbatch")) == 1


def test_a_cluster_stops_when_all_have_saved_and_takes_out_what_waits(tmp_path: Path, queue: Path) -> None:
    (queue / "room").write_text("1")
    jobs = [saver(tmp_path, name) for name in "ab"]
    stopped = executor(tmp_path)
    start_and_await(stopped, jobs, running=jobs[:1])
    stopped.stop()
    assert [path.name for path in tmp_path.glob("*.saved")] == ["a.saved"]
    assert stopped.ended() == {"a": "exit code 143"}
    assert calls(queue, "scancel") == [["--state=PENDING", "12_1"]]
    assert not jobs[1].log.exists()


def test_a_job_that_begins_while_all_stop_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "stop").write_text("save")
    assert SlurmTask(job(tmp_path, "a", ""), tmp_path, {}, tmp_path / "stop")() is None
    assert not (tmp_path / "a.log").exists()


def test_killing_cancels(tmp_path: Path, queue: Path) -> None:
    jobs = [job(tmp_path, "a", STUBBORN), job(tmp_path, "b", STUBBORN)]
    (queue / "room").write_text("1")
    killed = executor(tmp_path)
    start_and_await(killed, jobs, running=jobs[:1])
    pids = [int(word) for word in jobs[0].log.read_text().split()]
    killed.kill()
    assert killed.ended()["a"]
    assert calls(queue, "scancel")[-1] == ["12_0", "12_1"]
    until(lambda: not any(map(is_alive, pids)))


def test_before_a_preemption_a_job_saves_is_queued_again_and_goes_on(tmp_path: Path, queue: Path) -> None:
    jobs = [job(tmp_path, name, GOES_ON, tmp_path / f"{name}.saved", "3") for name in "ab"]
    preempted = executor(tmp_path)
    start_and_await(preempted, jobs, running=jobs)
    os.kill(int(slurm_commands.read(queue, "12_0")["task"]), signal.SIGUSR2)
    until(lambda: "a" in preempted.ended())
    assert preempted.ended() == {"a": ""}
    assert jobs[0].log.read_text().split("\n") == ["up", "goes on", ""]
    assert calls(queue, "scontrol") == [["requeue", "12_0"]]
    preempted.stop()


def test_a_job_that_reaches_the_time_limit_too_often_is_over(tmp_path: Path, queue: Path) -> None:
    limited = executor(tmp_path, minutes=10, requeues=0)  # submitit takes the last ten minutes for the limit
    jobs = [saver(tmp_path, "a")]
    start_and_await(limited, jobs, running=jobs)
    os.kill(int(slurm_commands.read(queue, "12")["task"]), signal.SIGUSR2)
    until(limited.ended)
    assert "timed-out too many times" in limited.ended()["a"]
    assert (tmp_path / "a.saved").exists()
    assert not calls(queue, "scontrol")


def test_what_is_to_stop_is_not_queued_again(tmp_path: Path) -> None:
    task = SlurmTask(job(tmp_path, "a", ""), tmp_path, {}, tmp_path / "stop")
    assert task.checkpoint().function == task
    (tmp_path / "stop").write_text("save")
    assert task.checkpoint() is None


def test_a_job_that_slurm_cancels_saves_and_stays_until_it_is_ended(tmp_path: Path, queue: Path) -> None:
    jobs = [saver(tmp_path, "a"), saver(tmp_path, "b")]
    cancelled = executor(tmp_path)
    (queue / "accounts").write_text("12_0|CANCELLED by 1000|n1")
    start_and_await(cancelled, jobs, running=jobs)
    slurm_commands.scancel(queue, ["12_0"])
    assert (tmp_path / "a.saved").exists()
    until(lambda: "a" in cancelled.ended())
    assert cancelled.ended()["a"].startswith("ended by SLURM: CANCELLED by 1000; see ")
    cancelled.stop()


def test_a_job_that_was_left_in_the_queue_is_taken_over(tmp_path: Path, queue: Path) -> None:
    (queue / "room").write_text("1")
    jobs = [saver(tmp_path, name) for name in "ab"]
    start_and_await(executor(tmp_path), jobs, running=jobs[:1])  # and this command is killed
    again = executor(tmp_path)
    again.start(jobs)
    assert len(calls(queue, "sbatch")) == 1
    again.stop()
    assert again.ended() == {"a": "exit code 143"}

    again = executor(tmp_path)
    (queue / "room").unlink()
    start_and_await(again, jobs, running=jobs)  # what was stopped is submitted anew
    assert len(calls(queue, "sbatch")) == 2
    again.stop()


# --- before anything is submitted --------------------------------------------------------------------------


def test_what_is_missing_is_told_before_anything_is_submitted(
    tmp_path: Path, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (queue.parent / "srun").unlink()
    monkeypatch.setenv("PATH", str(queue.parent))
    with pytest.raises(RunError, match=r"needs the command srun(.|\n)*cluster=local"):
        executor(tmp_path)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(RunError, match=r'pip install "sslkit\[slurm\]"'):
        executor(tmp_path)
    assert not calls(queue, "sbatch")


def test_a_task_can_be_pickled(tmp_path: Path) -> None:
    task = SlurmTask(job(tmp_path, "a", ""), tmp_path, {"A": "b"}, tmp_path / "stop")
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"minutes": 0}, "'minutes' is 0, but must be 1 or more"),
        ({"cpus": 0}, "'cpus' is 0, but must be 1 or more"),
        ({"gpus": -1}, "'gpus' is -1, but must be 0 or more"),
        ({"memory_gb": 0.0}, "'memory_gb' is 0.0, but must be more than 0"),
        ({"minutes": 2}, "'notice_seconds' is 120, but must be less than the time limit, 2 minutes"),
    ],
)
def test_impossible_keys_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SlurmConfig(**keys)
