"""Runs jobs as processes of this machine, so many at a time, with threads and GPUs divided between them."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from sslkit.core.executor import Executor, Job, Resources
from sslkit.errors import RecipeError
from sslkit.executors.process import GPU_VARIABLE, POLL_SECONDS, Child, not_begun, thread_variables
from sslkit.hookspecs import hookimpl

_NAMES_A_GPU = re.compile(r"\d+|GPU-|MIG-").match


@dataclass
class LocalConfig:
    """How this machine is divided."""

    threads: int | None = None
    """Threads of each run, >= 1; null: the cores divided by the runs at a time. `runtime.threads` of a recipe
    wins."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise RecipeError(f"'threads' is {self.threads}, but must be 1 or more")


@dataclass(frozen=True)
class _Running:
    child: Child
    gpu: str | None


class LocalExecutor(Executor):
    """Processes of this machine: n at a time, threads divided between them, GPUs given in turn.

    Without `--jobs` as many at a time as there are GPUs, or without GPUs as there are cores. Runs that want a
    GPU share where there are more of them than GPUs.
    """

    Config = LocalConfig

    def __init__(self, config: LocalConfig, resources: Resources) -> None:
        self._gpus = visible_gpus()
        self._jobs, self._threads = shares(config, resources.jobs)
        self._waiting: list[Job] = []
        self._running: dict[str, _Running] = {}
        self._ended: dict[str, str] = {}

    def start(self, jobs: Sequence[Job]) -> None:
        self._waiting += jobs
        self._begin()

    def ended(self) -> Mapping[str, str]:
        for name, running in list(self._running.items()):
            how = running.child.outcome()
            if how is not None:
                del self._running[name]
                self._ended[name] = how
        self._begin()
        return self._ended

    def stop(self) -> None:
        self._waiting.clear()
        for running in self._running.values():
            running.child.ask()
        self._wait()

    def kill(self) -> None:
        self._waiting.clear()
        for running in self._running.values():
            running.child.kill()
        self._wait()

    def _wait(self) -> None:
        while self._running:
            time.sleep(POLL_SECONDS)
            self.ended()

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._jobs:
            job = self._waiting.pop(0)
            gpu = self._free_gpu() if job.wants_gpu else None
            environment = {**thread_variables(self._threads), **({GPU_VARIABLE: gpu} if gpu else {})}
            try:
                self._running[job.name] = _Running(Child(job, environment), gpu)
            except OSError as error:
                self._ended[job.name] = not_begun(error)

    def _free_gpu(self) -> str | None:
        """The GPU that the fewest runs are on."""
        taken = [running.gpu for running in self._running.values()]
        return min(self._gpus, key=taken.count, default=None)


def shares(config: LocalConfig, jobs: int | None) -> tuple[int, int]:
    """Runs at a time, one a GPU or without GPUs one a core where nobody says how many; and threads of each.

    Whatever is still due: a study that goes on would otherwise sum in another order than before.
    """
    at_a_time = jobs or len(visible_gpus()) or usable_cores()
    return at_a_time, config.threads or max(1, usable_cores() // at_a_time)


def usable_cores() -> int:
    """The cores that this process may use: what affinity and control groups leave it."""
    from joblib import cpu_count

    return int(cpu_count())


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    asked = os.environ.get(GPU_VARIABLE)
    if asked is not None:  # CUDA, too, reads it as far as the first word that names none, such as -1
        return list(takewhile(_NAMES_A_GPU, (word.strip() for word in asked.split(","))))
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


@hookimpl
def sslkit_executors() -> dict[str, type[Executor]]:
    return {"local": LocalExecutor}
