"""A study as a person sees it while it runs: a live table on a terminal, plain lines anywhere else."""

import time
from collections.abc import Mapping, Sequence
from statistics import fmean
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from sslkit.ablation.watch import Watch, is_ill
from sslkit.train.wording import clock, printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

BETWEEN_LINES = 60.0
"""Where the output is no terminal: least seconds between two lines that tell how far all is."""
STATE = ""
"""The head of the last column."""
STATE_WIDTH = 10
"""Columns of the terminal that it keeps before others give way to it."""


class Shown:
    """Shows the runs of a study; used as a context."""

    def __init__(self, metric: str, file: TextIO | None = None) -> None:
        from rich.console import Console

        self.metric = metric
        self.console = Console(file=file, highlight=False, markup=False, emoji=False)
        self.is_live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._live: Live | None = None
        self._told: dict[str, str] = {}
        self._last_line = -BETWEEN_LINES

    def __enter__(self) -> "Shown":
        if self.is_live:
            from rich.live import Live

            self._live = Live(console=self.console, refresh_per_second=4, vertical_overflow="crop")
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, watches: Sequence[Watch]) -> None:
        """Show where all runs stand."""
        if self._live is not None:
            self._live.update(self._table(watches))
            return
        for watch in watches:
            self._tell_change(watch)
        if time.monotonic() - self._last_line >= BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(f"  {summary(watches)}")

    def stopping(self) -> None:
        self.say("  stopping: the runs save their state (a second Ctrl-C ends them at once)")

    def say(self, line: str) -> None:
        self.console.print(printable(line, self.console.encoding), soft_wrap=True)

    def _tell_change(self, watch: Watch) -> None:
        told = state(watch) if watch.status != "running" else "running"
        before = self._told.get(watch.name)
        self._told[watch.name] = told
        if told == before or (before is None and watch.status in ("waiting", "finished")):
            return
        value = (
            "" if watch.value is None or watch.status == "running" else f"  {self.metric} {watch.value:.3f}"
        )
        self.say(f"  {watch.name:<28} {told}{value}")

    def _table(self, watches: Sequence[Watch]) -> "Table":
        from rich import box
        from rich.table import Table

        caption = printable(summary(watches), self.console.encoding)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="", caption=caption, expand=True)
        columns = self._columns(self._visible(watches))
        for head in columns:
            is_state, is_word = head == STATE, head in ("arm", STATE)
            table.add_column(
                head,
                justify="left" if is_word else "right",
                no_wrap=True,
                overflow="ellipsis" if self.console.encoding.startswith("utf") else "crop",
                ratio=1 if is_state else None,  # it takes what the others leave, so that they stay whole
            )
        for cells in zip(*columns.values(), strict=True):
            table.add_row(*(printable(cell, self.console.encoding) for cell in cells))
        return table

    def _columns(self, watches: Sequence[Watch]) -> dict[str, list[str]]:
        """By head the cells; in a narrow terminal without those that can be spared."""
        columns = {
            "arm": [w.arm for w in watches],
            "seed": [str(w.seed) for w in watches],
            "progress": [progress(w) for w in watches],
            self.metric: ["" if w.value is None else f"{w.value:.3f}" for w in watches],
            "left": [left(w) for w in watches],
            STATE: [state(w) for w in watches],
        }
        for spared in ("left", "progress"):
            if _width(columns) > self.console.width:
                del columns[spared]
        return columns

    def _visible(self, watches: Sequence[Watch]) -> list[Watch]:
        """As many as the terminal is high: those that run, then those that ended last, then the next ones."""
        room = max(4, self.console.height - 6)
        if len(watches) <= room:
            return list(watches)
        running = [w for w in watches if w.status == "running"]
        ended = [w for w in watches if w.status in ("finished", "failed", "stopped")]
        waiting = [w for w in watches if w.status == "waiting"]
        chosen = {id(w) for w in (running + ended[::-1][: room // 2] + waiting)[:room]}
        return [w for w in watches if id(w) in chosen]


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    """Columns of the terminal that a table takes, the states shortened."""
    widths = [STATE_WIDTH if head == STATE else max(map(len, (head, *columns[head]))) for head in columns]
    return sum(widths) + 3 * len(widths)


def state(watch: Watch) -> str:
    """How a run is, in a few words: its verdict where it collapsed, why where it failed."""
    word = f"failed: {watch.error}" if watch.status == "failed" and watch.error else watch.status
    if watch.status == "stopped" and watch.error:
        word = f"stopped ({watch.error})"
    return f"{word}, {watch.verdict}" if is_ill(watch.verdict, watch.cause) else word


def progress(watch: Watch) -> str:
    if watch.total_steps is None:
        return f"{watch.step:,}" if watch.step else ""
    return f"{watch.step:,}/{watch.total_steps:,}" if watch.step else ""


def left(watch: Watch) -> str:
    seconds = watch.seconds_left
    return "" if seconds is None or watch.status != "running" else clock(seconds)


def summary(watches: Sequence[Watch]) -> str:
    """How many have ended, and about how long the rest takes."""
    counts = {
        status: sum(w.status == status for w in watches) for status in ("finished", "running", "failed")
    }
    words = [f"{counts['finished']} of {len(watches)} runs finished", f"{counts['running']} running"]
    if counts["failed"]:
        words.append(f"{counts['failed']} failed")
    collapsed = sum(w.collapsed for w in watches)
    if collapsed:
        words.append(f"{collapsed} collapsed")
    rest = time_left(watches)
    if rest is not None:
        words.append(f"about {clock(rest)} left")
    return " · ".join(words)


def time_left(watches: Sequence[Watch]) -> float | None:
    """Seconds until all have ended, about: the steps that are left, at the mean speed, so many at a time."""
    running = [w for w in watches if w.status == "running"]
    speeds = [w.seconds_per_step for w in watches if w.seconds_per_step is not None]
    lengths = [w.total_steps for w in watches if w.total_steps is not None]
    if not (running and speeds and lengths):
        return None
    speed, length = fmean(speeds), fmean(lengths)
    rest = sum(
        ((w.total_steps or length) - w.step) * (w.seconds_per_step or speed)
        for w in watches
        if w.status in ("waiting", "running")
    )
    return rest / len(running)
