"""What the watching hooks of a run's plugins have taken."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any


@dataclass
class HookTime:
    """One hook of one plugin."""

    plugin: str
    hook: str
    calls: int = 0
    seconds: float = 0.0
    """Wall time of all its calls."""


class HookTimes:
    """Calls and seconds by plugin and hook, over all parts of a run."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], HookTime] = {}

    def load(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Count on from what an earlier part of the run recorded."""
        self._times = {(r["plugin"], r["hook"]): HookTime(**r) for r in records}

    @contextmanager
    def measured(self, plugin: str, hook: str) -> Iterator[None]:
        """Count what happens inside as one call, also if it raises."""
        began = perf_counter()
        try:
            yield
        finally:
            time = self._times.setdefault((plugin, hook), HookTime(plugin, hook))
            time.calls += 1
            time.seconds += perf_counter() - began

    def as_records(self) -> list[dict[str, Any]]:
        """For `run.json`: the longest first."""
        return [asdict(time) for time in sorted(self._times.values(), key=lambda time: -time.seconds)]
