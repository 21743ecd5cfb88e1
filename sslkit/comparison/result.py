"""Groups of runs side by side: which metrics, at which moments, at what cost."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sslkit.comparison.groups import Group, Spread
from sslkit.comparison.reading import Point, Run
from sslkit.comparison.settings import MISSING, Differences, Setting
from sslkit.errors import RunError, indented, nearest

EARLY = 0.9
"""A last evaluation before this share of the budget is told of."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Budget:
    """What every group has had: the smallest number of images seen, and the shortest training time."""

    images: int
    images_of: str
    """The group that sets it."""
    seconds: float | None
    """None where no group's time is known."""
    seconds_of: str | None

    @classmethod
    def shared_by(cls, groups: Sequence[Group]) -> "Budget":
        fewest = min(groups, key=lambda group: group.images)
        times = [(group.seconds, group.name) for group in groups if group.seconds is not None]
        seconds, name = min(times, default=(None, None))
        return cls(fewest.images, fewest.name, seconds, name)


MOMENTS = {
    "untrained": "untrained",
    "end": "at the end",
    "equal_images": "equal images",
    "equal_time": "equal time",
}
"""When a metric is looked at, as keys and in words."""


@dataclass(frozen=True)
class Comparison:
    """Everything that is known of some groups of runs."""

    groups: tuple[Group, ...]
    metrics: tuple[str, ...]
    """As `evaluator.key`; the first is the one that is drawn."""
    budget: Budget
    differences: Differences

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    def points(self, group: Group, metric: str, moment: str) -> list[Point | None]:
        """The evaluation of each run that stands for a moment: one that was made, or None."""
        return [self._point(group, run.curves.get(metric, ()), moment) for run in group.runs]

    def spread(self, group: Group, metric: str, moment: str) -> Spread:
        """The metric's values at a moment."""
        return Spread(tuple(None if p is None else p.value for p in self.points(group, metric, moment)))

    def _point(self, group: Group, curve: Sequence[Point], moment: str) -> Point | None:
        if moment == "untrained":
            return next((p for p in curve if p.step == 0), None)
        trained = [p for p in curve if p.step > 0 and self._share(group, p, moment) <= 1 + ROUNDING]
        return trained[-1] if trained else None

    def _share(self, group: Group, point: Point, moment: str) -> float:
        """Of the budget that was used up by then; inf where it is not known."""
        if moment == "end":
            return 0.0
        if moment == "equal_images":
            return point.images / self.budget.images if self.budget.images else math.inf
        seconds = group.seconds_until(point.step)
        return seconds / self.budget.seconds if seconds and self.budget.seconds else math.inf

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before the numbers."""
        return [*self._warnings()]

    def _warnings(self) -> Iterator[str]:
        if self.differences.of_evaluation:
            keys = ", ".join(self.differences.of_evaluation)
            yield f"not evaluated alike, so the metrics are not comparable: {keys}"
        for group in self.groups:
            twice = [seed for seed, count in Counter(run.seed for run in group.runs).items() if count > 1]
            if twice:
                yield f"{group.name} has more than one run of seed {twice[0]}: its spread is too small"
        for moment in ("equal_images", "equal_time"):
            early = [
                f"{g.name} at {share:.0%}" for g in self.groups if (share := self._used(g, moment)) < EARLY
            ]
            if early:
                yield f"{MOMENTS[moment]}: last evaluated well before all was used: {', '.join(early)}"

    def _used(self, group: Group, moment: str) -> float:
        """How much of the budget a group had used at its last evaluation within it; 1 where there is none."""
        points = [p for metric in self.metrics[:1] for p in self.points(group, metric, moment) if p]
        return min((self._share(group, p, moment) for p in points), default=1.0)


# --- cost --------------------------------------------------------------------------------------------------


def _milliseconds(run: Run) -> float | None:
    return None if run.seconds is None else 1000 * run.seconds / int(run.steps[-1]["step"])


def _memory(where: str, run: Run) -> float | None:
    found = (run.record.get("peak_memory_mib") or {}).get(where)
    return None if found is None else float(found)


@dataclass(frozen=True)
class Column:
    """One number of each run."""

    key: str
    value: Callable[[Run], float | None]

    def spread(self, group: Group) -> Spread:
        return Spread(tuple(self.value(run) for run in group.runs))


COST = (
    Column("loss", lambda run: run.loss),
    Column("steps", lambda run: run.step),
    Column("images", lambda run: run.images),
    Column("epochs", lambda run: run.step / run.steps_per_epoch if run.steps_per_epoch else None),
    Column("minutes", lambda run: None if run.seconds is None else run.seconds / 60),
    Column("ms_per_step", _milliseconds),
    Column("memory_mib", partial(_memory, "process")),
    Column("device_memory_mib", partial(_memory, "device")),
)
"""What training took: loss of the last step, length, time, peak memory."""


# --- which metrics -----------------------------------------------------------------------------------------


def choose_metrics(runs: Sequence[Run], asked: Sequence[str]) -> tuple[str, ...]:
    """The metrics to compare: those asked for, else the usual ones that are there.

    Raises:
        RunError: no run has the metric; the message has the valid ones.
    """
    valid = sorted({key for run in runs for key in run.curves})
    for key in asked:
        if key not in valid:
            raise RunError(
                f"no run has the metric '{key}'{nearest(key, valid)}"
                + indented(f"valid: {', '.join(valid) or 'none, nothing was evaluated'}")
            )
    return tuple(dict.fromkeys(asked)) or _usual(runs, valid)


def _usual(runs: Sequence[Run], valid: Sequence[str]) -> tuple[str, ...]:
    k = _smallest_k(runs)
    wanted = [f"knn.top1_k{k}", f"knn.instance_top1_k{k}"]
    wanted += [key for key in valid if key.startswith("linear.top1")][:1]
    wanted += [key for key in valid if re.fullmatch(r"[^.]*patch[^.]*\.accuracy.*", key)][:1]
    found = [key for key in wanted if key in valid]
    firsts = {key.partition(".")[0]: key for key in reversed(valid)}
    return tuple(found or sorted(firsts.values()))


def _smallest_k(runs: Sequence[Run]) -> int | None:
    """The smallest k of kNN that all runs with kNN have, or else that any has."""
    each = [{int(key[len("knn.top1_k") :]) for key in run.curves if _is_knn(key)} for run in runs]
    asked = [ks for ks in each if ks]
    shared = set.intersection(*asked) if asked else set()
    return min(shared or set().union(*asked), default=None)


def _is_knn(key: str) -> bool:
    return re.fullmatch(r"knn\.top1_k\d+", key) is not None


# --- as plain values ---------------------------------------------------------------------------------------


def as_record(comparison: Comparison) -> dict[str, Any]:
    """All of it for JSON."""
    names = [group.name for group in comparison.groups]
    shared, ran = comparison.differences.shared, comparison.differences.ran
    budget = comparison.budget
    return {
        "metrics": list(comparison.metrics),
        "budget": {
            "images": budget.images,
            "images_of": budget.images_of,
            "seconds": budget.seconds,
            "seconds_of": budget.seconds_of,
        },
        "warnings": comparison.warnings,
        "settings": {
            "shared": [{**_row(s, names), "changes_evaluation": s.changes_evaluation} for s in shared],
            "own": dict(zip(names, map(dict, comparison.differences.own), strict=True)),
            "ran": [_row(setting, names) for setting in ran],
        },
        "groups": [_group_record(comparison, group) for group in comparison.groups],
    }


def _row(setting: Setting, names: Sequence[str]) -> dict[str, Any]:
    """A key with the value of each group that has it."""
    values = {name: value for name, value in zip(names, setting.values, strict=True) if value is not MISSING}
    return {"key": setting.key, "values": {name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else None if value is MISSING else value


def _group_record(comparison: Comparison, group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "method": group.runs[0].method,
        "seeds": group.seeds,
        "marks": group.marks,
        "metrics": {
            metric: {moment: _moment_record(comparison, group, metric, moment) for moment in MOMENTS}
            for metric in comparison.metrics
        },
        "cost": {column.key: _spread_record(column.spread(group)) for column in COST},
        "runs": [_run_record(run, comparison.metrics) for run in group.runs],
    }


def _moment_record(comparison: Comparison, group: Group, metric: str, moment: str) -> dict[str, Any]:
    steps = [p and p.step for p in comparison.points(group, metric, moment)]
    return {**_spread_record(comparison.spread(group, metric, moment)), "steps": steps}


def _spread_record(spread: Spread) -> dict[str, Any]:
    return {"mean": spread.mean, "sd": spread.sd, "values": list(spread.values)}


def _run_record(run: Run, metrics: Sequence[str]) -> dict[str, Any]:
    curves = {metric: [vars(p) for p in run.curves.get(metric, ())] for metric in metrics}
    status = run.record.get("status")
    return {"path": str(run.path), "seed": run.seed, "status": status, "mark": run.mark, "curves": curves}
