"""What MLflow is told, from what a run says: numbers, parameters, words."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sslkit.core.tracker import Record

LEFT_OUT = ("closing", "expect", "trackers")
"""Sections of a recipe that are no parameters of an experiment."""
_NOT_IN_NAMES = re.compile(r"[^\w.\- :/]")


def measured(record: Record) -> dict[str, float]:
    """The numbers of a step or eval record, by names such as `train/loss` and `knn/top1_k20`.

    What is not finite is left out: the curve has a gap there.
    """
    kind = record.get("kind")
    if kind not in ("step", "eval"):
        return {}
    is_step = kind == "step"
    group, values = ("train", record) if is_step else (record["evaluator"], record["metrics"])
    return {allowed(f"{group}/{key}"): float(value) for key, value in values.items() if _is_drawn(key, value)}


def _is_drawn(key: str, value: Any) -> bool:
    return key != "step" and isinstance(value, int | float) and math.isfinite(value)


def parameters(recipe: Mapping[str, Any]) -> dict[str, str]:
    """A recipe as flat names and words: {"method.out_dim": "128", "augment.flip.p": "0.5", ...}.

    Lists and empty sections are one parameter, written as JSON.
    """
    kept = {section: value for section, value in recipe.items() if section not in LEFT_OUT}
    return {allowed(name): _worded(value) for name, value in _flat(kept, "")}


def _flat(section: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _worded(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def verdict(record: Record) -> str:
    """A health record in one line."""
    return ": ".join(str(record[key]) for key in ("verdict", "cause", "advice") if record.get(key))


def allowed(name: str) -> str:
    """The name with "_" for each character that MLflow takes in no name."""
    return _NOT_IN_NAMES.sub("_", name)
