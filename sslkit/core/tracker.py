"""What a tracker is: somebody who wants to hear of each record of a run."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
    """The run's own record, and others that hear the same; one of them that raises is left out."""

    def __init__(self, record: Tracker | None = None, others: Sequence[Tracker] = ()) -> None:
        self._record, self._others = record, list(others)

    def log(self, record: Record) -> None:
        if self._record is not None:
            self._record.log(record)
        self._each(lambda tracker: tracker.log(record))

    def figure(self, name: str, path: Path) -> None:
        self._each(lambda tracker: tracker.figure(name, path))

    def close(self) -> None:
        if self._record is not None:
            self._record.close()
        self._each(lambda tracker: tracker.close())

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._others):
            try:
                call(tracker)
            except Exception as error:  # a full disk or a lost server must not end the training
                self._others.remove(tracker)
                with suppress(Exception):  # what it holds open
                    tracker.close()
                name = type(tracker).__name__
                warnings.warn(f"the tracker {name} failed and is left out: {error}", stacklevel=2)
