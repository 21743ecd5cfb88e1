"""What a run directory says of its run, read back for the page."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from sslkit.train.rundir import RunDirectory
from sslkit.train.wording import clock, counted, knn_key, number, percent

SHARE = re.compile(
    r"(^|_)(top\d|accuracy|map|micro_ap|jaccard|corloc|precision|recall|on_object|knn|retrieved|gain|nmi"
    r"|hungarian|purity|majority|object|ground)(_|\d|$)"
)
"""What keys of numbers hold that are read in per cent, as far as they are in [-1, 1]."""
CHANCE = {("patch_game", "accuracy"): 0.5}
"""What guessing reaches where the classes do not say it."""
MOST_HEADLINES = 9
FIRST = ("knn", "linear", "retrieval", "copies", "attention", "patch_game")
"""Evaluators in their order; the others follow."""
HEADLINES = {
    "linear": ("top1", "Linear classifier, class"),
    "retrieval": ("map_class", "Retrieval, mAP by class"),
    "attention": ("jaccard_best_60", "Attention masks, Jaccard of the best head"),
    "health": ("rankme", "RankMe"),
    "prototypes": ("used", "Prototypes in use"),
    "patch_game": ("accuracy", "Patch discrimination"),
    "invariance": None,
}
"""By evaluator the number that it is told by, and its name; None: none. Of others the first number."""


@dataclass(frozen=True)
class Run:
    """A run, as it is on disk."""

    directory: RunDirectory
    record: Mapping[str, Any]
    """`run.json`."""
    recipe: Mapping[str, Any]
    recipe_text: str
    records: Sequence[Mapping[str, Any]]
    """`metrics.jsonl`."""

    @property
    def name(self) -> str:
        return str(self.recipe.get("name") or self.directory.path.name)

    @property
    def steps(self) -> int:
        return max((int(r["step"]) for r in self.records), default=int(self.record.get("step") or 0))

    @property
    def classes(self) -> int | None:
        """Of the data that the evaluators are asked on, where it is known."""
        own = (self.recipe.get("eval") or {}).get("data") is None
        return (self.record.get("setup") or {}).get("num_classes") if own else None

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing the class."""
        return 1 / self.classes if self.classes else None

    @property
    def prototypes(self) -> int | None:
        """K of the head; None without a softmax over outputs."""
        return (self.recipe.get("method") or {}).get("out_dim")

    @cached_property
    def verdicts(self) -> list[Mapping[str, Any]]:
        return [r for r in self.records if r["kind"] == "health"]

    def evals(self) -> dict[str, list[Mapping[str, Any]]]:
        """Evaluations by evaluator and data set, by step; of two at one step the later one."""
        found: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
        for record in self.records:
            if record["kind"] == "eval":
                key = record["evaluator"], record.get("dataset", "")
                found.setdefault(key, {})[record["step"]] = record
        names = sorted(found, key=lambda key: FIRST.index(key[0]) if key[0] in FIRST else len(FIRST))
        several = {name for name, _ in names if [n for n, _ in names].count(name) > 1}
        return {
            f"{name} on {data}" if name in several else name: [
                found[name, data][s] for s in sorted(found[name, data])
            ]
            for name, data in names
        }


def read_run(run_dir: Path) -> Run:
    """Raises `OSError` without a recipe; anything else may be missing."""
    import yaml

    from sslkit.train.trackers import read_records

    directory = RunDirectory(run_dir)
    text = directory.recipe.read_text("utf-8")
    records = list(read_records(directory.metrics)) if directory.metrics.is_file() else []
    return Run(directory, directory.read_record(), yaml.safe_load(text), text, records)


# --- numbers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One number of an evaluation, as it is told."""

    label: str
    value: float | None
    is_share: bool
    low: float | None = None
    high: float | None = None
    count: int | None = None
    untrained: float | None = None
    chance: float | None = None
    dataset: str = ""

    def told(self, value: float | None) -> str:
        if value is None:
            return "not finite"
        if self.is_share:
            return percent(value)
        return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else number(value)

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        low, high = self.told(self.low), self.told(self.high)
        return f"{low.removesuffix(' %')} to {high}"

    @property
    def bar(self) -> dict[str, float | None] | None:
        """Positions on a scale of 0 to 100."""
        if not self.is_share or self.value is None or self.value < 0:
            return None
        places = {"low": self.low, "high": self.high, "untrained": self.untrained, "chance": self.chance}
        known = {name: None if x is None else round(100 * x, 2) for name, x in places.items()}
        return {"value": round(100 * self.value, 2), **known}


def figures(name: str, records: Sequence[Mapping[str, Any]], classes: int | None = None) -> list[Figure]:
    """All numbers of an evaluator's last record, beside its first one of step 0."""
    first, last = records[0], records[-1]
    before = first["metrics"] if first["step"] == 0 and first is not last else {}
    return [_figure(name, key, last, before, classes) for key in last["metrics"]]


def _figure(
    name: str, key: str, last: Mapping[str, Any], before: Mapping[str, Any], classes: int | None
) -> Figure:
    value = _finite(last["metrics"][key])
    low, high = ((last.get("intervals") or {}).get(key) or (None, None))[:2]
    is_share = SHARE.search(key) is not None and value is not None and -1 <= value <= 1
    return Figure(
        label=key,
        value=value,
        is_share=is_share,
        low=_finite(low),
        high=_finite(high),
        count=(last.get("counts") or {}).get(key),
        untrained=_finite(before.get(key, last["metrics"].get(f"random_{key}"))),
        chance=_chance(last["evaluator"], key, classes),
        dataset=str(last.get("dataset", "")),
    )


def _chance(evaluator: str, key: str, classes: int | None) -> float | None:
    if classes and evaluator in ("knn", "linear") and key.startswith("top"):
        return min(1.0, int(key[3]) / classes) if key[3:4].isdigit() else None
    return CHANCE.get((evaluator, key))


def headlines(run: Run) -> list[Figure]:
    """The number that each evaluator is told by, first those that the paper tells."""
    chosen = []
    for name, records in run.evals().items():
        by_key = {figure.label: figure for figure in figures(name, records, run.classes)}
        for key, label in _told_by(records[-1]):
            where = name.removeprefix(records[-1]["evaluator"])
            chosen.append(replace(by_key[key], label=f"{label}{where}"))
    return chosen[:MOST_HEADLINES]


def _told_by(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys of a record's numbers, and what they are called."""
    name, metrics = record["evaluator"], record["metrics"]
    if name == "knn":
        for start, what in (("top1_k", "class"), ("instance_top1_k", "the very object")):
            key = knn_key(metrics, start)
            if key is not None:
                yield key, f"kNN, {what} (k = {key.removeprefix(start)})"
        return
    first = next(iter(metrics), "")
    chosen = HEADLINES.get(name, (first, f"{name}, {first.replace('_', ' ')}"))
    if chosen is not None and metrics:
        yield chosen if chosen[0] in metrics else (first, f"{name}, {first.replace('_', ' ')}")


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


# --- words -------------------------------------------------------------------------------------------------


def in_short(run: Run) -> list[str]:
    """What was run, in a few words each."""
    recipe, record = run.recipe, run.record
    data = recipe.get("data") or {}
    root = data.get("root")
    parts = [
        str((recipe.get("method") or {}).get("name", "")),
        str((recipe.get("backbone") or {}).get("name", "")),
        f"{data.get('name', '')} {Path(root).name if root else ''}".strip(),
        counted(run.steps, "step"),
        _took(record),
        _day(record),
    ]
    return [part for part in parts if part]


def _took(record: Mapping[str, Any]) -> str:
    try:
        start, end = (datetime.fromisoformat(record[key]) for key in ("started", "ended"))
    except (KeyError, TypeError, ValueError):
        return ""
    return "" if record.get("resumed") else clock((end - start).total_seconds())


def _day(record: Mapping[str, Any]) -> str:
    try:
        moment = datetime.fromisoformat(record["started"])
    except (KeyError, TypeError, ValueError):
        return ""
    return f"{moment.day} {moment:%B %Y}"
