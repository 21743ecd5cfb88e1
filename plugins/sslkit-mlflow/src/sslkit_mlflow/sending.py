"""Sends in the background, so that no training step waits for a server."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Sender:
    """Makes calls one after another in a thread of its own; after one that fails, none of the later ones.

    So what has arrived is always the beginning of what was said, never a part with a gap.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sslkit-mlflow")
        self._pending = deque[Future[None]]()
        self._failed = False

    def send(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Put a call behind those that wait."""
        self._pending.append(self._pool.submit(self._make, call, *arguments))

    def check(self) -> None:
        """Raise what a call has raised, if one has."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def close(self) -> None:
        """Wait for all calls; raises what one has raised."""
        self._pool.shutdown()
        self.check()

    def _make(self, call: Callable[..., Any], *arguments: Any) -> None:
        if self._failed:
            return
        try:
            call(*arguments)
        except BaseException:
            self._failed = True
            raise
