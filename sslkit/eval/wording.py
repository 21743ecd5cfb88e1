"""What evaluators found, in words: a table of numbers, then what they mean."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import Any

from sslkit.core.evaluator import Result
from sslkit.eval.evaluate import Skipped
from sslkit.train.wording import counted

HEADINGS = ("metric", "value", "95 % interval", "images")
NONE = "-"
"""Stands where there is no number."""


@dataclass(frozen=True)
class Measured:
    """What the numbers were measured on."""

    dataset: str
    images: int
    crop: int
    """Side of the images as the network saw them, pixels."""
    step: int | None
    """The step that the run stood at; None: there is no run."""


def told(found: Mapping[str, Result | Skipped], place: Measured, width: int) -> Iterator[str]:
    """Lines for a person, at most `width` columns wide where words can be broken."""
    at = "" if place.step is None else f", step {place.step:,}"
    yield f"on {place.dataset}: {counted(place.images, 'image')} of {place.crop} px{at}"
    for name, result in found.items():
        yield ""
        if isinstance(result, Result):
            yield name
            yield from _result(result, width)
        else:
            yield f"{name} is skipped: {result.reason}"


def _result(result: Result, width: int) -> Iterator[str]:
    if result.metrics:
        yield from _table([HEADINGS, *(_row(result, key) for key in result.metrics)], width)
    for note in result.notes:
        yield from wrap(
            note, max(width, 40), initial_indent="  ", subsequent_indent="  ", break_long_words=False
        )
    for title, path in {**result.figures, **result.tables}.items():
        yield f"  {title}: {path}"


def _row(result: Result, key: str) -> tuple[str, ...]:
    low, high = result.intervals.get(key, (math.nan, math.nan))
    interval = NONE if math.isnan(low) or math.isnan(high) else f"[{number(low)}, {number(high)}]"
    count = f"{result.counts[key]:,}" if key in result.counts else NONE
    return key, number(result.metrics[key]), interval, count


def _table(rows: list[tuple[str, ...]], width: int) -> Iterator[str]:
    """Aligned columns; where they find no room, a metric takes two lines."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if 2 + sum(widths) + 2 * (len(widths) - 1) <= width:
        for row in rows:
            first, *others = (f"{cell:{side}{w}}" for cell, side, w in zip(row, "<>>>", widths, strict=True))
            yield f"  {'  '.join((first, *others))}"
        return
    for metric, value, interval, count in rows[1:]:
        yield f"  {metric}"
        yield f"    {value}  {interval}  {count}".rstrip()


def number(value: float) -> str:
    """Four decimals or three digits of what is small, whole numbers as they are."""
    if not math.isfinite(value):
        return NONE
    if value == round(value) and abs(value) >= 2:
        return f"{value:,.0f}"
    if 0 < abs(value) < 0.01:
        return f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"


def as_record(found: Mapping[str, Result | Skipped], place: Measured) -> dict[str, Any]:
    """The same for a program, by evaluator; what is not finite is None."""
    return {name: {**asdict(place), **_plain(result)} for name, result in found.items()}


def _plain(result: Result | Skipped) -> dict[str, Any]:
    if isinstance(result, Skipped):
        return {"skipped": result.reason}
    return {
        "metrics": {key: _finite(value) for key, value in result.metrics.items()},
        "intervals": {key: [_finite(end) for end in ends] for key, ends in result.intervals.items()},
        "counts": dict(result.counts),
        "figures": {title: str(path) for title, path in result.figures.items()},
        "tables": {title: str(path) for title, path in result.tables.items()},
        "notes": list(result.notes),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
