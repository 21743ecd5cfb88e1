"""Where each run of a study stands, read from what it writes while it trains."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sslkit.ablation.places import Places
from sslkit.core.diagnosis import COLLAPSES
from sslkit.train.rundir import RunDirectory

Status = Literal["waiting", "running", "finished", "failed", "stopped"]


@dataclass
class Watch:
    """One run, followed from outside. `look` reads what was added since."""

    arm: str
    seed: int
    places: Places
    metric: str
    """EVALUATOR.METRIC that is shown while it runs."""
    status: Status = "waiting"
    error: str = ""
    """Why it failed, its first line."""
    step: int = 0
    total_steps: int | None = None
    value: float | None = None
    """The metric's last value."""
    verdict: str = ""
    """The doctor's last word."""
    seconds_per_step: float | None = None
    has_ended: bool = False
    """Whether its process is over in this session."""
    _offset: int = 0
    _batch_size: int = field(default=0)

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
    def seconds_left(self) -> float | None:
        """Of training; None where it is not known yet."""
        if self.seconds_per_step is None or self.total_steps is None:
            return None
        return (self.total_steps - self.step) * self.seconds_per_step

    def look(self) -> None:
        """Bring everything up to date."""
        record, told = self.directory.read_record(), _read(self.places.told(self.name))
        said = told.get("status") or record.get("status")
        if record.get("status") == "finished":
            said = "finished"  # even where its process was killed before it said so
        self.status = said if said in ("finished", "failed", "stopped") else self._unfinished(bool(said))
        self.error = str(told.get("error") or record.get("error") or "").partition("\n")[0]
        for line in self._new_lines():
            self._see(line)

    def _unfinished(self, has_begun: bool) -> Status:
        if not has_begun:
            return "waiting"
        return "stopped" if self.has_ended else "running"

    def _new_lines(self) -> Iterator[dict[str, Any]]:
        path = self.directory.metrics
        if not path.is_file():
            return
        if path.stat().st_size < self._offset:  # a resume has cut it
            self._offset = 0
        with path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                record = _parsed(line)
                if record is not None:
                    yield record

    def _see(self, record: dict[str, Any]) -> None:
        kind = record.get("kind")
        if kind == "step":
            self._see_step(record)
        elif kind == "health":
            self.verdict = record.get("verdict", "")
        elif kind == "eval":
            evaluator, _, key = self.metric.partition(".")
            if record.get("evaluator") == evaluator and key in record.get("metrics", {}):
                self.value = record["metrics"][key]

    def _see_step(self, record: dict[str, Any]) -> None:
        self.step, speed = int(record["step"]), record.get("images_per_second")
        if speed and self._batch_size:
            seconds = self._batch_size / speed
            before = self.seconds_per_step
            self.seconds_per_step = seconds if before is None else 0.95 * before + 0.05 * seconds

    def expect(self, total_steps: int | None, batch_size: int) -> None:
        """What the recipe says of its length."""
        self.total_steps, self._batch_size = total_steps, batch_size


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
