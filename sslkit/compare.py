"""The door to a comparison: run directories in; settings that differ, tables and curves out."""

import json
from collections.abc import Sequence
from pathlib import Path

from sslkit.comparison.groups import grouped
from sslkit.comparison.reading import read_run
from sslkit.comparison.result import Budget, Comparison, as_record, choose_metrics
from sslkit.comparison.settings import differences
from sslkit.comparison.tables import as_csv, markdown, show
from sslkit.errors import RunError
from sslkit.train.rundir import RunDirectory, claim, write_aside

__all__ = ["Comparison", "as_record", "compare", "markdown", "save", "show"]


def compare(runs: Sequence[str | Path], metrics: Sequence[str] = ()) -> Comparison:
    """Read runs, as far as each came, and put those that differ only in the seed together.

    Args:
        runs: two or more run directories.
        metrics: `evaluator.key` words, such as "knn.top1_k20"; the usual ones if empty.

    Raises:
        SslkitError: fewer than two runs, one of them twice, none at all or without metrics; no such metric.
    """
    paths = [Path(run) for run in runs]
    places = [path.resolve() for path in paths]
    twice = [path for i, path in enumerate(paths) if places[i] in places[:i]]
    if twice:
        raise RunError(f"{twice[0]} is given twice\n  name each run once")
    if len(paths) < 2:
        got = f"only {paths[0]} is given" if paths else "no run is given"
        raise RunError(f"{got}, but a comparison needs two runs or more\n  sslkit compare RUN RUN ...")
    found = [read_run(path) for path in paths]
    groups = grouped(found)
    return Comparison(
        groups=tuple(groups),
        metrics=choose_metrics(found, metrics),
        budget=Budget.shared_by(groups),
        differences=differences([g.settings for g in groups], [g.runs for g in groups]),
    )


def save(comparison: Comparison, out: str | Path | None = None) -> list[Path]:
    """Write table.md, table.csv, comparison.json and, where anything was evaluated, comparison.png.

    Args:
        out: a new or empty folder; by default the next free `comparison`.

    Raises:
        RunError: the folder holds something already, or cannot be created.
    """
    folder = claim(RunDirectory(Path(out or "comparison")), free_name=out is None).path
    texts = {
        "table.md": markdown(comparison),
        "table.csv": as_csv(comparison),
        "comparison.json": json.dumps(as_record(comparison), indent=1, ensure_ascii=False) + "\n",
    }
    for name, text in texts.items():
        write_aside(folder / name, text)
    written = [folder / name for name in texts]
    if not comparison.metrics:
        return written
    from sslkit.comparison.figure import FILE_NAME, draw  # late: errors need no torch

    return [*written, draw(comparison, folder / FILE_NAME)]
