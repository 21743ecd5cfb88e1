"""What a tracker is: somebody who wants to hear of each record of a run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

Record = Mapping[str, Any]
"""One line of metrics.jsonl: {"kind": "step" | "eval" | "health", "step": int, ...}, plain Python values."""


class Tracker(ABC):
    """Hears every record of a run, on the main process only."""

    Config: ClassVar[type]
    """A dataclass: the tracker's entry under `trackers`."""

    @abstractmethod
    def __init__(self, config: Any, run_dir: Path, name: str) -> None:
        """Start, or go on with, the run `name` that is kept in `run_dir`."""

    @abstractmethod
    def log(self, record: Record) -> None: ...

    def figure(self, name: str, path: Path) -> None:  # noqa: B027 - optional
        """A picture was written."""

    def close(self) -> None:  # noqa: B027 - optional
        """The run has ended."""


class Trackers:
    """Several trackers that hear the same."""

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        self.all = tuple(trackers)

    def log(self, record: Record) -> None:
        for tracker in self.all:
            tracker.log(record)

    def figure(self, name: str, path: Path) -> None:
        for tracker in self.all:
            tracker.figure(name, path)

    def close(self) -> None:
        for tracker in self.all:
            tracker.close()
