"""How far the work is, for a person who waits: a bar on a terminal, a line now and then anywhere else."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar

from sslkit.train.wording import clock, number, printable

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
QUICK = 1.0
"""Seconds of work of which nothing is shown on a terminal."""
EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


def one(_: object) -> int:
    """An item counts as one."""
    return 1


class Track(Protocol):
    """Goes through items while somebody may see how far it is."""

    def __call__(
        self,
        items: Iterable[T],
        total: int,
        what: str,
        *,
        size: Callable[[T], int] = one,
        unit: str = "",
        done: int = 0,
    ) -> Iterator[T]:
        """The same items.

        Args:
            total: sum of the sizes of all of them, and `done`.
            what: the work in a few words, such as "features of demo/val".
            size: what an item counts for.
            unit: what is counted, in the plural; empty: nothing worth naming.
            done: what was done before.
        """
        ...


def unseen(items: Iterable[T], total: int, what: str, **_: object) -> Iterator[T]:
    """Shows nothing."""
    yield from items


@dataclass
class Shown:
    """Shows work that takes longer than a moment, on stderr; works within works are shown together."""

    file: TextIO = field(default_factory=lambda: sys.stderr)
    now: Callable[[], float] = time.monotonic
    _bars: "Progress | None" = None

    def __call__(
        self,
        items: Iterable[T],
        total: int,
        what: str,
        *,
        size: Callable[[T], int] = one,
        unit: str = "",
        done: int = 0,
    ) -> Iterator[T]:
        """See `Track`."""
        work = Work(what, total, unit, first=done, done=done, started=self.now())
        follow = self._bar if self.file.isatty() else self._lines
        with follow(work) as tell:
            for item in items:
                yield item
                work.done += size(item)
                work.seconds = self.now() - work.started
                tell()

    @contextmanager
    def _lines(self, work: "Work") -> Iterator[Callable[[], None]]:
        told = 0.0

        def tell() -> None:
            nonlocal told
            if work.seconds - told >= EVERY and work.done < work.total:
                told = work.seconds
                print(self._printable(work.line()), file=self.file, flush=True)

        yield tell

    @contextmanager
    def _bar(self, work: "Work") -> Iterator[Callable[[], None]]:
        task = None

        def tell() -> None:
            nonlocal task
            if task is None and work.seconds >= QUICK:
                task = self._opened().add_task(work.what, total=work.total, speed=work.numbers())
            if task is not None:
                self._opened().update(task, completed=work.done, speed=work.numbers())

        try:
            yield tell
        finally:
            if task is not None and self._bars is not None:
                self._bars.remove_task(task)
                if not self._bars.tasks:
                    self.close()

    def _opened(self) -> "Progress":
        if self._bars is None:
            self._bars = _bars(self.file)
            self._bars.start()
        return self._bars

    def close(self) -> None:
        """Leave the terminal as it was, also in the midst of work that was broken off."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _printable(self, line: str) -> str:
        return printable(line, getattr(self.file, "encoding", None) or "ascii")


@dataclass
class Work:
    """What is known of a piece of work."""

    what: str
    total: int
    unit: str
    first: int
    """What was done before it began."""
    done: int
    started: float
    seconds: float = 0.0
    """Since it began."""

    @property
    def speed(self) -> float:
        """A second; 0 where nothing is known."""
        return (self.done - self.first) / self.seconds if self.seconds > 0 else 0.0

    def line(self) -> str:
        """All of it in words."""
        unit = f" {self.unit}" if self.unit else ""
        return f"  {self.what}: {self.done:,} of {self.total:,}{unit} · {self.numbers()}"

    def numbers(self) -> str:
        """Speed and time that is left."""
        if not self.speed:
            return ""
        speed = f"{number(self.speed)} {self.unit}/s · " if self.unit else ""
        return f"{speed}{clock((self.total - self.done) / self.speed)} left"


def _bars(file: TextIO) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}", markup=False),
        console=Console(file=file, highlight=False, markup=False, emoji=False),
        transient=True,
        redirect_stdout=False,
    )
