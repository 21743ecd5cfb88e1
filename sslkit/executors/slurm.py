"""Runs jobs as one array job of a SLURM cluster, by submitit.

A job looks for the file `stop` in its submission's folder: it then saves and ends, with all the time this
takes, which `scancel` would not leave it; one that begins meanwhile ends at once. The study's folder has to
be on a file system that all nodes see, and Python at the same path.
"""

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from sslkit.core.executor import Executor, Job, Resources
from sslkit.errors import RecipeError, RunError, indented
from sslkit.executors.local import usable_cores
from sslkit.executors.process import POLL_SECONDS, required, thread_variables, withheld
from sslkit.executors.slurm_queue import Place, SlurmQueue, Submitted, ThisMachine, check_commands
from sslkit.executors.slurm_task import END, SAVE, SlurmTask
from sslkit.hookspecs import hookimpl

KILL_SECONDS = 60.0
"""How long `kill` waits for SLURM, which takes its KillWait: 30 s unless the cluster has another."""


@dataclass
class SlurmConfig:
    """What each run asks of SLURM. Keys that are null are left to the cluster."""

    cluster: Literal["slurm", "local"] = "slurm"
    """slurm, or local: processes of this machine by submitit, to try things out."""
    partition: str | None = None
    """Partition."""
    minutes: int = 240
    """Time limit of a job, >= 1; a run that takes longer saves, is queued again and goes on."""
    notice_seconds: int = 120
    """How long before the time limit it is told to save, >= 1."""
    requeues: int = 100
    """How often one run may reach the time limit, >= 0."""
    memory_gb: float | None = None
    """Memory of each run, GB, > 0."""
    cpus: int = 4
    """CPUs of each run, >= 1, and its threads. `runtime.threads` of a recipe wins."""
    gpus: int = 1
    """GPUs of each run, >= 0; asked for where any run of the study wants one."""
    account: str | None = None
    """Account that is charged."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that a node must have."""
    setup: list[str] = field(default_factory=list)
    """Lines of shell before a run, such as `module load cuda`."""
    additional: dict[str, Any] = field(default_factory=dict)
    """Any other option of sbatch, by its long name."""

    @classmethod
    def for_checks(cls) -> Self:
        """Without a cluster."""
        return cls(cluster="local", cpus=1)

    def __post_init__(self) -> None:
        for name, least in {"minutes": 1, "notice_seconds": 1, "requeues": 0, "cpus": 1, "gpus": 0}.items():
            if getattr(self, name) < least:
                raise RecipeError(f"'{name}' is {getattr(self, name)}, but must be {least} or more")
        if self.memory_gb is not None and self.memory_gb <= 0:
            raise RecipeError(f"'memory_gb' is {self.memory_gb}, but must be more than 0")
        if self.notice_seconds >= 60 * self.minutes:
            raise RecipeError(
                f"'notice_seconds' is {self.notice_seconds}, but must be less than the time limit,"
                f" {self.minutes} minutes"
            )


class SlurmExecutor(Executor):
    """One array job, `--jobs` of it at a time.

    Jobs that an earlier command has left in the queue, because it was killed, are taken over.
    """

    Config = SlurmConfig

    def __init__(self, config: SlurmConfig, resources: Resources) -> None:
        self._submitit = required("submitit", "slurm")
        self._config, self._jobs, self._folder = config, resources.jobs, resources.folder.resolve()
        self._slurm: SlurmQueue | None = None
        if config.cluster == "slurm":
            check_commands()
            self._slurm = SlurmQueue()
        fitting = max(1, usable_cores() // config.cpus)
        self._place: Place = self._slurm or ThisMachine(resources.jobs or fitting)
        self._waiting: list[Job] = []
        self._running: dict[str, Submitted] = {}
        self._ended: dict[str, str] = {}

    def start(self, jobs: Sequence[Job]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._submission = Path(tempfile.mkdtemp(prefix="submission-", dir=self._folder))
        self._running |= self._left_in_the_queue(jobs)
        self._waiting += [job for job in jobs if job.name not in self._running]
        self._submit()

    def ended(self) -> Mapping[str, str]:
        for name, job in list(self._running.items()):
            if self._place.is_over(job):
                self._note(name, job.result() if job.has_result() else self._place.lost(job))
        self._submit()
        return self._ended

    def _note(self, name: str, how: str | None) -> None:
        """A job is over; one that has not begun, because all were to stop, has not ended."""
        del self._running[name]
        if how is not None:
            self._ended[name] = how

    def stop(self) -> None:
        self._tell(SAVE)
        while self._running:
            for name in self._place.take_out(self._running):
                self._note(name, None)
            time.sleep(POLL_SECONDS)
            self.ended()

    def kill(self) -> None:
        self._tell(END)
        self._place.end(self._running)
        end = time.monotonic() + KILL_SECONDS
        while self._running and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            self.ended()

    def _tell(self, word: str) -> None:
        self._waiting.clear()
        for stop in {job.stop for job in self._running.values()}:
            stop.write_text(word)

    # --- submitting ----------------------------------------------------------------------------------------

    def _submit(self) -> None:
        room = len(self._waiting) if self._place.room is None else self._place.room - len(self._running)
        jobs, self._waiting = self._waiting[: max(0, room)], self._waiting[max(0, room) :]
        if jobs:
            handles = self._submit_array(jobs)
            new = [Submitted(handle.job_id, self._submission, handle) for handle in handles]
            self._running.update(zip((job.name for job in jobs), new, strict=True))
            self._record()

    def _submit_array(self, jobs: Sequence[Job]) -> list[Any]:
        environment, stop = thread_variables(self._config.cpus), self._submission / "stop"
        tasks = [SlurmTask(job, Path.cwd(), environment, stop) for job in jobs]
        executor = self._by(wants_gpu=any(job.wants_gpu for job in jobs))
        try:
            with self._apart():
                return list(executor.submit_array(tasks))
        except RuntimeError as error:  # submitit's, with what sbatch said
            raise RunError(
                f"SLURM did not take the jobs: {error}"
                + indented("to ask for something else: --option KEY=VALUE, such as partition, minutes, gpus")
            ) from error

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Submit what neither a job that we are in ourselves nor Ctrl-C in the terminal reaches."""
        with ExitStack() as stack:
            if "SLURM_JOB_ID" in os.environ:
                stack.enter_context(self._submitit.helpers.clean_env())
            if self._slurm is None:
                stack.enter_context(withheld(signal.SIGINT))
            yield

    def _by(self, *, wants_gpu: bool) -> Any:
        config = self._config
        limits = {f"{config.cluster}_max_num_timeout": config.requeues}
        executor = self._submitit.AutoExecutor(self._submission, cluster=config.cluster, **limits)
        executor.update_parameters(
            name="sslkit",
            timeout_min=config.minutes,
            mem_gb=config.memory_gb,
            cpus_per_task=config.cpus,
            gpus_per_node=config.gpus if wants_gpu and config.gpus else None,
            stderr_to_stdout=True,
            slurm_partition=config.partition,
            slurm_account=config.account,
            slurm_qos=config.qos,
            slurm_constraint=config.constraint,
            slurm_setup=config.setup or None,
            local_setup=config.setup or None,
            slurm_signal_delay_s=config.notice_seconds,
            slurm_array_parallelism=self._jobs,
            # Since SLURM 22.05 srun does not take it over from sbatch.
            slurm_srun_args=[f"--cpus-per-task={config.cpus}"],
            slurm_additional_parameters={"requeue": True, **config.additional},
        )
        return executor

    # --- across commands -----------------------------------------------------------------------------------

    @property
    def _known(self) -> Path:
        return self._folder / "submitted.json"

    def _record(self) -> None:
        told = {name: {"id": job.id, "folder": str(job.folder)} for name, job in self._running.items()}
        aside = self._known.with_suffix(".tmp")
        aside.write_text(json.dumps(told, indent=1) + "\n")
        aside.replace(self._known)

    def _left_in_the_queue(self, jobs: Sequence[Job]) -> dict[str, Submitted]:
        """Jobs that were submitted by a command that is no more, and that are still to be begun or to end."""
        states = (self._slurm and self._slurm.states()) or {}
        if not states or not self._known.is_file():
            return {}
        known = json.loads(self._known.read_text())
        found = {job.name: known[job.name] for job in jobs if job.name in known}
        left = {
            name: Submitted(it["id"], Path(it["folder"]), self._submitit.SlurmJob(it["folder"], it["id"]))
            for name, it in found.items()
            if it["id"] in states
        }
        return {name: job for name, job in left.items() if not job.stop.exists()}


@hookimpl
def sslkit_executors() -> dict[str, type[Executor]]:
    return {"slurm": SlurmExecutor}
