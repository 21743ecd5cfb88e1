"""What an executor is: somebody who runs the commands of a study, somewhere, so many at a time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sslkit.errors import RecipeError


@dataclass(frozen=True)
class Job:
    """One run of a study, as a command. It may be started again at any time: it goes on where it was."""

    name: str
    command: tuple[str, ...]
    log: Path
    """What it prints is added there."""
    wants_gpu: bool
    """Whether the run will use a GPU if it gets one."""


@dataclass(frozen=True)
class Resources:
    """What the user wants a study to take."""

    jobs: int | None = None
    """Most jobs at a time; None: as the executor thinks fit."""
    folder: Path = Path()
    """A folder for what the executor itself writes."""

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise RecipeError(f"'jobs' is {self.jobs}, but must be 1 or more")


class Executor(ABC):
    """Runs jobs. It starts them, says which have ended, and can have all of them stop; nothing else."""

    Config: ClassVar[type]
    """A dataclass: the keys of `sslkit ablate --option KEY=VALUE`."""

    @abstractmethod
    def __init__(self, config: Any, resources: Resources) -> None:
        """Check that it can run anything.

        Raises:
            SslkitError: a package or a scheduler is missing; the message says how to get it.
        """

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> None:
        """Take on all the jobs, to be begun in this order; returns at once."""

    @abstractmethod
    def ended(self) -> Mapping[str, str]:
        """The jobs that are over, each with how: "" for exit code 0, else in words such as "exit code 1"."""

    @abstractmethod
    def stop(self) -> None:
        """Begin no more jobs, and ask those that run to save and end (SIGTERM); returns when they have."""

    def kill(self) -> None:
        """End what still runs at once; for the second Ctrl-C, while `stop` waits."""
        self.stop()
