"""A run directory as a comparison sees it: what was run, how far it came, what was measured."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from sslkit.core.diagnosis import COLLAPSES
from sslkit.errors import RunError
from sslkit.recipe.document import read_yaml
from sslkit.train.rundir import RunDirectory
from sslkit.train.trackers import on_own_data, read_records

SECTIONS = ("method", "backbone", "augment", "data", "optim", "runtime", "eval")
"""What the recipe of a run has, whatever sslkit wrote it."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """A metric at one moment of a run."""

    step: int
    images: int
    """Training images seen until then."""
    seconds: float | None
    """Training time until then; None where it is not known."""
    value: float


@dataclass(frozen=True)
class Run:
    """What a run directory holds."""

    path: Path
    recipe: Record
    """As `recipe.yaml` has it; plugins are not needed to read it."""
    record: Record
    """`run.json`."""
    steps: tuple[Record, ...]
    """The step records, in order."""
    evals: tuple[Record, ...]
    """The evaluations on the run's own data, in order; of two at one step the earlier one is first."""
    verdicts: tuple[Record, ...]
    """The health records that tell of a collapse."""

    @property
    def seed(self) -> int:
        return int(self.recipe.get("seed", 0))

    @property
    def method(self) -> str:
        return str(self.recipe["method"].get("name"))

    @property
    def batch_size(self) -> int:
        return int(self.recipe["optim"]["batch_size"])

    @property
    def step(self) -> int:
        """How far it came."""
        return max(int(r["step"]) for r in (*self.steps, *self.evals))

    @property
    def images(self) -> int:
        return self.step * self.batch_size

    @property
    def steps_per_epoch(self) -> int | None:
        found = self.record.get("setup", {}).get("steps_per_epoch")
        return None if found is None else int(found)

    @property
    def loss(self) -> float | None:
        """Of the last step that is recorded."""
        return number(self.steps[-1].get("loss")) if self.steps else None

    @property
    def seconds(self) -> float | None:
        """Training time in all."""
        return self.seconds_until(int(self.steps[-1]["step"])) if self.steps else None

    def seconds_until(self, step: int) -> float | None:
        """Training time up to a step; None after the last recorded one, or where a speed is missing."""
        at = bisect_left(self._recorded, step)
        if at == len(self._recorded):
            return None
        done, before = (self._recorded[at - 1], self._clock[at - 1]) if at else (0, 0.0)
        share = (step - done) / (self._recorded[at] - done)
        found = before + share * (self._clock[at] - before)
        return found if math.isfinite(found) else None

    @cached_property
    def _recorded(self) -> list[int]:
        return [int(r["step"]) for r in self.steps]

    @cached_property
    def _clock(self) -> list[float]:
        """Seconds at each recorded step; a record's speed stands for all steps since the one before it."""
        gaps = [now - before for before, now in zip([0, *self._recorded], self._recorded, strict=False)]
        speeds = [number(r.get("images_per_second")) or math.nan for r in self.steps]
        return list(accumulate(g * self.batch_size / s for g, s in zip(gaps, speeds, strict=True)))

    @cached_property
    def curves(self) -> dict[str, tuple[Point, ...]]:
        """Each metric by `evaluator.key`, over the steps; what is not finite is left out."""
        found: dict[str, dict[int, Point]] = {}
        for record in self.evals:
            step = int(record["step"])
            seconds = self.seconds_until(step)
            for key, given in record["metrics"].items():
                value = number(given)
                if value is not None:
                    point = Point(step, step * self.batch_size, seconds, value)
                    found.setdefault(f"{record['evaluator']}.{key}", {}).setdefault(step, point)
        return {key: tuple(points.values()) for key, points in found.items()}

    @property
    def mark(self) -> str:
        """What a reader must know of it: that it did not finish, that it collapsed; empty for a sound run."""
        status = self.record.get("status", "status unknown")
        words = [] if status == "finished" else [f"{status} at step {self.step:,}"]
        if self.verdicts:
            words.append(f"{self.verdicts[-1]['verdict']} at step {self.verdicts[-1]['step']:,}")
        return ", ".join(words)


def read_run(path: Path) -> Run:
    """Read a run directory, as far as the run came.

    Raises:
        RunError: it is none, its recipe is no run's, or nothing was measured yet.
        RecipeError: `recipe.yaml` is no YAML.
    """
    directory = RunDirectory(path)
    if not directory.holds_a_run:
        what = (
            "is a folder, but no run directory (it has no recipe.yaml)" if path.is_dir() else "is no folder"
        )
        raise RunError(f"{path} {what}\n  name the directories of runs, such as runs/dino_pocket")
    recipe = _read_recipe(directory.recipe)
    records = list(on_own_data(read_records(directory.metrics))) if directory.metrics.is_file() else []
    steps, evals = _in_order(records, "step"), _in_order(records, "eval")
    if not (steps or evals):
        raise RunError(
            f"{path} has no metrics yet: neither a step nor an evaluation is recorded\n"
            "  leave it out, or wait until it trains"
        )
    verdicts = [r for r in _in_order(records, "health") if r.get("verdict") in COLLAPSES]
    return Run(path, recipe, directory.read_record(), steps, evals, tuple(verdicts))


def _read_recipe(path: Path) -> Record:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    recipe = read_yaml(text, str(path)).value
    given = recipe if isinstance(recipe, dict) else {}
    lacking = [section for section in SECTIONS if not isinstance(given.get(section), dict)]
    if lacking or "batch_size" not in given["optim"]:
        raise RunError(
            f"{path} is not the recipe of a run: it lacks {', '.join(lacking) or 'optim.batch_size'}\n"
            "  a run writes it complete; restore it, or leave the run out"
        )
    return given


def _in_order(records: Iterable[Record], kind: str) -> tuple[Record, ...]:
    return tuple(sorted((r for r in records if r.get("kind") == kind), key=lambda r: int(r["step"])))


def number(value: Any) -> float | None:
    """A finite number, or None."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None
