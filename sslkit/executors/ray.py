"""Runs jobs as tasks of a Ray cluster: one that is there, or one that is started on this machine.

A node runs the same command in the same folder as this machine would: the study's folder, the data and the
Python environment have to be at the same paths on all nodes, as on a shared file system.
"""

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sslkit.core.executor import Executor, Job, Resources
from sslkit.errors import RecipeError, RunError, indented
from sslkit.executors.process import (
    GPU_VARIABLE,
    POLL_SECONDS,
    Child,
    attend,
    heard,
    not_begun,
    required,
    thread_variables,
)
from sslkit.hookspecs import hookimpl

STARTS = 3
"""How often it is tried to start a cluster: Ray gives up after 30 s, and a busy machine may need longer."""

STARTED_WITH = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Environment of a cluster that is started: no statistics of use, and no lower priority (Ray's: 15)."""


@dataclass
class RayConfig:
    """Which cluster, and what of it each run gets."""

    address: str | None = None
    """HOST:PORT of a cluster; auto: the one that RAY_ADDRESS names or that runs on this machine; null: the
    same, or else one that is started on this machine and ended afterwards; local: always that."""
    cpus: float = 1.0
    """CPUs of each run, > 0; their whole number, at least one, is its threads too. `runtime.threads` of a
    recipe wins."""
    gpus: float | None = None
    """GPUs of each run that wants one, >= 0; null: one where the cluster has any when the study starts, else
    none. A part, such as 0.5, lets runs share one."""
    retries: int = 3
    """How often a run goes on elsewhere after its node or Ray's process was lost, >= 0."""

    @classmethod
    def for_checks(cls) -> Self:
        """On a cluster of its own, on this machine."""
        return cls(address="local")

    def __post_init__(self) -> None:
        if self.cpus <= 0:
            raise RecipeError(f"'cpus' is {self.cpus}, but must be more than 0")
        if self.gpus is not None and self.gpus < 0:
            raise RecipeError(f"'gpus' is {self.gpus}, but must be 0 or more")
        if self.retries < 0:
            raise RecipeError(f"'retries' is {self.retries}, but must be 0 or more")


@dataclass(frozen=True)
class RayTask:
    """A job as a node gets it."""

    job: Job
    folder: Path
    """Where its command runs."""
    environment: dict[str, str]


def run_task(task: RayTask) -> str:
    """Run a job's command on the node that Ray chose, until it ends; `ray.cancel` has it save and end."""
    with heard(signal.SIGINT) as cancelled:  # what ray.cancel does to a running task
        try:
            child = Child(task.job, task.environment, task.folder)
        except OSError as error:
            return not_begun(error)
        return attend(child, cancelled)


class RayExecutor(Executor):
    """Tasks of a Ray cluster: as many at a time as it has CPUs and GPUs for, or `--jobs`."""

    Config = RayConfig

    def __init__(self, config: RayConfig, resources: Resources) -> None:
        self._ray = required("ray", "ray")
        self._config, self._jobs = config, resources.jobs
        self._is_ours = _connect(self._ray, config.address)
        self._waiting: list[Job] = []
        self._running: dict[str, Any] = {}
        self._ended: dict[str, str] = {}

    def start(self, jobs: Sequence[Job]) -> None:
        self._waiting += jobs
        self._check_fit()
        self._begin()

    def ended(self) -> Mapping[str, str]:
        for name in self._over():
            how = self._outcome(self._running.pop(name))
            if how is not None:
                self._ended[name] = how
        self._begin()
        return self._ended

    def stop(self) -> None:
        self._cancel(force=False)
        self._disconnect()

    def kill(self) -> None:
        unsaved = list(self._running)
        self._cancel(force=True)
        self._ended.update((name, "killed") for name in unsaved if self._ended.get(name) != "")
        self._disconnect()

    def _cancel(self, *, force: bool) -> None:
        self._waiting.clear()
        for reference in self._running.values():
            self._ray.cancel(reference, force=force)
        while self._running:
            time.sleep(POLL_SECONDS)
            self.ended()

    def _disconnect(self) -> None:
        """Leave the cluster, or end the one that was started; only what this executor itself began."""
        if self._is_ours:
            self._is_ours = False
            self._ray.shutdown()

    def _over(self) -> list[str]:
        if not self._running:
            return []
        references = list(self._running.values())
        ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)
        return [name for name, reference in self._running.items() if reference in ready]

    def _outcome(self, reference: Any) -> str | None:
        """How a job ended; None where it was cancelled before it began."""
        exceptions = self._ray.exceptions
        try:
            return str(self._ray.get(reference))
        except exceptions.TaskCancelledError:
            return None
        except exceptions.RayError as error:
            return f"lost by Ray: {type(error).__name__}"

    def _begin(self) -> None:
        """Give Ray what fits, so that runs begin in order, and one more, so that a cluster grows that can."""
        while self._waiting:
            job = self._waiting[0]
            if len(self._running) >= (self._jobs or self._room(job) + 1):
                return
            self._running[job.name] = self._submit(job)
            del self._waiting[0]

    def _submit(self, job: Job) -> Any:
        gpus = self._gpus(job)
        threads = thread_variables(max(1, int(self._config.cpus)))
        environment = {**_settings(), **threads, **({} if gpus else {GPU_VARIABLE: ""})}
        remote = self._ray.remote(
            num_cpus=self._config.cpus, num_gpus=gpus, max_retries=self._config.retries, name=job.name
        )
        return remote(run_task).remote(RayTask(job, Path.cwd(), environment))

    def _gpus(self, job: Job) -> float:
        if not job.wants_gpu:
            return 0.0
        if self._config.gpus is not None:
            return self._config.gpus
        return 1.0 if self._ray.cluster_resources().get("GPU") else 0.0

    def _room(self, job: Job) -> int:
        """How many such jobs the cluster can run at a time."""
        wanted = {"CPU": self._config.cpus, "GPU": self._gpus(job)}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return sum(
            min(int(node.get(kind, 0) // amount) for kind, amount in wanted.items() if amount)
            for node in nodes
        )

    def _check_fit(self) -> None:
        kinds = {job.wants_gpu: job for job in self._waiting}
        if not all(self._room(job) for job in kinds.values()):
            warnings.warn(
                f"no node of the Ray cluster has {self._config.cpus:g} CPUs and the GPUs that a run gets:"
                " runs wait until one has; to ask for less: --option cpus=N, --option gpus=N",
                RuntimeWarning,
                stacklevel=3,
            )


def _settings() -> dict[str, str]:
    """Variables of this process that the runs on other nodes need too."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("SSLKIT_") or name == "PYTHONPATH"
    }


def _connect(ray: Any, address: str | None) -> bool:
    """Join a cluster, or start one; whether this call did it, and not somebody before.

    Raises:
        RunError: there is no such cluster, or none can be started.
    """
    if ray.is_initialized():
        return False
    for tried in range(1, STARTS + 1):
        try:
            with _undisturbed():
                ray.init(
                    address=address,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            return True
        except ConnectionError as error:
            place = address or os.environ.get("RAY_ADDRESS")
            raise RunError(
                f"the executor 'ray' finds no cluster at '{place}': {error}"
                + indented("start one with `ray start --head`, or take --option address=local")
            ) from error
        except Exception as error:  # Ray raises nothing more exact when a node does not come up in time
            if tried == STARTS or "timed out" not in str(error):
                raise RunError(f"the executor 'ray' cannot start: {error}") from error
    raise AssertionError("unreachable")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ray start, and hear SIGTERM again, which it takes for itself."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    added = {name: value for name, value in STARTED_WITH.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@hookimpl
def sslkit_executors() -> dict[str, type[Executor]]:
    return {"ray": RayExecutor}
