"""How well label-free numbers choose a checkpoint, over runs that were evaluated by kNN and health.

    python docs/choose_checkpoint.py RUNS... [--metric top1_k20]

RUNS: run directories, trained with eval.evaluators.health={} beside knn and with several evaluations. Prints
the tables, and writes them between the marks of docs/evaluation/choosing.md.
"""

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import yaml

from sslkit.eval.choice import FEWEST, Checkpoints, checkpoints_of, table
from sslkit.train.trackers import on_own_data, read_records
from sslkit.train.wording import counted

PAGE = Path(__file__).parent / "evaluation" / "choosing.md"
MARK = "<!-- choosing -->"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--metric", default="top1_k20", help="of kNN")
    asked = parser.parse_args()
    runs = sorted((method_of(run), run) for run in asked.runs)
    found = [(method, read(run, asked.metric)) for method, run in runs]
    usable = [(method, run) for method, run in found if len(run.accuracy) >= FEWEST]
    if not usable:
        parser.error(f"none of the runs has {FEWEST} evaluations with both knn and health")
    lines = tables(usable)
    print("\n".join(lines))
    before, _, after = PAGE.read_text().split(MARK)
    PAGE.write_text("\n".join([f"{before}{MARK}", *lines, f"{MARK}{after}"]))


def read(run: Path, metric: str) -> Checkpoints:
    return checkpoints_of(on_own_data(read_records(run / "metrics.jsonl")), metric)


def method_of(run: Path) -> str:
    return str(yaml.safe_load((run / "recipe.yaml").read_text())["method"]["name"])


def tables(runs: Sequence[tuple[str, Checkpoints]]) -> list[str]:
    """All runs together, then each method's with at least `FEWEST` runs."""
    lines = paragraph("All methods", [run for _, run in runs])
    for method, group in groupby(runs, key=lambda pair: pair[0]):
        of_method = [run for _, run in group]
        if FEWEST <= len(of_method) < len(runs):
            lines += paragraph(method, of_method)
    return lines


def paragraph(name: str, runs: Sequence[Checkpoints]) -> list[str]:
    evaluations = sum(len(run.accuracy) for run in runs)
    heading = f"**{name}**: {counted(len(runs), 'run')}, {counted(evaluations, 'evaluation')}"
    return ["", heading, "", *table(runs), ""]


if __name__ == "__main__":
    main()
