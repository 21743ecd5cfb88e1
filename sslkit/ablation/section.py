"""What a study file says, typed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sslkit.ablation.grid import GridSection
from sslkit.errors import RecipeError, nearest

FORMAT = 1
"""The version of the study format that this sslkit reads."""
MEASURED = ("end", "best", "area")


@dataclass
class MetricSection:
    """A number to compare."""

    name: str
    """EVALUATOR.METRIC, such as knn.top1_k10: any number of an evaluator that the base recipe asks."""
    measured: str = "end"
    """end: the last evaluation; best: the best one after training began; area: the mean of the curve over the
    images seen, from before training to the end, which also says who learns sooner."""
    better: str = "higher"
    """higher or lower."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^.\s]+\.\S+", self.name):
            raise RecipeError(f"'name' is '{self.name}', but must be EVALUATOR.METRIC, such as knn.top1_k10")
        _check_choice("measured", self.measured, MEASURED)
        _check_choice("better", self.better, ("higher", "lower"))

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.better == "higher" else -1


@dataclass
class StudySection:
    """What a study file says."""

    base: str
    """The recipe that all arms change: a path from the study's folder, or the name of a packed one."""
    sslkit_study: int = FORMAT
    """Version of the study format."""
    name: str = "study"
    """Names the study's directory; where it is not given the file's name does."""
    title: str = ""
    """One line that says what is asked."""
    variant: str | None = None
    """A variant of the base; none: the bare file; null: its default."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Changes to the base that all arms have, nested or with dotted keys."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Seeds of each arm. For a seed all arms share the data order, the draws and the initial weights."""
    baseline: str = "baseline"
    """What the base is called in the tables. It always runs, and all arms are compared to it."""
    arms: dict[str, Any] = field(default_factory=dict)
    """Arms by name: each its changes to the base."""
    grid: GridSection | None = None
    """Arms from axes, beside those by name."""
    metrics: list[MetricSection] = field(default_factory=lambda: [MetricSection("knn.top1_k10")])
    """Numbers to compare; the first is the one that verdicts and curves are about."""

    def __post_init__(self) -> None:
        for key in ("name", "baseline"):
            check_folder_name(f"'{key}'", getattr(self, key))
        check_seeds(self.seeds)
        if not self.metrics:
            raise RecipeError("'metrics' is empty, but a study compares at least one\n  such as knn.top1_k10")
        names = [(m.name, m.measured) for m in self.metrics]
        twice = [metric for metric in names if names.count(metric) > 1]
        if twice:
            raise RecipeError(f"'metrics' has {twice[0][0]} ({twice[0][1]}) twice")


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises `RecipeError` for none, a negative one, or one that is given twice."""
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise RecipeError(
            f"'seeds' is {[*seeds]}, but must be one or more different whole numbers from 0 on"
            "\n  such as [0, 1, 2]"
        )


def _check_choice(key: str, value: str, valid: Sequence[str]) -> None:
    if value not in valid:
        near = nearest(value, valid)
        raise RecipeError(f"'{key}' is '{value}', but must be one of {', '.join(valid)}{near}")


def check_folder_name(what: str, name: str) -> None:
    """Raises `RecipeError` for a name that cannot be part of a path; `what` it is the name of."""
    if not re.fullmatch(r"[^\s/\\.][^\s/\\]{0,149}", name):
        raise RecipeError(
            f"{what} is '{name}', but must be a word that can name a folder:"
            " no space, no '/', no '.' at its start, and at most 150 letters"
        )
