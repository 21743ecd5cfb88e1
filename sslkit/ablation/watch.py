"""Where each run of a study stands, read from what it writes while it trains."""

import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, cast

from sslkit.ablation.places import Places
from sslkit.core.diagnosis import COLLAPSES
from sslkit.train.rundir import RunDirectory
from sslkit.train.wording import SMOOTHED

Status = Literal["waiting", "running", "finished", "failed", "stopped"]


@dataclass
class Watch:
    """One run, followed from outside. `look` reads what was added since."""

    arm: str
    seed: int
    places: Places
    metric: str
    """EVALUATOR.METRIC that is shown while it runs."""
    batch_size: int = 1
    epochs: int = 1
    max_steps: int | None = None
    """As its recipe has them."""
    status: Status = "waiting"
    error: str = ""
    """Why it failed, its first line."""
    step: int = 0
    total_steps: int | None = None
    """Known once it has begun."""
    value: float | None = None
    """The metric's last value."""
    verdict: str = ""
    """The doctor's last word, and what it gave with it."""
    cause: str = ""
    advice: str = ""
    has_ended: bool = False
    """Whether its process is over in this session."""
    how_ended: str = ""
    """How that process ended, in words; empty where it went well."""
    measured: dict[str, list[str]] = field(default_factory=dict)
    """By evaluator that was asked: the metrics that it gives."""
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=SMOOTHED))
    _offset: int = 0
    _file: int = 0
    """Which file the offset is in: a resume writes another one in its place."""

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.seed}"

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.places.run(self.name))

    @property
    def collapsed(self) -> bool:
        return self.verdict in COLLAPSES

    @property
    def seconds_per_step(self) -> float | None:
        """Of the last steps, the mean; None before the first."""
        return fmean(self._seconds) if self._seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Of training; None where it is not known yet."""
        if self.seconds_per_step is None or self.total_steps is None:
            return None
        return (self.total_steps - self.step) * self.seconds_per_step

    def look(self) -> None:
        """Bring everything up to date."""
        record, told = self.directory.read_record(), _read(self.places.told(self.name))
        said = told.get("status")
        if said in ("finished", "stopped") and self.has_ended and not self.directory.record.is_file():
            said = None  # its directory was removed, so that it runs again
        self.status = self._status(said, record.get("status"))
        self.error = str((told or record).get("error") or "").partition("\n")[0]
        if self.status == "stopped" and told.get("status") != "stopped":  # it had no time to say so
            self.error = self.how_ended
        self.total_steps = self._length(record)
        for line in self._new_lines():
            self._see(line)

    def _length(self, record: dict[str, Any]) -> int | None:
        per_epoch = record.get("setup", {}).get("steps_per_epoch")
        if per_epoch is None:
            return None
        return min(self.epochs * int(per_epoch), self.max_steps or sys.maxsize)

    def _status(self, told: str | None, recorded: str | None) -> Status:
        """From what its process told of itself in this session, and what the run has recorded so far."""
        if recorded == "finished":
            return "finished"  # even where its process was killed before it said so
        if not self.has_ended:
            said = told or "waiting"  # whatever became of it in an earlier session
        else:
            said = told or recorded or ("stopped" if self.how_ended else "waiting")
        if said == "running" and self.has_ended:
            return "stopped"
        return cast("Status", said)

    def _new_lines(self) -> Iterator[dict[str, Any]]:
        path = self.directory.metrics
        if not path.is_file():
            return
        with path.open("rb") as file:
            self._forget_another(os.fstat(file.fileno()))
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                record = _parsed(line)
                if record is not None:
                    yield record

    def _forget_another(self, now: os.stat_result) -> None:
        """Begin again where a resume has dropped what came after its checkpoint."""
        if now.st_ino != self._file or now.st_size < self._offset:
            self._file, self._offset = now.st_ino, 0
            self.step, self.value = 0, None
            self.verdict = self.cause = self.advice = ""

    def _see(self, record: dict[str, Any]) -> None:
        kind = record.get("kind")
        if kind == "step":
            self._see_step(record)
        elif kind == "health":
            self.verdict = record.get("verdict", "")
            self.cause, self.advice = record.get("cause") or "", record.get("advice") or ""
        elif kind == "eval":
            evaluator, metrics = record["evaluator"], record.get("metrics", {})
            self.measured[evaluator] = list(metrics)
            own, _, key = self.metric.partition(".")
            if evaluator == own and key in metrics:
                self.value = metrics[key]

    def _see_step(self, record: dict[str, Any]) -> None:
        self.step, speed = int(record["step"]), record.get("images_per_second")
        if speed:
            self._seconds.append(self.batch_size / speed)


def is_ill(verdict: str, cause: str) -> bool:
    """Whether the doctor's last word is to be told.

    Not "healthy", nor "not learning yet" without a cause, which it says of runs that were too short to tell.
    """
    return verdict not in ("", "healthy") and (verdict != "not learning yet" or bool(cause))


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except ValueError:
        return None
