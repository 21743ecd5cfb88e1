"""What a study shows: each arm's numbers, its paired difference to the baseline, and what follows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any

from sslkit.ablation.places import Places
from sslkit.ablation.section import MetricSection
from sslkit.ablation.statistics import Difference, Verdict, holm, paired_difference, verdict
from sslkit.ablation.study import Arm, Study
from sslkit.ablation.watch import Status, Watch, is_ill
from sslkit.comparison.groups import Group, Spread
from sslkit.comparison.reading import Point, Run, read_run
from sslkit.comparison.result import Budget, Comparison
from sslkit.comparison.settings import differences, settings_of
from sslkit.core.diagnosis import COLLAPSES
from sslkit.errors import SslkitError

EQUAL = ("equal_images", "equal_time")


@dataclass(frozen=True)
class Health:
    """The doctor's last word on a run."""

    verdict: str = ""
    cause: str = ""
    advice: str = ""

    @property
    def collapsed(self) -> bool:
        return self.verdict in COLLAPSES

    @property
    def is_ill(self) -> bool:
        return is_ill(self.verdict, self.cause)


@dataclass(frozen=True)
class Try:
    """One arm with one seed."""

    seed: int
    status: Status
    error: str
    health: Health
    run: Run | None
    """None where it did not finish: half a run is no value."""


@dataclass(frozen=True)
class Measure:
    """One metric of an arm."""

    metric: MetricSection
    values: tuple[float | None, ...]
    """One a seed; None where its run did not finish."""
    equal: Mapping[str, Spread]
    """By moment of `EQUAL`: the values at the cost that all arms have had."""
    difference: Difference | None = None
    """To the baseline, over the seeds that both have; None of the baseline itself, or without a pair."""
    adjusted: float | None = None
    """p after Holm's correction over the arms."""
    verdict: Verdict | None = None

    @property
    def spread(self) -> Spread:
        return Spread(self.values)


@dataclass(frozen=True)
class ArmResult:
    """All that is known of an arm."""

    arm: Arm
    tries: tuple[Try, ...]
    measures: tuple[Measure, ...]

    @property
    def name(self) -> str:
        return self.arm.name

    @property
    def runs(self) -> list[Run]:
        """Those that finished."""
        return [each.run for each in self.tries if each.run is not None]

    @property
    def collapsed(self) -> int:
        """How many of its runs ended collapsed."""
        return sum(each.health.collapsed for each in self.tries)

    @property
    def begun(self) -> int:
        return sum(each.status != "waiting" for each in self.tries)


@dataclass(frozen=True)
class StudyResult:
    """A study as far as it has come."""

    study: Study
    places: Places
    arms: tuple[ArmResult, ...]
    """The baseline is first."""
    budget: Budget | None
    """What all arms with a finished run have had; None before there is one."""
    warnings: tuple[str, ...] = ()
    """What a reader must know before the numbers."""

    @property
    def is_complete(self) -> bool:
        return all(each.status in ("finished", "failed") for arm in self.arms for each in arm.tries)

    @property
    def missing(self) -> int:
        """Runs that are not over."""
        return sum(each.status not in ("finished", "failed") for arm in self.arms for each in arm.tries)


def read_result(study: Study, places: Places) -> StudyResult:
    """Read every run of a study and compare the arms."""
    tries = {arm.name: tuple(_try(study, places, arm, seed) for seed in study.seeds) for arm in study.arms}
    groups = {name: _group(name, found) for name, found in tries.items()}
    known = [group for group in groups.values() if group is not None]
    budget = Budget.shared_by(known) if known else None
    arms = [
        ArmResult(arm, tries[arm.name], tuple(_measures(study, tries[arm.name], groups[arm.name], budget)))
        for arm in study.arms
    ]
    warnings = tuple(_warnings(study, known, budget)) if budget is not None else ()
    return StudyResult(study, places, tuple(_compared(arms, study.metrics)), budget, warnings)


def _warnings(study: Study, groups: Sequence[Group], budget: Budget) -> Iterator[str]:
    """As a comparison of runs has them, and whether curves can be compared as curves."""
    found = differences([group.settings for group in groups], [group.runs for group in groups])
    if all(
        arm.recipe.eval.data is not None for arm in study.arms
    ):  # what is trained on is not what is measured on
        found = replace(found, shared=tuple(s for s in found.shared if not s.key.startswith("data.")))
    names = tuple(dict.fromkeys(metric.name for metric in study.metrics))
    yield from Comparison(tuple(groups), names, budget, found).warnings
    for metric in study.metrics:
        moments = {group.name: _evaluated_at(group, metric.name) for group in groups}
        other = [name for name, at in moments.items() if at != moments[groups[0].name]]
        if metric.measured != "end" and other:
            yield (
                f"{metric.name} ({metric.measured}) is over other evaluations than {groups[0].name}'s in"
                f" {', '.join(other)}"
            )


def _evaluated_at(group: Group, metric: str) -> tuple[float, ...]:
    """The moments of a metric's evaluations, in epochs."""
    run = group.runs[0]
    return tuple(round(p.step / (run.steps_per_epoch or 1), 2) for p in run.curves.get(metric, ()))


def _try(study: Study, places: Places, arm: Arm, seed: int) -> Try:
    watch = Watch(arm.name, seed, places, study.metrics[0].name, has_ended=True)
    watch.look()
    run = None
    if watch.status == "finished":
        try:
            run = read_run(watch.directory.path)
        except SslkitError as error:
            return Try(seed, "failed", str(error).partition("\n")[0], Health(), None)
    health = Health(watch.verdict, watch.cause, watch.advice)
    return Try(seed, watch.status, watch.error, health, run)


def _group(name: str, tries: Sequence[Try]) -> Group | None:
    runs = tuple(each.run for each in tries if each.run is not None)
    return Group(name, runs, settings_of(runs[0])) if runs else None


# --- an arm's numbers --------------------------------------------------------------------------------------


def _measures(
    study: Study, tries: Sequence[Try], group: Group | None, budget: Budget | None
) -> list[Measure]:
    return [
        Measure(
            metric,
            tuple(
                None if t.run is None else measured(t.run.curves.get(metric.name, ()), metric, t.run.step)
                for t in tries
            ),
            {} if group is None or budget is None else _at_equal_cost(metric, tries, group, budget),
        )
        for metric in study.metrics
    ]


def measured(curve: Sequence[Point], metric: MetricSection, last_step: int) -> float | None:
    """What a metric's curve comes to: its end, its best, or its mean over the images seen.

    Args:
        curve: in the order of the steps; the first point may be the untrained network's.
        last_step: of the run.

    Returns:
        None where nothing was evaluated after step 0, or the last evaluation gave no finite number (an
        earlier one is not the end).
    """
    trained = [point for point in curve if point.step > 0]
    if not trained or (metric.measured != "best" and trained[-1].step != last_step):
        return None
    if metric.measured == "end":
        return trained[-1].value
    if metric.measured == "best":
        return max((point.value for point in trained), key=lambda value: metric.sign * value)
    return _area(curve)


def _area(curve: Sequence[Point]) -> float | None:
    """The mean over the images seen, by trapezoids; None of a single point."""
    width = curve[-1].images - curve[0].images
    if width <= 0:
        return None
    return sum((b.images - a.images) * (a.value + b.value) / 2 for a, b in pairwise(curve)) / width


def _at_equal_cost(
    metric: MetricSection, tries: Sequence[Try], group: Group, budget: Budget
) -> dict[str, Spread]:
    """The last evaluation within what all arms have had, whatever the metric measures else."""

    def spread(fits: Callable[[Point], bool]) -> Spread:
        curves = [() if t.run is None else t.run.curves.get(metric.name, ()) for t in tries]
        fitting = [[point for point in curve if point.step > 0 and fits(point)] for curve in curves]
        return Spread(tuple(points[-1].value if points else None for points in fitting))

    def in_time(point: Point) -> bool:
        seconds = group.seconds_until(point.step)
        return seconds is not None and budget.seconds is not None and seconds <= budget.seconds * SLACK

    return {
        "equal_images": spread(lambda point: point.images <= budget.images * SLACK),
        "equal_time": spread(in_time),
    }


SLACK = 1.001
"""Rounding of the last partial second or batch."""


# --- against the baseline ----------------------------------------------------------------------------------


def _compared(arms: Sequence[ArmResult], metrics: Sequence[MetricSection]) -> list[ArmResult]:
    """Each arm with its differences to the first; Holm's correction is over the arms, for each metric."""
    baseline, *others = arms
    columns = []
    for i, metric in enumerate(metrics):
        beside = [_difference(arm.measures[i], baseline.measures[i]) for arm in others]
        adjusted = _corrected(beside)
        columns.append([
            _judged(arm.measures[i], difference, p, metric, len(others))
            for arm, difference, p in zip(others, beside, adjusted, strict=True)
        ])  # fmt: skip
    found = [
        ArmResult(arm.arm, arm.tries, tuple(column[row] for column in columns))
        for row, arm in enumerate(others)
    ]
    return [baseline, *found]


def _corrected(differences: Sequence[Difference | None]) -> list[float | None]:
    """Holm's correction over all arms: one that failed does not make the others easier to show."""
    p_values = [None if d is None else d.p for d in differences]
    adjusted = holm([1.0 if p is None else p for p in p_values])
    return [None if p is None else a for p, a in zip(p_values, adjusted, strict=True)]


def _difference(own: Measure, baseline: Measure) -> Difference | None:
    pairs = [
        (a, b) for a, b in zip(own.values, baseline.values, strict=True) if a is not None and b is not None
    ]
    return paired_difference([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None


def _judged(
    own: Measure, difference: Difference | None, adjusted: float | None, metric: MetricSection, arms: int
) -> Measure:
    word = None if difference is None else verdict(difference, adjusted, sign=metric.sign, arms=arms)
    return Measure(metric, own.values, own.equal, difference, adjusted, word)


# --- as plain values ---------------------------------------------------------------------------------------


def as_record(result: StudyResult) -> dict[str, Any]:
    """All of it for JSON."""
    study = result.study
    return {
        "sslkit_study": 1,
        "name": study.name,
        "title": study.section.title,
        "base": study.section.base,
        "variant": study.section.variant,
        "overrides": {**study.section.overrides},
        "command_line": list(study.overrides),
        "seeds": study.seeds,
        "baseline": study.baseline.name,
        "metrics": [asdict(metric) for metric in study.metrics],
        "axes": study.axes,
        "complete": result.is_complete,
        "warnings": list(result.warnings),
        "budget": None if result.budget is None else asdict(result.budget),
        "arms": [_arm_record(arm) for arm in result.arms],
    }


def _arm_record(arm: ArmResult) -> dict[str, Any]:
    return {
        "name": arm.name,
        "points": dict(arm.arm.points),
        "changes": {key: {"baseline": a, "arm": b} for key, (a, b) in arm.arm.differs_in.items()},
        "collapsed": arm.collapsed,
        "begun": arm.begun,
        "runs": [_try_record(each) for each in arm.tries],
        "measures": [_measure_record(measure) for measure in arm.measures],
        "minutes": mean_minutes(arm),
    }


def _try_record(each: Try) -> dict[str, Any]:
    run = each.run
    return {
        "seed": each.seed,
        "status": each.status,
        "error": each.error or None,
        "health": asdict(each.health),
        "steps": None if run is None else run.step,
        "images": None if run is None else run.images,
        "curves": {} if run is None else {key: [vars(p) for p in curve] for key, curve in run.curves.items()},
    }


def _measure_record(measure: Measure) -> dict[str, Any]:
    return {
        "metric": measure.metric.name,
        "measured": measure.metric.measured,
        "values": list(measure.values),
        "mean": measure.spread.mean,
        "sd": measure.spread.sd,
        "equal": {moment: {"mean": s.mean, "values": list(s.values)} for moment, s in measure.equal.items()},
        "difference": None if measure.difference is None else asdict(measure.difference),
        "p_holm": measure.adjusted,
        "verdict": None if measure.verdict is None else measure.verdict.text,
    }


def mean_minutes(arm: ArmResult) -> float | None:
    """Training time of a run, the mean over those that finished."""
    known = [run.seconds / 60 for run in arm.runs if run.seconds is not None]
    return fmean(known) if known else None
