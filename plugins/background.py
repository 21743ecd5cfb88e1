"""An executor that leaves the machine to whoever sits at it: the runs of a study take what nobody else wants.

    sslkit ablate smoke --plugin plugins/background.py --executor background
    sslkit ablate smoke --plugin plugins/background.py --executor background --option niceness=10 --jobs 2

As the built-in `local`, with its keys; each run has the lowest priority at processors and, on Linux, at
disks. A GPU and memory know no such order: `--jobs` says how many runs share them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sslkit import hookimpl
from sslkit.core.executor import Executor, Job, Resources
from sslkit.errors import RecipeError
from sslkit.executors.local import LocalConfig, LocalExecutor

SSLKIT_API = "1"
LOWEST = 19
BEHIND = """
for try in 1 2 3 4 5 6 7 8 9; do
    [ -e /proc/self/autogroup ] || break
    { echo "$0" > /proc/self/autogroup; } 2> /dev/null && break
    sleep 0.2
done
command -v ionice > /dev/null && set -- ionice -t -c 3 "$@"
exec nice -n "$0" "$@"
"""
"""Becomes the command behind it, so that signals reach that one.

Where Linux shares processors between sessions first, as on desktops, the niceness of processes counts only
within a session, and each job is one. Sessions' own takes one change in .1 s, of all jobs together.
"""


@dataclass
class BackgroundConfig(LocalConfig):
    """How this machine is divided, and how much the runs leave to others."""

    niceness: int = LOWEST
    """How far the runs stand back, 1 to 19: at 5 others get three times as much, at 19 nearly all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.niceness <= LOWEST:
            raise RecipeError(f"'niceness' is {self.niceness}, but must be from 1 to {LOWEST}")


class BackgroundExecutor(LocalExecutor):
    """The built-in executor with other commands: each job's own, behind what lowers its priority."""

    Config = BackgroundConfig

    def __init__(self, config: BackgroundConfig, resources: Resources) -> None:
        super().__init__(config, resources)
        self._before = ("/bin/sh", "-c", BEHIND, str(config.niceness))

    def start(self, jobs: Sequence[Job]) -> None:
        """Take on all the jobs, as the built-in executor does."""
        super().start([replace(job, command=(*self._before, *job.command)) for job in jobs])


@hookimpl
def sslkit_executors() -> dict[str, type[Executor]]:
    """The name that `--executor` takes."""
    return {"background": BackgroundExecutor}
