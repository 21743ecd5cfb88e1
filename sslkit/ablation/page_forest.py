"""The page's answer: each arm's difference to the baseline on one axis, with what follows from it."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low

from sslkit.ablation.result import ArmResult, Measure, StudyResult
from sslkit.ablation.statistics import Difference, Interval
from sslkit.ablation.tables import DECIMALS, interval, metric_words, signed

WIDE = 3.0
"""An interval so many times as wide as the median one, and wider than the differences lie apart, does not
widen the axis: it is cut, with an arrow."""
BEYOND = 2.0
"""How far the axis reaches beyond the differences themselves at most, in their range."""
MARGIN = 0.04
"""Of the axis, on either side, so that no dot stands on its edge."""
TONES = {"better": "good", "worse": "bad"}
"""How a verdict is coloured; what is not here has no colour."""


@dataclass(frozen=True)
class Bar:
    """A stretch of the axis, in per cent of its width."""

    low: float
    high: float
    is_cut_low: bool
    """Whether it goes on beyond the axis."""
    is_cut_high: bool


@dataclass(frozen=True)
class Row:
    """An arm's line."""

    name: str
    is_baseline: bool
    mean: str
    difference: str
    interval: str
    verdict: str
    tone: str
    p: str
    marks: tuple[str, ...]
    """What must be known of its runs: collapses and failures."""
    rest: str
    """That some are not over."""
    told: str
    """All numbers in words."""
    at: float | None
    """The mean difference, in per cent of the axis."""
    bar: Bar | None
    """Its 95 % interval by the paired t."""
    bootstrap: Bar | None
    seeds: tuple[float, ...]
    """The pairs' own differences, in per cent of the axis."""


@dataclass(frozen=True)
class Forest:
    """All arms on one axis of differences."""

    metric: str
    rows: tuple[Row, ...]
    zero: float
    ticks: tuple[tuple[float, str], ...]
    """Place in per cent, and label."""
    left: str
    """What a difference to the left of zero means."""
    right: str

    @property
    def is_cut(self) -> bool:
        """Whether an interval is longer than the axis."""
        bars = [bar for row in self.rows for bar in (row.bar, row.bootstrap) if bar is not None]
        return any(bar.is_cut_low or bar.is_cut_high for bar in bars)


@dataclass(frozen=True)
class Axis:
    """Differences from `low` to `high`."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """In per cent of its width, within it."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def bar(self, bounds: Interval | None) -> Bar | None:
        if bounds is None:
            return None
        low, high = bounds
        return Bar(self.place(low), self.place(high), low < self.low, high > self.high)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Round numbers on it, all with as many decimals."""
        from matplotlib.ticker import MaxNLocator

        values = MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        decimals = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
        for value in values:
            if self.low <= value <= self.high:
                yield self.place(float(value)), f"{value:+.{decimals}f}" if round(value, decimals) else "0"


def forest(result: StudyResult) -> Forest:
    """The main metric's rows, in the study's order; the baseline is first."""
    metric = result.study.metrics[0]
    baseline = result.arms[0].measures[0]
    pairs = [_pairs(arm.measures[0], baseline) for arm in result.arms]
    known = [d for arm in result.arms if (d := arm.measures[0].difference) is not None]
    axis = axis_of(known, [value for values in pairs for value in values.values()])
    rows = [_row(arm, own, axis, i == 0) for i, (arm, own) in enumerate(zip(result.arms, pairs, strict=True))]
    left, right = ("worse", "better") if metric.sign > 0 else ("better", "worse")
    return Forest(metric_words(metric), tuple(rows), axis.place(0), tuple(axis.ticks()), left, right)


def axis_of(differences: Sequence[Difference], seeds: Sequence[float]) -> Axis:
    """From the lowest to the highest number; an interval far wider than the others does not count.

    Args:
        seeds: the single pairs' differences.
    """
    middle = [0.0, *seeds, *(d.mean for d in differences)]
    low, high = min(middle), max(middle)
    span = (high - low) or max(abs(low), 1e-3)
    intervals = [d.interval for d in differences if d.interval is not None]
    halves = [(b - a) / 2 for a, b in intervals]
    widest = max(span, WIDE * median_low(halves)) if halves else span
    ends = [end for (a, b), half in zip(intervals, halves, strict=True) if half <= widest for end in (a, b)]
    low = max(min([low, *ends]), low - BEYOND * span)
    high = min(max([high, *ends]), high + BEYOND * span)
    margin = MARGIN * ((high - low) or span)
    return Axis(low - margin, high + margin)


def _pairs(own: Measure, baseline: Measure) -> dict[int, float]:
    """Differences by the place of their seed."""
    if own is baseline:
        return {}
    pairs = enumerate(zip(own.values, baseline.values, strict=True))
    return {i: a - b for i, (a, b) in pairs if a is not None and b is not None}


def _row(arm: ArmResult, pairs: dict[int, float], axis: Axis, is_baseline: bool) -> Row:
    measure = arm.measures[0]
    found, verdict = measure.difference, measure.verdict
    return Row(
        name=arm.name,
        is_baseline=is_baseline,
        mean=measure.spread.shown(DECIMALS),
        difference="" if found is None else signed(found.mean),
        interval="" if found is None else interval(found.interval),
        verdict=verdict.text if verdict is not None else "" if is_baseline else "no pair of finished runs",
        tone="" if verdict is None else TONES.get(verdict.word, ""),
        p="" if measure.adjusted is None else told_p(measure.adjusted),
        marks=tuple(marks(arm)),
        rest=rest(arm),
        told=_told(arm, pairs),
        at=None if found is None else axis.place(found.mean),
        bar=None if found is None else axis.bar(found.interval),
        bootstrap=None if found is None else axis.bar(found.bootstrap),
        seeds=tuple(axis.place(value) for value in pairs.values()),
    )


def told_p(p: float) -> str:
    """`p 0.012`; of very small ones that they are."""
    return "p < 0.001" if p < 0.0005 else f"p {p:.3f}"


def marks(arm: ArmResult) -> Iterator[str]:
    """`uniform collapse 3 of 3`, in the doctor's words; and failures."""
    sick = Counter(each.health.verdict for each in arm.tries if each.health.is_ill)
    yield from (f"{verdict} {count} of {arm.begun}" for verdict, count in sick.items())
    failed = sum(each.status == "failed" for each in arm.tries)
    if failed:
        yield f"failed {failed} of {arm.begun}"


def rest(arm: ArmResult) -> str:
    """`2 of 3 not over`; empty where all are."""
    left = sum(each.status not in ("finished", "failed") for each in arm.tries)
    return f"{left} of {len(arm.tries)} not over" if left else ""


def _told(arm: ArmResult, pairs: dict[int, float]) -> str:
    measure = arm.measures[0]
    parts = [f"{arm.name}: mean {measure.spread.shown(DECIMALS) or 'not known'}"]
    found = measure.difference
    if found is not None:
        parts.append(f"difference {signed(found.mean)} (n {found.n})")
    if found is not None and found.interval is not None:
        parts += [f"95 % by paired t {interval(found.interval)}", f"by bootstrap {interval(found.bootstrap)}"]
    if found is not None and found.p is not None and measure.adjusted is not None:
        parts.append(f"{told_p(found.p)}, after Holm {told_p(measure.adjusted)}")
    parts += [f"seed {arm.tries[i].seed}: {signed(value)}" for i, value in pairs.items()]
    return "; ".join(parts)
