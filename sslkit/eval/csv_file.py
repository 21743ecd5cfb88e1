"""Tables of evaluators as CSV files."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a heading and rows in UTF-8, making the folder where it is missing; gives back the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(heading)
        table.writerows(rows)
    return path
