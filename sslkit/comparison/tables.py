"""A comparison in words: settings that differ, then metrics, then cost; for a terminal, Markdown and CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any, TextIO

from sslkit.comparison.groups import Group
from sslkit.comparison.result import COST, MOMENTS, Comparison
from sslkit.comparison.settings import MISSING, Setting
from sslkit.train.wording import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100
"""Columns of the output where it is no terminal."""
WIDEST_CELL = 28
"""Columns of a setting's value before it is folded."""


@dataclass(frozen=True)
class Section:
    """A heading, a table, and lines below it; each may be empty."""

    title: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()
    is_numeric: bool = False
    """Right-aligned but for the first column."""
    is_by_group: bool = False
    """A column for each group: many are printed in several parts."""


def sections(comparison: Comparison) -> Iterator[Section]:
    """All there is to say, in order: first what a fair comparison needs to be the same."""
    yield _shared(comparison)
    if any(comparison.differences.own):
        yield _own(comparison)
    if comparison.differences.ran:
        head, rows = _by_group(comparison, comparison.differences.ran)
        yield Section("Where and with what they ran differs (it changes times)", head, rows, is_by_group=True)
    marks = [f"* {name}: {mark}" for group in comparison.groups for name, mark in group.marks.items()]
    if marks or comparison.warnings:
        yield Section("Mind", lines=(*marks, *comparison.warnings))
    for metric in comparison.metrics:
        yield _metric(comparison, metric)
    yield _cost(comparison)


# --- settings ----------------------------------------------------------------------------------------------


def _shared(comparison: Comparison) -> Section:
    rows = comparison.differences.shared
    if not rows:
        return Section("No shared setting differs")
    head, cells = _by_group(comparison, rows)
    return Section("Shared settings that differ", head, cells, is_by_group=True)


def _by_group(
    comparison: Comparison, rows: Sequence[Setting]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    head = ("key", *(group.name for group in comparison.groups))
    return head, tuple((row.key, *map(_value, row.values)) for row in rows)


def _own(comparison: Comparison) -> Section:
    names: dict[str, list[str]] = {}
    for group, own in zip(comparison.groups, comparison.differences.own, strict=True):
        words = "  ".join(f"{key}={_value(value)}" for key, value in own.items())
        names.setdefault(words or "none", []).append(group.name)
    lines = tuple(f"{', '.join(groups)}: {words}" for words, groups in names.items())
    return Section("Settings of a method, or of one kind of component", lines=lines)


def _value(value: Any) -> str:
    """As a recipe has it; several values of one group side by side."""
    if isinstance(value, tuple):
        return ", ".join(_value(v) for v in value)
    if value is MISSING:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


# --- numbers -----------------------------------------------------------------------------------------------


def _metric(comparison: Comparison, metric: str) -> Section:
    spreads = {g.name: [comparison.spread(g, metric, m) for m in MOMENTS] for g in comparison.groups}
    decimals = _decimals([value for row in spreads.values() for spread in row for value in spread.known])
    rows = tuple(
        (_marked(g), str(len(g.seeds)), *(spread.shown(decimals) for spread in spreads[g.name]))
        for g in comparison.groups
    )
    lines = (_budget(comparison),) if metric == comparison.metrics[0] else ()
    return Section(metric, ("", "seeds", *MOMENTS.values()), rows, lines, is_numeric=True)


def _decimals(values: Sequence[float]) -> int:
    largest = max(map(abs, values), default=0.0)
    return 3 if largest < 10 else 1 if largest < 1000 else 0


def _marked(group: Group) -> str:
    return f"{group.name} *" if group.marks else group.name


def _budget(comparison: Comparison) -> str:
    """What the two columns of equal cost stand for."""
    budget = comparison.budget
    text = f"each run's last evaluation within the images ({budget.images:,}: {budget.images_of})"
    if budget.seconds is None:
        return text
    return (
        f"{text} or the training time ({budget.seconds / 60:.1f} min: {budget.seconds_of}) that all have had"
    )


COST_HEADS = {
    "loss": ("loss", 3),
    "steps": ("steps", 0),
    "images": ("images", 0),
    "epochs": ("epochs", 1),
    "minutes": ("minutes", 1),
    "ms_per_step": ("ms/step", 0),
    "memory_mib": ("peak MiB", 0),
    "device_memory_mib": ("device MiB", 0),
}
"""Heading and decimals."""


def _cost(comparison: Comparison) -> Section:
    on_device = any(COST[-1].spread(group).known for group in comparison.groups)
    columns = COST if on_device else COST[:-1]
    rows = tuple(
        (_marked(g), *(c.spread(g).shown(COST_HEADS[c.key][1], constant=True) for c in columns))
        for g in comparison.groups
    )
    several = len({run.method for run in comparison.runs}) > 1
    lines = ("losses of different methods measure different things",) if several else ()
    head = ("", *(COST_HEADS[column.key][0] for column in columns))
    return Section("Cost", head, rows, lines, is_numeric=True)


# --- written down ------------------------------------------------------------------------------------------


def markdown(comparison: Comparison) -> str:
    """All sections, as a page."""
    return as_markdown(sections(comparison))


def as_markdown(parts: Iterable[Section]) -> str:
    """Sections as Markdown."""
    return "\n\n".join(text for section in parts for text in _markdown(section)) + "\n"


def _markdown(section: Section) -> Iterator[str]:
    yield f"### {section.title}"
    if section.rows:
        rule = ["---:" if section.is_numeric and i else "---" for i in range(len(section.head))]
        rows = [section.head, rule, *section.rows]
        yield "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    if section.lines:
        yield "\n".join("- " + line.removeprefix("* ") for line in section.lines)


def as_csv(comparison: Comparison) -> str:
    """One row a group; of each number mean, sd and how many runs have it."""
    moments = [(metric, moment) for metric in comparison.metrics for moment in MOMENTS]
    keys = [*("/".join(at) for at in moments), *(column.key for column in COST)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{key} {part}" for key in keys for part in ("mean", "sd", "n")]
    writer.writerow(["group", "method", "seeds", "runs", "marks", *names])
    for group in comparison.groups:
        marks = "; ".join(f"{name}: {mark}" for name, mark in group.marks.items())
        spreads = [comparison.spread(group, *at) for at in moments] + [c.spread(group) for c in COST]
        numbers = [cell for s in spreads for cell in (s.mean, s.sd, len(s.known))]
        counts = [len(group.seeds), len(group.runs)]
        writer.writerow([group.name, group.runs[0].method, *counts, marks, *numbers])
    return file.getvalue()


# --- printed -----------------------------------------------------------------------------------------------


def show(comparison: Comparison, file: TextIO | None = None) -> None:
    """Print all sections, in as many columns as the terminal has."""
    groups = ", ".join(f"{g.name} ({counted(len(g.seeds), 'seed')})" for g in comparison.groups)
    headline = f"{counted(len(comparison.runs), 'run')} compared: {groups}"
    print_sections(headline, sections(comparison), file)


def print_sections(headline: str, parts: Iterable[Section], file: TextIO | None = None) -> None:
    """Print sections below a headline, in as many columns as the terminal has."""
    from rich.console import Console

    console = Console(file=file, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH
    _say(console, headline)
    for section in parts:
        console.print()
        _say(console, section.title, style="bold")
        for i, part in enumerate(_parts(section, console.width)):
            _say(console, "") if i else None
            _print_table(console, part)
        for line in section.lines:
            _say(console, line, indent="  ")


def _say(console: "Console", line: str, *, indent: str = "", style: str | None = None) -> None:
    wrapped = fill(
        printable(line, console.encoding),
        width=console.width,
        initial_indent=indent,
        subsequent_indent=indent * 2,
        break_long_words=False,
        break_on_hyphens=False,
    )
    console.print(wrapped, style=style, soft_wrap=True)


def _parts(section: Section, width: int) -> Iterator[Section]:
    """As many columns at once as there is room for, the first one always."""
    if not section.rows:
        return
    if not section.is_by_group:
        yield section
        return
    columns = list(zip(section.head, *section.rows, strict=True))
    wide = [min(max(map(len, column)), WIDEST_CELL) + 2 for column in columns]
    wide[0] = max(map(len, columns[0])) + 2
    taken: list[int] = []
    for i in range(1, len(columns)):
        if taken and wide[0] + sum(wide[j] for j in taken) + wide[i] > width:
            yield _only(section, taken)
            taken = []
        taken.append(i)
    yield _only(section, taken)


def _only(section: Section, columns: Sequence[int]) -> Section:
    """The first column and these."""
    head, *rows = [tuple(row[i] for i in (0, *columns)) for row in (section.head, *section.rows)]
    return replace(section, head=head, rows=tuple(rows))


def _print_table(console: "Console", section: Section) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=True, header_style="")
    for i, name in enumerate(section.head):
        justify = "right" if section.is_numeric and i else "left"
        table.add_column(printable(name, console.encoding), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in section.rows:
        table.add_row(*(printable(cell, console.encoding) for cell in row))
    console.print(table)
