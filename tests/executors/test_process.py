"""A job as a process: how it ends, what it hears, and that nothing is imported before it is needed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from executor_jobs import SAVES, job, saver, until

from sslkit.core.executor import Resources
from sslkit.errors import RecipeError, RunError
from sslkit.executors.process import Child, attend, heard, not_begun, required, withheld


def test_a_second_request_does_not_reach_a_job_that_saves(tmp_path: Path) -> None:
    child = Child(saver(tmp_path, "a"), {})
    until(lambda: (tmp_path / "a.log").read_text())
    child.ask()
    time.sleep(0.2)
    child.ask()
    assert attend(child, lambda: False) == "exit code 143"
    assert (tmp_path / "a.saved").read_text() == "saved"


def test_waiting_in_a_handler_ends_when_the_process_does(tmp_path: Path) -> None:
    child = Child(job(tmp_path, "a", "import time; time.sleep(0.3)"), {})
    child.await_end()
    assert child.outcome() == ""
    child.await_end()  # nobody to wait for any more


def test_a_log_is_added_to(tmp_path: Path) -> None:
    for word in ("one", "two"):
        assert attend(Child(job(tmp_path, "a", f"print('{word}')"), {}), lambda: False) == ""
    assert (tmp_path / "a.log").read_text().split() == ["one", "two"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Child(job(tmp_path / "no-such-folder", "a", ""), {})
    assert not_begun(caught.value).endswith(f"No such file or directory: {tmp_path}/no-such-folder/a.log")


def test_a_signal_is_noticed_and_then_is_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with heard(signal.SIGTERM) as came:
        assert not came()
        os.kill(os.getpid(), signal.SIGTERM)
        until(came)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_can_be_kept_from_a_process(tmp_path: Path) -> None:
    with heard(signal.SIGUSR2) as came:
        with withheld(signal.SIGUSR2):
            child = Child(job(tmp_path, "a", SAVES, tmp_path / "saved", "0"), {})
            os.kill(os.getpid(), signal.SIGUSR2)
        until(came)
    until(lambda: (tmp_path / "a.log").read_text())
    os.kill(child._process.pid, signal.SIGUSR2)  # would end it
    time.sleep(0.2)
    assert child.outcome() is None
    child.ask()
    assert attend(child, lambda: False) == "exit code 143"


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(RunError, match=r'pip install "sslkit\[slurm\]"'):
        required("submitit", "slurm")


def test_executors_are_found_without_importing_what_they_need() -> None:
    code = (
        "import sys; from sslkit.plugins import Registry; names = Registry.load(allow='').names('executors');"
        "print(*names); print(*{'ray', 'submitit'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["local ray slurm", ""]


def test_no_jobs_at_a_time_are_refused() -> None:
    with pytest.raises(RecipeError, match="'jobs' is 0, but must be 1 or more"):
        Resources(0)
