"""Run directories written by hand, for comparisons whose numbers are known."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sslkit.comparison.result import COST, Comparison

BATCH = 10
RECIPE: dict[str, Any] = {
    "sslkit": 1,
    "name": "hand",
    "seed": 0,
    "method": {"name": "dino", "out_dim": 16},
    "backbone": {"name": "vit", "args": {}},
    "augment": {"name": "multicrop", "global_size": 32},
    "data": {"name": "demo", "root": None, "workers": 2, "count": 100},
    "optim": {"batch_size": BATCH, "lr": 0.1, "epochs": 4},
    "runtime": {"precision": "fp32", "threads": 1, "max_steps": None},
    "checkpoint": {"keep": 2},
    "eval": {"every_epochs": 1, "crop": 32, "data": None, "evaluators": {"knn": {"k": [10]}}},
}
KNN = "knn.top1_k10"


def write_run(
    path: Path,
    *,
    evals: Mapping[int, Mapping[str, float | None]] | None = None,
    steps: Iterable[int] = range(1, 41),
    speed: float = 10.0,
    status: str = "finished",
    more: Iterable[Mapping[str, Any]] = (),
    record: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A run directory; `changes` by dotted key, with __ for the dot; None in `evals` is a NaN."""
    path.mkdir(parents=True)
    recipe = json.loads(json.dumps(RECIPE))
    for key, value in changes.items():
        *sections, last = key.split("__")
        section = recipe
        for name in sections:
            section = section[name]
        section[last] = value
    (path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    known = {"status": status, "setup": {"steps_per_epoch": 10}, "device": "cpu", "threads": 1}
    (path / "run.json").write_text(json.dumps({**known, **(record or {})}))
    lines: list[Mapping[str, Any]] = [
        {"kind": "step", "step": n, "loss": 4 / n, "images_per_second": speed} for n in steps
    ]
    for step, metrics in (evals or {0: {"top1_k10": 0.1}, 40: {"top1_k10": 0.5}}).items():
        lines.append(knn(step, metrics))
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, *more]))
    return path


def knn(
    step: int, metrics: Mapping[str, float | None], *, evaluator: str = "knn", dataset: str = "demo/val"
) -> dict[str, Any]:
    return {"kind": "eval", "step": step, "evaluator": evaluator, "dataset": dataset, "metrics": metrics}


def names(comparison: Comparison) -> list[str]:
    return [group.name for group in comparison.groups]


def at(comparison: Comparison, moment: str, metric: str = KNN) -> list[tuple[float | None, ...]]:
    """The values of each group's runs."""
    return [comparison.spread(group, metric, moment).values for group in comparison.groups]


def cost(comparison: Comparison, key: str) -> list[tuple[float | None, ...]]:
    (column,) = (column for column in COST if column.key == key)
    return [column.spread(group).values for group in comparison.groups]


def shared(comparison: Comparison) -> dict[str, tuple[Any, ...]]:
    return {setting.key: setting.values for setting in comparison.differences.shared}


def climbing(*steps: int) -> dict[int, dict[str, float | None]]:
    return {step: {"top1_k10": step / 100} for step in steps}
