"""Tasks of a Ray cluster with two CPUs and two GPUs that are only names: the same as on this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from sslkit.errors import RecipeError, RunError
from sslkit.executors.ray import STARTS, RayConfig, RayExecutor

needs_a_cluster = pytest.mark.slow
QUIET: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": 40}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster that is there before any executor; gives its address."""
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        for tried in range(1, STARTS + 1):
            try:
                ray.init("local", num_cpus=2, num_gpus=2, **QUIET)
                break
            except Exception:
                if tried == STARTS:
                    raise
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
    signal.signal(signal.SIGTERM, handler)


def executor(jobs: int | None = None, **keys: float) -> RayExecutor:
    return RayExecutor(RayConfig(**keys), Resources(jobs))  # type: ignore[arg-type]


@needs_a_cluster
@pytest.mark.usefixtures("cluster")
def test_so_many_run_at_a_time_and_in_order(tmp_path: Path) -> None:
    check_that_one_begins_when_another_ends(executor(1), tmp_path, at_a_time=1)


@needs_a_cluster
@pytest.mark.usefixtures("cluster")
def test_without_a_number_as_many_run_as_the_cluster_has_room_for(tmp_path: Path) -> None:
    check_that_one_begins_when_another_ends(executor(), tmp_path, at_a_time=2)


@needs_a_cluster
@pytest.mark.usefixtures("cluster")
def test_it_is_told_in_words_how_a_job_ended(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, "good", ""),
        job(tmp_path, "bad", "raise SystemExit(3)"),
        job(tmp_path, "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        job(tmp_path / "missing", "lost", ""),
    ]
    how = run_all(executor(), jobs)
    lost = how["lost"]
    assert how == {"good": "", "bad": "exit code 3", "killed": "killed by SIGKILL", "lost": lost}
    assert "missing/lost.log" in lost


@needs_a_cluster
@pytest.mark.usefixtures("cluster")
def test_a_job_gets_threads_a_gpu_if_it_wants_one_and_our_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = TELLS.replace("print", "import time; time.sleep(0.5); print")
    jobs = [job(tmp_path, name, code, wants_gpu=name != "c") for name in "abc"]
    run_all(executor(cpus=0.5), jobs)
    assert {told(each)["CUDA_VISIBLE_DEVICES"] for each in jobs[:2]} == {"3", "5"}
    assert told(jobs[2])["CUDA_VISIBLE_DEVICES"] == ""
    assert {(told(each)["OMP_NUM_THREADS"], told(each)["folder"]) for each in jobs} == {("1", str(tmp_path))}


@needs_a_cluster
@pytest.mark.usefixtures("cluster")
def test_two_runs_can_share_a_gpu_or_do_without(tmp_path: Path) -> None:
    jobs = [job(tmp_path, name, TELLS, wants_gpu=True) for name in "ab"]
    run_all(executor(gpus=0), jobs)
    assert {told(each)["CUDA_VISIBLE_DEVICES"] for each in jobs} == {""}


@needs_a_cluster
@pytest.mark.usefixtures("cluster")
def test_stopping_waits_until_all_have_saved_and_begins_none(tmp_path: Path) -> None:
    jobs = [saver(tmp_path, name) for name in "abcd"]
    stopped = executor()
    start_and_await(stopped, jobs, running=jobs[:2])
    stopped.stop()
    assert sorted(path.name for path in tmp_path.glob("*.saved")) == ["a.saved", "b.saved"]
    assert stopped.ended() == {"a": "exit code 143", "b": "exit code 143"}
    assert not jobs[2].log.exists()
    assert run_all(executor(), [job(tmp_path, "e", "")]) == {"e": ""}  # the cluster is not ours to end


@needs_a_cluster
@pytest.mark.usefixtures("cluster")
def test_killing_ends_what_does_not_save(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a", STUBBORN)]
    killed = executor()
    start_and_await(killed, jobs, running=jobs)
    pid, child = map(int, jobs[0].log.read_text().split())
    killed.kill()
    assert killed.ended() == {"a": "killed"}
    until(lambda: not is_alive(pid))
    os.kill(child, signal.SIGKILL)  # Ray ends the processes that a task has begun, but not theirs


@needs_a_cluster
@pytest.mark.usefixtures("cluster")
def test_a_job_goes_on_when_its_worker_is_lost(tmp_path: Path) -> None:
    code = """
import os, sys, time
from pathlib import Path
parent, mark = os.getppid(), Path(sys.argv[1])
print(parent, flush=True)
if mark.exists():
    sys.exit()
mark.touch()
while os.getppid() == parent:
    time.sleep(0.05)
"""
    lost = job(tmp_path, "a", code, tmp_path / "mark")
    survives = executor()
    start_and_await(survives, [lost], running=[lost])
    until((tmp_path / "mark").exists)
    os.kill(int(lost.log.read_text()), signal.SIGKILL)
    until(survives.ended)
    assert survives.ended() == {"a": ""}
    assert len(lost.log.read_text().split()) == 2


@needs_a_cluster
@pytest.mark.usefixtures("cluster")
def test_what_no_node_has_is_told(tmp_path: Path) -> None:
    waits = executor(cpus=64)
    with pytest.warns(RuntimeWarning, match="no node of the Ray cluster has 64 CPUs"):
        waits.start([job(tmp_path, "a", "")])
    waits.stop()
    assert waits.ended() == {}


OURS = """
import signal, sys
from pathlib import Path
from executor_jobs import job, run_all
from sslkit.core.executor import Resources
from sslkit.executors.ray import RayConfig, RayExecutor

if __name__ == "__main__":
    before = signal.getsignal(signal.SIGTERM)
    executor = RayExecutor(RayConfig(sys.argv[1]), Resources())
    import ray
    jobs = [job(Path(sys.argv[2]), "a", "import os; print(os.nice(0))")]
    how = run_all(executor, jobs)
    print(signal.getsignal(signal.SIGTERM) == before, dict(how), jobs[0].log.read_text().strip())
    print(int(ray.cluster_resources().get("GPU", 0)), ray.is_initialized())
    executor.stop()
    print(ray.is_initialized())
"""


def in_a_process_of_its_own(address: str, folder: Path, **environment: str) -> list[str]:
    """What `OURS` prints with a cluster."""
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OURS, address, str(folder)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # Ray keeps quiet
    return done.stdout.splitlines()


@needs_a_cluster
def test_a_cluster_of_its_own_is_started_and_ended(tmp_path: Path) -> None:
    nice = os.nice(0)
    assert in_a_process_of_its_own("local", tmp_path) == [f"True {{'a': ''}} {nice}", "0 True", "False"]


@needs_a_cluster
def test_the_cluster_of_the_environment_is_joined_and_left(cluster: str, tmp_path: Path) -> None:
    lines = in_a_process_of_its_own("auto", tmp_path, RAY_ADDRESS=cluster)
    assert lines[0].startswith("True {'a': ''}")
    assert lines[1:] == ["2 True", "False"]
    assert run_all(executor(), [job(tmp_path, "b", "")]) == {"b": ""}  # it goes on


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cpus": 0.0}, "'cpus' is 0.0, but must be more than 0"),
        ({"gpus": -1.0}, "'gpus' is -1.0, but must be 0 or more"),
        ({"retries": -1}, "'retries' is -1, but must be 0 or more"),
    ],
)
def test_impossible_keys_are_refused(keys: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        RayConfig(**keys)  # type: ignore[arg-type]


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r'pip install "sslkit\[ray\]"'):
        executor()
