"""The curves of a run, made ready for the page's charts."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sslkit.report.curves import SMOOTHED_FROM, Line, Panel, panels, running_mean

MOST_POINTS = 1500
"""Of a line; of more, means of neighbours are drawn."""


def drawn(records: Sequence[Mapping[str, Any]], prototypes: int | None, chance: float | None) -> list[Panel]:
    """What `curves.png` shows, the loss and the evaluations first."""
    found = [_over_time(panel) for panel in panels(records, prototypes, chance)]
    return sorted(found, key=lambda panel: not (panel.title == "Loss" or panel.is_share))


def _over_time(panel: Panel) -> Panel:
    """Without evaluations that were made but once, where others were made more often."""
    often = {label: line for label, line in panel.lines.items() if len(line[0]) > 1}
    return replace(panel, lines=often) if panel.is_share and often else panel


def curves(found: Sequence[Panel]) -> list[dict[str, Any]]:
    """Those that change, as charts."""
    return [_chart(panel) for panel in found if _constant(panel) is None]


def constants(found: Sequence[Panel]) -> list[str]:
    """Those that do not, in words."""
    known = ((panel.title.lower(), _constant(panel)) for panel in found)
    return [f"{title} {value:g}" for title, value in known if value is not None]


def _constant(panel: Panel) -> float | None:
    """The value that a panel's only line has throughout."""
    (_, values), *others = panel.lines.values()
    if others or panel.is_share or len(values) < 3 or max(values) - min(values) > 1e-6 * abs(values[0]):
        return None
    return values[0]


def _chart(panel: Panel) -> dict[str, Any]:
    scale = 100 if panel.is_share else 1
    level = None
    if panel.level is not None:
        level = {"value": _number(panel.level[0] * scale), "meaning": panel.level[1]}
    values = [v for _, line in panel.lines.values() for v in line if math.isfinite(v)]
    return {
        "title": panel.title,
        "unit": panel.unit,
        "lines": [_line(label, line, scale, panel.is_noisy) for label, line in panel.lines.items()],
        "level": level,
        "marks": panel.is_share,
        "log": panel.is_log and all(v > 0 for v in values),
        "zero": panel.is_share or panel.from_zero,
    }


def _line(label: str, line: Line, scale: float, is_noisy: bool) -> dict[str, Any]:
    steps, values = np.array(line[0], dtype=np.float64), np.array(line[1], dtype=np.float64) * scale
    chunk = -(-len(steps) // MOST_POINTS)
    smooth = None
    if is_noisy and len(values) >= SMOOTHED_FROM:
        smooth = [_number(v) for v in _means(running_mean(values, len(values) // 50), chunk)]
    return {
        "label": label,
        "x": [round(float(step)) for step in _means(steps, chunk)],
        "y": [_number(v) for v in _means(values, chunk)],
        "smooth": smooth,
    }


def _means(values: npt.NDArray[np.float64], chunk: int) -> npt.NDArray[np.float64]:
    """The mean of each so many neighbours; a last group that is not full is kept."""
    padded = np.pad(values, (0, -len(values) % chunk), constant_values=np.nan).reshape(-1, chunk)
    known = np.isfinite(padded)
    sums, counts = np.where(known, padded, 0).sum(1), known.sum(1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


# --- invariance --------------------------------------------------------------------------------------------


def invariance(path: Path) -> list[dict[str, Any]] | None:
    """One line an operation from `figures/invariance/curves.csv`; None where there is none."""
    if not path.is_file():
        return None
    lines: dict[str, dict[str, Any]] = {}
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        for row in csv.DictReader(file):
            strength, similarity = _cell(row, "strength"), _cell(row, "similarity")
            if not row.get("operation") or strength is None or similarity is None:
                continue
            empty: dict[str, Any] = {
                "trained": _is_true(row.get("trained")),
                "meaning": row.get("meaning") or "",
                "x": [],
                "y": [],
                "low": [],
                "high": [],
            }
            line = lines.setdefault(row["operation"], {"label": row["operation"], **empty})
            line["x"].append(strength)
            line["y"].append(similarity)
            line["low"].append(_cell(row, "similarity_low"))
            line["high"].append(_cell(row, "similarity_high"))
    return list(lines.values()) or None


def _cell(row: Mapping[str, Any], name: str) -> float | None:
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _is_true(word: Any) -> bool:
    return str(word).strip().lower() not in ("", "0", "0.0", "false", "no", "none")
