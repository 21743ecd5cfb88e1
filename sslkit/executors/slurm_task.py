"""A job on a node of a SLURM cluster, as submitit calls it there."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sslkit.core.executor import Job
from sslkit.executors.process import Child, heard, not_begun, withheld

POLL_SECONDS = 0.5
REMAIN_SECONDS = 600.0
"""How long a job stays after SLURM's SIGTERM: if it ended itself, a preempted one would count as done."""
SAVE, END = "save", "end"
"""What the file `stop` says."""


@dataclass
class SlurmTask:
    """A job as submitit pickles it; called on the node."""

    job: Job
    folder: Path
    """Where its command runs."""
    environment: dict[str, str]
    stop: Path
    """Once this file is there, the job saves and ends, or does not begin; "end" in it: ends at once."""
    _child: Child | None = field(default=None, init=False, repr=False)

    def __call__(self) -> str | None:
        """Run the command until it ends; returns how, or None where it was not begun."""
        if self.stop.exists():
            return None
        with heard(signal.SIGTERM) as asked:  # scancel, or what comes before a preemption
            try:
                with withheld(signal.SIGUSR1, signal.SIGUSR2):  # some clusters signal the child as well
                    self._child = Child(self.job, self.environment, self.folder)
            except OSError as error:
                return not_begun(error)
            how = self._attend(self._child, asked)
            if how and "SLURM_JOB_ID" in os.environ:
                self._remain(asked)
        return how

    def checkpoint(self) -> Any:
        """Have the command save; called by submitit before a preemption or the time limit.

        Returns:
            what is queued again, a `DelayedSubmission`; None where nothing is to be.
        """
        from submitit.helpers import DelayedSubmission

        if self._child is not None:
            self._child.ask()
            self._child.await_end()
        return None if self.stop.exists() else DelayedSubmission(replace(self))

    def _attend(self, child: Child, asked: Callable[[], bool]) -> str:
        while (how := child.outcome()) is None:
            word = self._word()
            if word == END:
                child.kill()
            elif word or asked():
                child.ask()
            time.sleep(POLL_SECONDS)
        return how

    def _word(self) -> str | None:
        try:
            return self.stop.read_text() or SAVE
        except OSError:
            return None

    def _remain(self, asked: Callable[[], bool]) -> None:
        end = time.monotonic() + REMAIN_SECONDS
        while asked() and not self.stop.exists() and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
