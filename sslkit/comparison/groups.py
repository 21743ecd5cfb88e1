"""Runs that differ only in their seed, under one short name."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from sslkit.comparison.reading import Run
from sslkit.comparison.settings import Settings, settings_of

NUMBERED = re.compile(r"(?P<stem>.+?)[-_.](?:seed|s)?[-_]?(?P<number>\d+)")
"""A directory's name that ends in a number of its own, such as a seed."""


@dataclass(frozen=True)
class Group:
    """Runs of the same settings."""

    name: str
    runs: tuple[Run, ...]
    settings: Settings

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    @property
    def images(self) -> int:
        """Training images that each of its runs has seen."""
        return min(run.images for run in self.runs)

    @property
    def seconds(self) -> float | None:
        """Training time until there; None where it is not known."""
        return self.seconds_until(min(run.step for run in self.runs))

    def seconds_until(self, step: int) -> float | None:
        """Training time up to a step: the mean over its runs, whose clocks a busy machine sets apart."""
        known = [seconds for run in self.runs if (seconds := run.seconds_until(step)) is not None]
        return fmean(known) if known else None

    @property
    def marks(self) -> dict[str, str]:
        """What must be known of a run, by its directory's name."""
        return {run.path.name: run.mark for run in self.runs if run.mark}


@dataclass(frozen=True)
class Spread:
    """A number over the runs of a group."""

    values: tuple[float | None, ...]
    """One a run; None where a run has none."""

    @property
    def known(self) -> list[float]:
        return [value for value in self.values if value is not None]

    @property
    def mean(self) -> float | None:
        return fmean(self.known) if self.known else None

    @property
    def sd(self) -> float | None:
        """The sample's standard deviation (n - 1); None of fewer than two."""
        return stdev(self.known) if len(self.known) > 1 else None

    def shown(self, decimals: int, *, constant: bool = False) -> str:
        """Mean and deviation in words; empty where there is no value, marked where some runs have none.

        Args:
            constant: leave out a deviation of zero, as of step numbers.
        """
        if self.mean is None:
            return ""
        has_spread = self.sd is not None and not (constant and self.sd == 0)
        deviation = f" ± {self.sd:,.{decimals}f}" if has_spread else ""
        share = "" if len(self.known) == len(self.values) else f" ({len(self.known)} of {len(self.values)})"
        return f"{self.mean:,.{decimals}f}{deviation}{share}"


def grouped(runs: Iterable[Run]) -> list[Group]:
    """The groups in the order of their first runs, each with a name of its own."""
    found: dict[str, tuple[Settings, list[Run]]] = {}
    for run in runs:
        settings = settings_of(run)
        key = json.dumps(settings, sort_keys=True, default=str)
        found.setdefault(key, (settings, []))[1].append(run)
    members = [members for _, members in found.values()]
    return [
        Group(name, tuple(runs), settings)
        for name, (settings, runs) in zip(_names(members), found.values(), strict=True)
    ]


def _names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """The shortest kind of name that tells all groups apart."""
    kinds: list[Callable[[Sequence[Run]], str | None]] = [
        lambda runs: runs[0].method,
        _recipe_name,
        _stem,
        lambda runs: runs[0].path.name,
        lambda runs: "/".join(runs[0].path.parts[-2:]),
    ]
    for kind in kinds:
        names = [name for runs in groups if (name := kind(runs)) is not None]
        if len(set(names)) == len(groups):
            return names
    return [str(runs[0].path) for runs in groups]


def _recipe_name(runs: Sequence[Run]) -> str | None:
    names = {run.recipe.get("name") for run in runs}
    return str(names.pop()) if len(names) == 1 else None


def _stem(runs: Sequence[Run]) -> str:
    """The part of their directories' names that they share; of one run the name without its seed."""
    names = [run.path.name for run in runs]
    matches = [NUMBERED.fullmatch(name) for name in names]
    if len(runs) == 1:
        match = matches[0]
        return match["stem"] if match and int(match["number"]) == runs[0].seed else names[0]
    stems = [match["stem"] if match else name for match, name in zip(matches, names, strict=True)]
    return stems[0] if len(set(stems)) == 1 else names[0]
