"""What a person sees of a run: one live line on a terminal, plain lines anywhere else."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sslkit.core.tracker import Record, Tracker
from sslkit.hookspecs import hookimpl
from sslkit.train.wording import (
    Where,
    broken_off,
    display_name,
    finished,
    header,
    knn_accuracy,
    printable,
    results,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live

LABEL = 20
"""Columns of the name before a result."""
SHORTEST_BAR = 10
"""Columns that the bar keeps before numbers give way to it."""


@dataclass
class TerminalConfig:
    """The progress of a run in words."""

    every_seconds: float = 30.0
    """Where the output is no terminal: longest time between two lines, seconds, > 0."""
    every_share: float = 0.1
    """Where the output is no terminal: share of the run between two lines, 0 to 1."""


class Terminal(Tracker):
    """Tells of a run on stdout: what it is, how it goes, what came out and what to do next."""

    Config = TerminalConfig

    def __init__(
        self, config: TerminalConfig, run_dir: Path, name: str, *, file: TextIO | None = None
    ) -> None:
        from rich.console import Console

        self.config = config
        self.console = Console(file=file, highlight=False, markup=False, emoji=False)
        self.is_live = self.console.is_terminal and not self.console.is_dumb_terminal
        self.where = Where(name=name, run_dir=str(run_dir))
        self._live: Live | None = None
        self._told = Told()

    def log(self, record: Record) -> None:
        kinds = {
            "start": self._start,
            "step": self._step,
            "eval": self._eval,
            "health": self._health,
            "note": self._note,
            "end": self._end,
        }
        if record["kind"] in kinds:
            kinds[record["kind"]](record)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    # --- the records ---------------------------------------------------------------------------------------

    def _start(self, record: Record) -> None:
        self.where.start(record)
        title, *lines = header(record)
        self._say(title, "bold")
        for line in lines:
            self._say(line)

    def _step(self, record: Record) -> None:
        self.where.see(record)
        if self.is_live:
            self._open_live()
        elif self._told.is_due(self.where, self.config):
            self._say("  ".join(("", self.where.count(), " · ".join(text for _, text in self.where.parts()))))
        if self.where.is_done:
            self.close()

    def _eval(self, record: Record) -> None:
        label = f"{display_name(record['evaluator'])} {self.where.moment(record['step'])}"
        text = " · ".join(results(record))
        value = knn_accuracy(record)
        if value is not None:
            text += self.where.chance_once()
            self.where.knn.append(value)
        self._say(f"{label:<{LABEL}} {text}")

    def _health(self, record: Record) -> None:
        verdict = record["verdict"]
        told = verdict, record.get("advice")
        if told == self._told.health and not self.where.is_done:
            return
        self._told.health = told
        cause = f": {record['cause']}" if record.get("cause") else ""
        self._say(f"{'health':<{LABEL}} {verdict}{cause}", HEALTH_STYLES.get(verdict, "yellow"))
        if record.get("advice"):
            self._say(f"{'':<{LABEL}} what to change: {record['advice']}")
        if record.get("command"):
            self._say(f"{'':<{LABEL}} a new run with it: {record['command']}")

    def _note(self, record: Record) -> None:
        self._say(f"  note      {record['text']}")

    def _end(self, record: Record) -> None:
        self.close()
        if record["status"] == "finished":
            lines = finished(record, self.where)
        else:
            lines = broken_off(record, self.where)
        self._say("")
        for line in lines:
            self._say(line)

    # --- printing ------------------------------------------------------------------------------------------

    def _say(self, line: str, style: str | None = None) -> None:
        """A line of its own, above the live one; the terminal wraps it, so that paths can be copied whole."""
        self.console.print(printable(line, self.console.encoding), style=style, soft_wrap=True)

    def _open_live(self) -> None:
        if self._live is None:
            from rich.live import Live

            self._live = Live(LiveLine(self.where), console=self.console, refresh_per_second=4)
            self._live.start()


HEALTH_STYLES = {"healthy": "green", "not learning yet": "none"}
"""Colour of a verdict; what is not here is a warning."""


@dataclass
class Told:
    """What was printed last, so that it is not printed too often."""

    step: int = 0
    at: float = field(default_factory=time.monotonic)
    health: tuple[str, str | None] | None = None
    """Verdict and advice."""

    def is_due(self, where: Where, config: TerminalConfig) -> bool:
        share = (where.step - max(self.step, where.start_step)) / max(where.total_steps, 1)
        waited = time.monotonic() - self.at
        if share < config.every_share and waited < config.every_seconds and not where.is_done:
            return False
        self.step, self.at = where.step, time.monotonic()
        return True


class LiveLine:
    """Epoch, bar, count and numbers, in as many words as the terminal is wide."""

    def __init__(self, where: Where) -> None:
        self.where = where

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        where, width = self.where, options.max_width
        count = where.count().removeprefix("step ")
        room = width - len(count) - 5
        shown = fit([(5, where.epoch()), *where.parts()], room - SHORTEST_BAR)
        bar = min(24, room - sum(len(text) + 3 for text in shown if text))
        epoch, numbers = shown[0], [text for text in shown[1:] if text]
        grid = Table.grid(padding=(0, 1))
        text = printable(" · ".join((count, *numbers)), console.encoding)
        cells = [Text(epoch)] if epoch else []
        if bar >= SHORTEST_BAR // 2:
            cells.append(ProgressBar(total=max(where.total_steps, 1), completed=where.step, width=bar))  # type: ignore[arg-type]
        grid.add_row(*cells, Text(text, no_wrap=True, overflow="ellipsis"))
        yield grid


def fit(parts: Sequence[tuple[int, str]], width: int) -> list[str]:
    """The texts of (importance, text) with the least important ones emptied until the rest has room.

    Args:
        parts: importance 0 stays whatever the width.
        width: columns; each text takes three more than its own.
    """
    texts = [text for _, text in parts]
    for _, index in sorted(((rank, i) for i, (rank, _) in enumerate(parts) if rank), reverse=True):
        if sum(len(text) + 3 for text in texts if text) <= width:
            break
        texts[index] = ""
    return texts


@hookimpl
def sslkit_trackers() -> dict[str, type[Tracker]]:
    return {"terminal": Terminal}
