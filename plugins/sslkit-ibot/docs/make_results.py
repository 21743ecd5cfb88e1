"""Writes the README's table from run directories NAME-SEED, such as ibot/dino-0.

python docs/make_results.py FOLDER [README]

Of each run it reads `run.json` and `metrics.jsonl`; what has not finished is named and left out.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
ARMS = {
    "dino": "DINO",
    "ibot": "iBOT",
    "dino_koleo": "DINO + KoLeo",
    "ibot_koleo": "iBOT + KoLeo",
    "dino_masks": "DINO, masked, no patch loss",
    "ibot_random": "iBOT, single patches hidden",
    "ibot_soft": "iBOT, patch teacher at .04",
}
"""Names of runs and what they are called, in the table's order; others follow by their own names."""
COLUMNS = {
    "kNN": "knn/top1_k10",
    "the very object": "knn/instance_top1_k10",
    "patch: class": "patch_knn/object_class",
    "patch: Jaccard": "patch_knn/jaccard",
    "CLS attention: Jaccard": "attention/jaccard_fixed_60",
    "RankMe": "health/rankme",
}
STEP = "step / DINO"
WARM_UP = 20
"""Steps at the start that are not timed."""


@dataclass(frozen=True)
class Run:
    """What one run gave."""

    arm: str
    seed: int
    record: dict[str, Any]
    before: dict[str, float]
    after: dict[str, float]
    step_seconds: float
    verdict: str


def main(folder: Path, readme: Path) -> None:
    runs = [run for path in sorted(folder.glob("*-*")) if (run := read(path)) is not None]
    if not runs:
        sys.exit(f"no finished run NAME-SEED in {folder}")
    text = readme.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    readme.write_text(f"{text[:start]}\n{table(runs)}\n\n{about(runs)}\n{text[end:]}")


def read(path: Path) -> Run | None:
    record = json.loads(file.read_text()) if (file := path / "run.json").exists() else {}
    if record.get("status") != "finished":
        print(f"{path} is left out: {record.get('status', 'no run.json')}", file=sys.stderr)
        return None
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    evals = [line for line in lines if line["kind"] == "eval"]
    # A record's speed is of images; all runs have batches of one size, and only ratios are shown.
    speeds = [line["images_per_second"] for line in steps[WARM_UP:] or steps]
    arm, seed = path.name.rsplit("-", 1)
    return Run(
        arm,
        int(seed),
        record,
        metrics(line for line in evals if line["step"] == 0),
        metrics(line for line in evals if line["step"] == record["step"]),
        1 / median(speeds),
        next((line["verdict"] for line in reversed(lines) if line["kind"] == "health"), "healthy"),
    )


def metrics(evals: Iterable[dict[str, Any]]) -> dict[str, float]:
    return {f"{e['evaluator']}/{name}": value for e in evals for name, value in e["metrics"].items()}


def table(runs: Sequence[Run]) -> str:
    arms = defaultdict(list)
    for run in runs:
        arms[run.arm].append(run)
    untrained = {run.seed: run.before for run in runs}  # networks of one seed start alike in all arms
    dino = [run.step_seconds for run in arms["dino"]]
    rows = [["", *COLUMNS, STEP], ["---", *["---:"] * (len(COLUMNS) + 1)]]
    rows.append(["untrained", *cells(untrained.values()), ""])
    for arm in sorted((arm for arm in arms if arms[arm]), key=[*ARMS, *sorted(arms)].index):
        cost = mean(run.step_seconds for run in arms[arm]) / mean(dino) if dino else None
        name = ARMS.get(arm, arm) + unhealthy(arms[arm])
        rows.append([name, *cells(run.after for run in arms[arm]), "" if cost is None else f"{cost:.2f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(found: Iterable[dict[str, float]]) -> list[str]:
    per_seed = list(found)
    return [cell([numbers[key] for numbers in per_seed if key in numbers]) for key in COLUMNS.values()]


def cell(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    if not values:
        return "-"
    return number(mean(values)) + (f" ± {number(stdev(values))}" if len(values) > 1 else "")


def number(value: float) -> str:
    """.812, but 5.56."""
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3g}"


def unhealthy(runs: Sequence[Run]) -> str:
    verdicts = [run.verdict for run in runs if run.verdict != "healthy"]
    return f" ({len(verdicts)} of {len(runs)}: {', '.join(sorted(set(verdicts)))})" if verdicts else ""


def about(runs: Sequence[Run]) -> str:
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    steps, devices, torch = (
        " or ".join(sorted({str(value) for value in values}))
        for values in (
            (run.record["step"] for run in runs),
            (run.record["device"] for run in runs),
            (run.record["packages"]["torch"] for run in runs),
        )
    )
    return f"*Mean ± standard deviation over seeds {seeds}; {steps} steps on {devices}, torch {torch}.*"


if __name__ == "__main__":
    here = Path(__file__).parents[1] / "README.md"
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else here)
