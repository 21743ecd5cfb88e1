"""A job's command as a process of the machine it is on: begun, told to save, ended, and put into words."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sslkit.core import extras
from sslkit.core.executor import Job
from sslkit.errors import RunError

POLL_SECONDS = 0.1
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables that torch and numpy take their number of threads from."""
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Names the GPUs that a process may use; empty: none."""


class Child:
    """The process of a job, in a session of its own: Ctrl-C is the study's to pass on.

    Args:
        environment: variables, beside those of this process.
        folder: where it runs; None: here.

    Raises:
        OSError: it cannot be begun; `not_begun` has the words.
    """

    def __init__(self, job: Job, environment: Mapping[str, str], folder: Path | None = None) -> None:
        self._was_asked = False
        with job.log.open("ab") as log:
            self._process = subprocess.Popen(
                job.command,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def outcome(self) -> str | None:
        """How it ended: "" for exit code 0, else a few words; None while it runs."""
        code = self._process.poll()
        return None if code is None else told(code)

    def ask(self) -> None:
        """Have it save and end (SIGTERM); once, because a run that gets a second one does not save."""
        if not self._was_asked:
            self._was_asked = True
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, and the processes that it has started."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def await_end(self) -> None:
        """Wait, also inside a signal's handler, where `outcome` would wait for the one it has interrupted."""
        with suppress(ChildProcessError):  # waited for already
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)


def attend(child: Child, asked: Callable[[], bool]) -> str:
    """Wait for a process, and have it save once `asked` says so; returns how it ended."""
    while (how := child.outcome()) is None:
        if asked():
            child.ask()
        time.sleep(POLL_SECONDS)
    return how


def told(code: int) -> str:
    """How a process ended, in words; empty for success."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return "" if code == 0 else f"exit code {code}"


def not_begun(error: OSError) -> str:
    """Why a process could not be begun, in words."""
    return f"not begun on {socket.gethostname()}: {error.strerror}: {error.filename}"


def thread_variables(threads: int) -> dict[str, str]:
    """The environment that gives a process so many threads."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


@contextmanager
def heard(number: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Notice a signal instead of being ended by it; gives a function that says whether it came."""
    came: list[int] = []
    before = signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(number, before)


@contextmanager
def withheld(*numbers: signal.Signals) -> Iterator[None]:
    """Begin processes that do not hear these signals; this one does, at the latest afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def required(package: str, executor: str) -> Any:
    """The package behind an executor, or what to install."""
    advice = f'pip install "sslkit[{executor}]", or leave --executor out to run on this machine'
    return extras.required(package, f"the executor '{executor}'", advice, RunError)
