"""SIGTERM and Ctrl-C ask a run to stop after the step it is in; a second one does not wait."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_SECONDS = 1.0
"""A signal that comes so soon after the first is the same one: a scheduler may send it to a process and its
group."""


@dataclass
class StopRequest:
    """Whether, and by which signal, the run was asked to stop."""

    signal_number: int | None = None

    @property
    def asked(self) -> bool:
        return self.signal_number is not None

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM, as shells have it."""
        return 128 + (self.signal_number or signal.SIGTERM)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Listen for both signals; where that is impossible (not the main thread) nothing is ever asked."""
    request, first = StopRequest(), time.monotonic()
    previous: dict[signal.Signals, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not request.asked:
            request.signal_number, first = number, time.monotonic()
        elif time.monotonic() - first > SAME_SECONDS:
            for each, handler in previous.items():
                signal.signal(each, handler)
            signal.raise_signal(number)

    try:
        for each in SIGNALS:
            previous[each] = signal.signal(each, ask)
    except ValueError:  # not the main thread
        pass
    try:
        yield request
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
