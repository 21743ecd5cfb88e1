"""Small commands as jobs of an executor, and waiting for what they do."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sslkit.core.executor import Executor, Job

TELLS = """
import json, os
names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
print(json.dumps({**{name: os.environ.get(name) for name in names}, "folder": os.getcwd()}))
"""
"""Prints what it has been given."""
WAITS = """
import sys, time
from pathlib import Path
while not Path(sys.argv[1]).exists():
    time.sleep(0.02)
"""
"""Ends when a file is there."""
SAVES = """
import signal, sys, time
from pathlib import Path

def save(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one would end it, as a run of sslkit
    time.sleep(float(sys.argv[2]))
    Path(sys.argv[1]).write_text("saved")
    sys.exit(143)

signal.signal(signal.SIGTERM, save)
print("up", flush=True)
time.sleep(300)
"""
"""Runs for minutes; at SIGTERM takes so many seconds to write the file that it is given."""
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(300)
"""
"""Does not heed SIGTERM, and has a process of its own; prints both ids."""


def job(folder: Path, name: str, code: str, *words: str | Path, wants_gpu: bool = False) -> Job:
    """A job of Python code that gets these words; its log is `<folder>/<name>.log`."""
    command = (sys.executable, "-c", code, *map(str, words))
    return Job(name, command, folder / f"{name}.log", wants_gpu)


def saver(folder: Path, name: str) -> Job:
    """A job that writes `<folder>/<name>.saved` when it is to end."""
    return job(folder, name, SAVES, folder / f"{name}.saved", "0.7")


def waiter(folder: Path, name: str, *, wants_gpu: bool = False) -> Job:
    """A job that ends once `<folder>/<name>.go` is there."""
    return job(folder, name, WAITS, folder / f"{name}.go", wants_gpu=wants_gpu)


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def run_all(executor: Executor, jobs: Sequence[Job]) -> Mapping[str, str]:
    """Run jobs to their end; returns how each ended."""
    executor.start(jobs)
    until(lambda: len(executor.ended()) == len(jobs))
    return executor.ended()


def start_and_await(executor: Executor, jobs: Sequence[Job], running: Sequence[Job]) -> None:
    """Start jobs, and wait until some of them have printed something."""
    executor.start(jobs)

    def are_up() -> bool:
        executor.ended()
        return all(each.log.exists() and each.log.read_text() for each in running)

    until(are_up)


def told(each: Job) -> Any:
    """What a job of `TELLS` printed."""
    return json.loads(each.log.read_text())


def begun(jobs: Sequence[Job]) -> list[str]:
    """The names of the jobs that have begun: each has a log from then on."""
    return [each.name for each in jobs if each.log.exists()]


def check_that_one_begins_when_another_ends(executor: Executor, folder: Path, at_a_time: int) -> None:
    """Start more jobs than may run at a time, and let them end one by one."""
    jobs = [waiter(folder, name) for name in "abcd"]
    executor.start(jobs)
    for ended in range(len(jobs) + 1):
        expected = [each.name for each in jobs[: ended + at_a_time]]
        until(lambda number=ended: len(executor.ended()) == number)  # type: ignore[misc]
        until(lambda names=expected: begun(jobs) == names)  # type: ignore[misc]
        time.sleep(0.3)
        executor.ended()
        assert begun(jobs) == expected
        if ended < len(jobs):
            (folder / f"{jobs[ended].name}.go").touch()
    assert executor.ended() == dict.fromkeys("abcd", "")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
