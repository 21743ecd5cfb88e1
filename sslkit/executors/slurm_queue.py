"""Jobs that submitit has submitted: what became of them, and how those that wait are taken out."""

import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sslkit.errors import RunError, indented

COMMANDS = ("sbatch", "srun", "squeue", "scancel")
"""What has to be there to run on a cluster."""
LOOK_SECONDS, STOPPING_LOOK_SECONDS = 10.0, 2.0
"""How old an answer of squeue may be, and while jobs are to end: asking more often burdens a cluster."""
GRACE_SECONDS = 15.0
"""How long a job may be gone before it counts as lost: what it wrote may take a while to be seen here."""


@dataclass(frozen=True)
class Submitted:
    """A job that SLURM has, or this machine in its stead."""

    id: str
    """SLURM's, such as 12_3."""
    folder: Path
    """Of its submission: submitit's files, and `stop`."""
    handle: Any
    """submitit's."""

    @property
    def stop(self) -> Path:
        return self.folder / "stop"

    def has_result(self) -> bool:
        return bool(self.handle.paths.result_pickle.exists())

    def result(self) -> str | None:
        """What the task returned, or why submitit did not let it."""
        from submitit.core.utils import pickle_load

        outcome, value = pickle_load(self.handle.paths.result_pickle)
        return value if outcome == "success" else str(value).strip().rpartition("\n")[2]


class Place(Protocol):
    """Where submitted jobs are."""

    room: int | None
    """How many may be there at a time; None: all, the scheduler decides."""

    def is_over(self, job: Submitted) -> bool:
        """Whether it neither waits nor runs any more, as far as is known."""

    def lost(self, job: Submitted) -> str:
        """In words, how a job ended that is over and has left no result."""

    def take_out(self, jobs: Mapping[str, Submitted]) -> list[str]:
        """Have those that have not begun taken out; returns the names of those that are by now."""

    def end(self, jobs: Mapping[str, Submitted]) -> None:
        """End them, whatever they do."""


class SlurmQueue:
    """SLURM's queue, by its own commands: sacct, which submitit asks, is not everywhere."""

    room: int | None = None

    def __init__(self) -> None:
        self._states: dict[str, str] | None = None
        self._looked = float("-inf")
        self._missing_since: dict[str, float] = {}
        self._taken_out: set[str] = set()

    def states(self, age: float | None = None) -> dict[str, str] | None:
        """The state of each of the user's jobs by its id, at most so old; None where SLURM does not say."""
        if time.monotonic() - self._looked > (LOOK_SECONDS if age is None else age):
            self._states, self._looked = _squeue(), time.monotonic()
        return self._states

    def is_over(self, job: Submitted) -> bool:
        if job.has_result():
            return True
        states = self.states()
        if states is None or job.id in states:
            self._missing_since.pop(job.id, None)
            return False
        since = self._missing_since.setdefault(job.id, time.monotonic())
        return time.monotonic() - since >= GRACE_SECONDS

    def lost(self, job: Submitted) -> str:
        state = job.handle.get_info().get("State") if shutil.which("sacct") else None
        return f"ended by SLURM: {state or 'no result'}; see {job.handle.paths.stdout}"

    def take_out(self, jobs: Mapping[str, Submitted]) -> list[str]:
        states = self.states(STOPPING_LOOK_SECONDS)
        if states is None:
            return []
        pending = {job.id for job in jobs.values() if states.get(job.id) == "PENDING"} - self._taken_out
        if pending:  # a job that begins just now stays, and is waited for
            _scancel("--state=PENDING", *sorted(pending))
            self._taken_out |= pending
        return [n for n, job in jobs.items() if job.id in self._taken_out and job.id not in states]

    def end(self, jobs: Mapping[str, Submitted]) -> None:
        if jobs:
            _scancel(*(job.id for job in jobs.values()))


class ThisMachine:
    """Processes of this machine, begun by submitit's local executor."""

    def __init__(self, room: int) -> None:
        self.room: int | None = room

    def is_over(self, job: Submitted) -> bool:
        return bool(job.handle.done())

    def lost(self, job: Submitted) -> str:
        return f"no result; see {job.handle.paths.stdout}"

    def take_out(self, jobs: Mapping[str, Submitted]) -> list[str]:
        return []

    def end(self, jobs: Mapping[str, Submitted]) -> None:
        """Nothing more: they look for the file `stop`."""


def check_commands() -> None:
    """Whether this is a machine that jobs can be submitted from; raises `RunError` otherwise."""
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        raise RunError(
            f"the executor 'slurm' needs the command {missing[0]}, which is not there"
            + indented(
                "start it on a login node of the cluster; to try it on this machine: --option cluster=local"
            )
        )


def _squeue() -> dict[str, str] | None:
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):  # busy, or being restarted
        return None
    pairs = (line.split() for line in done.stdout.splitlines() if line.strip())
    return {pair[0]: pair[-1] for pair in pairs}


def _scancel(*words: str) -> None:
    subprocess.run(["scancel", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
