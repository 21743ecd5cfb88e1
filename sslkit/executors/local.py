"""Runs jobs as processes of this machine, so many at a time, with threads and GPUs divided between them."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sslkit.core.executor import Executor, Job, Resources
from sslkit.errors import RecipeError
from sslkit.hookspecs import hookimpl

POLL_SECONDS = 0.1
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables that torch and numpy take their number of threads from."""


@dataclass
class LocalConfig:
    """How this machine is divided."""

    threads: int | None = None
    """Threads of each run, >= 1; null: the cores divided by the runs at a time. `runtime.threads` of a recipe
    wins."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise RecipeError(f"'threads' is {self.threads}, but must be 1 or more")


class LocalExecutor(Executor):
    """Processes of this machine: n at a time, threads divided between them, GPUs assigned in turn."""

    Config = LocalConfig

    def __init__(self, config: LocalConfig, resources: Resources) -> None:
        self._gpus = visible_gpus()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._jobs = resources.jobs or max(len(self._gpus), 1 if self._gpus else cores)
        self._threads = config.threads or max(1, cores // self._jobs)
        self._waiting: list[Job] = []
        self._running: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}
        self._ended: dict[str, str] = {}

    def start(self, jobs: Sequence[Job]) -> None:
        self._waiting += jobs
        self._begin()

    def ended(self) -> Mapping[str, str]:
        for name, (_, process) in list(self._running.items()):
            code = process.poll()
            if code is not None:
                del self._running[name]
                self._ended[name] = told(code)
        self._begin()
        return self._ended

    def stop(self) -> None:
        self._waiting.clear()
        self._signal(signal.SIGTERM)
        while self._running:
            self.ended()
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        self._waiting.clear()
        self._signal(signal.SIGKILL)
        self.stop()

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._jobs:
            job, taken = self._waiting.pop(0), {slot for slot, _ in self._running.values()}
            slot = next(i for i in range(self._jobs) if i not in taken)
            self._running[job.name] = slot, self._process(job, slot)

    def _process(self, job: Job, slot: int) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(self._threads))}
        if self._gpus and job.wants_gpu:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        with job.log.open("ab") as log:
            return subprocess.Popen(
                job.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the study's to pass on
            )

    def _signal(self, number: signal.Signals) -> None:
        for _, process in self._running.values():
            process.send_signal(number)


def told(code: int) -> str:
    """How a process ended, in words; empty for success."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return "" if code == 0 else f"exit code {code}"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [word.strip() for word in asked.split(",") if word.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


@hookimpl
def sslkit_executors() -> dict[str, type[Executor]]:
    return {"local": LocalExecutor}
