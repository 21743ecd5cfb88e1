"""A study in words: verdicts, differences, cost, what the arms change; for a terminal, Markdown and CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sslkit.ablation.result import EQUAL, ArmResult, Health, Measure, StudyResult, mean_minutes
from sslkit.ablation.section import MetricSection
from sslkit.ablation.statistics import Difference
from sslkit.ablation.study import Study
from sslkit.comparison.tables import Section
from sslkit.recipe.places import shown
from sslkit.train.wording import clock, counted

DECIMALS = 3


def headline(result: StudyResult) -> str:
    """What was run, in one line."""
    study = result.study
    title = f": {study.section.title}" if study.section.title else ""
    missing = "" if result.is_complete else f"; {counted(result.missing, 'run')} not over yet"
    arms = f"{counted(len(study.arms), 'arm')} x {counted(len(study.seeds), 'seed')}"
    return f"{study.name}{title} ({arms}{missing})"


def sections(result: StudyResult) -> Iterator[Section]:
    """All there is to say, the answer first."""
    for i in range(len(result.study.metrics)):
        yield differences(result, i)
    yield cost(result)
    mind = tuple(minded(result))
    if mind:
        yield Section("Mind", lines=mind)
    yield changes(result.study)


def metric_words(metric: MetricSection) -> str:
    """`knn.top1_k10 at the end`."""
    words = {"end": "at the end", "best": "at its best", "area": "over the whole run (area under the curve)"}
    lower = "" if metric.sign > 0 else ", lower is better"
    return f"{metric.name} {words[metric.measured]}{lower}"


# --- differences -------------------------------------------------------------------------------------------


def differences(result: StudyResult, index: int) -> Section:
    head = ("", "n", "mean ± sd", "difference", "95 % (paired t)", "95 % (bootstrap)", "p (Holm)")
    rows = tuple(_difference_row(arm, arm.measures[index]) for arm in result.arms)
    lines = tuple(verdict_lines(result, index))
    title = f"{metric_words(result.study.metrics[index])}, beside {result.study.baseline.name}"
    return Section(title, head, rows, lines, is_numeric=True)


def _difference_row(arm: ArmResult, measure: Measure) -> tuple[str, ...]:
    found, spread = measure.difference, measure.spread
    first = (arm.name, str(len(spread.known)), spread.shown(DECIMALS).partition(" (")[0])
    if found is None:
        return (*first, "", "", "", "")
    p = "" if measure.adjusted is None else f"{measure.adjusted:.3f}"
    return (*first, signed(found.mean), interval(found.interval), interval(found.bootstrap), p)


def signed(value: float) -> str:
    return f"{value:+.{DECIMALS}f}"


def interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{signed(bounds[0])} to {signed(bounds[1])}"


def verdict_lines(result: StudyResult, index: int = 0) -> Iterator[str]:
    """What the numbers say of each arm; arms of which they say the same in one line."""
    told: dict[str, list[str]] = {}
    for arm in result.arms[1:]:
        verdict = arm.measures[index].verdict
        told.setdefault("no pair of finished runs" if verdict is None else verdict.text, []).append(arm.name)
    for text, names in told.items():
        yield f"{', '.join(names)}: {text}"


# --- cost and health ---------------------------------------------------------------------------------------


def cost(result: StudyResult) -> Section:
    head = ("", "equal images", "equal time", "collapsed", "minutes a run")
    rows = tuple(_cost_row(arm) for arm in result.arms)
    lines: tuple[str, ...] = ()
    if result.budget is not None:
        text = f"each run's last evaluation within {result.budget.images:,} images"
        if result.budget.seconds is not None:
            text += f" or {clock(result.budget.seconds)} min of training, which all arms have had"
        lines = (f"{result.study.metrics[0].name}: {text}",)
    return Section("At equal cost", head, rows, lines, is_numeric=True)


def _cost_row(arm: ArmResult) -> tuple[str, ...]:
    equal, minutes = arm.measures[0].equal, mean_minutes(arm)
    spreads = [equal[moment].shown(DECIMALS) if moment in equal else "" for moment in EQUAL]
    return (
        arm.name,
        *spreads,
        f"{arm.collapsed} of {arm.begun}",
        "" if minutes is None else f"{minutes:.1f}",
    )


def minded(result: StudyResult) -> Iterator[str]:
    """What makes numbers hard to compare; then runs that failed, or that the doctor did not leave healthy."""
    yield from result.warnings
    for arm in result.arms:
        told: dict[str, list[int]] = {}
        for each in arm.tries:
            if each.status == "failed":
                told.setdefault(f"failed: {each.error}", []).append(each.seed)
            elif each.health.is_ill:
                told.setdefault(_diagnosis(each.health), []).append(each.seed)
        for text, seeds in told.items():
            which = "all seeds" if len(seeds) == len(arm.tries) > 1 else f"seed {', '.join(map(str, seeds))}"
            yield f"{arm.name} ({which}): {text}"


def _diagnosis(health: Health) -> str:
    cause = f": {health.cause}" if health.cause else ""
    advice = f"; what to change: {health.advice}" if health.advice else ""
    return f"{health.verdict}{cause}{advice}"


# --- the arms ----------------------------------------------------------------------------------------------


def changes(study: Study) -> Section:
    """What each arm changes of the baseline."""
    lines = []
    for arm in study.arms[1:]:
        words = [f"{key} {value_words(a)} → {value_words(b)}" for key, (a, b) in arm.differs_in.items()]
        lines.append(f"{arm.name}: {', '.join(words)}")
    return Section(f"What the arms change of {study.baseline.name}", lines=tuple(lines))


def value_words(value: Any) -> str:
    """A value as YAML has it; of a mapping its keys in short."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {value_words(child)}" for key, child in value.items()) + "}"
    return value if isinstance(value, str) else shown(value)


# --- as CSV ------------------------------------------------------------------------------------------------

COLUMNS = (
    *("arm", "metric", "measured", "n", "mean", "sd", "difference", "t_low", "t_high"),
    *("bootstrap_low", "bootstrap_high", "p", "p_holm", "verdict"),
    *("equal_images", "equal_time", "collapsed", "begun", "minutes"),
)


def as_csv(result: StudyResult) -> str:
    """One row an arm and metric, then the values of the seeds."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"seed {seed}" for seed in result.study.seeds)])
    for arm in result.arms:
        for measure in arm.measures:
            writer.writerow([*_csv_row(arm, measure), *measure.values])
    return file.getvalue()


def _csv_row(arm: ArmResult, measure: Measure) -> Sequence[Any]:
    spread, found = measure.spread, measure.difference
    means = [measure.equal[moment].mean if moment in measure.equal else None for moment in EQUAL]
    verdict = None if measure.verdict is None else measure.verdict.text
    return (
        *(arm.name, measure.metric.name, measure.metric.measured, len(spread.known), spread.mean, spread.sd),
        *_difference_cells(found),
        *(measure.adjusted, verdict, *means, arm.collapsed, arm.begun, mean_minutes(arm)),
    )


def _difference_cells(found: Difference | None) -> Sequence[float | None]:
    if found is None:
        return (None,) * 6
    low, high = found.interval or (None, None)
    return (found.mean, low, high, *(found.bootstrap or (None, None)), found.p)
