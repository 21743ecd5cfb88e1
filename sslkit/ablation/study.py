"""A study file: a base recipe, the arms that change it, the seeds, and what is compared."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sslkit.ablation.grid import Cell, GridSection, cells
from sslkit.errors import RecipeError, indented, nearest
from sslkit.recipe.document import Document, read_value
from sslkit.recipe.layers import Change, Draft, parse_override
from sslkit.recipe.load import (
    Loaded,
    changes_at,
    differences,
    find_file,
    find_recipe,
    load_recipe,
    packed_recipes,
    packed_studies,
    read_document,
)
from sslkit.recipe.places import Place, shown
from sslkit.recipe.schema import Recipe
from sslkit.recipe.typed import build
from sslkit.recipe.write import plain_recipe

FORMAT = 1
"""The version of the study format that this sslkit reads."""
MEASURED = ("end", "best", "area")
FREE_TO_DIFFER = ("name", "seed", "closing", "expect")
"""Keys of a recipe that make no arm: they change nothing that is learned or measured."""


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
    """Names the study's directory."""
    title: str = ""
    """One line that says what is asked."""
    variant: str | None = None
    """A variant of the base; none: the bare file; null: its default."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Changes to the base that all arms have, nested or with dotted keys."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Seeds of each arm. All arms share the order of the data, the draws and the initial weights of a seed."""
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
            _check_folder_name(key, getattr(self, key))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise RecipeError(
                f"'seeds' is {self.seeds}, but must be one or more different whole numbers from 0 on"
            )
        if not self.metrics:
            raise RecipeError("'metrics' is empty, but a study compares at least one\n  such as knn.top1_k10")
        names = [(m.name, m.measured) for m in self.metrics]
        twice = [metric for metric in names if names.count(metric) > 1]
        if twice:
            raise RecipeError(f"'metrics' has {twice[0][0]} ({twice[0][1]}) twice")


def _check_choice(key: str, value: str, valid: Sequence[str]) -> None:
    if value not in valid:
        near = nearest(value, valid)
        raise RecipeError(f"'{key}' is '{value}', but must be one of {', '.join(valid)}{near}")


def _check_folder_name(key: str, name: str) -> None:
    if not re.fullmatch(r"[^\s/\\.][^\s/\\]*", name):
        raise RecipeError(f"'{key}' is '{name}', but must be a word that can name a folder: no space, no '/'")


@dataclass(frozen=True)
class Arm:
    """One setting that is tried."""

    name: str
    changes: Sequence[Change]
    """Beyond the base."""
    loaded: Loaded
    """Resolved, with the study's first seed."""
    points: Mapping[str, str]
    """By axis of the grid the point where it stands; empty for an arm by name."""
    differs_in: Mapping[str, tuple[Any, Any]]
    """Dotted keys with the value of the baseline and its own."""

    @property
    def recipe(self) -> Recipe:
        return self.loaded.recipe


@dataclass(frozen=True)
class Study:
    """A study that was checked as a whole: every arm's recipe is resolved."""

    section: StudySection
    arms: tuple[Arm, ...]
    """The baseline is first."""
    file: Path
    overrides: tuple[str, ...]
    """The command line's, for all arms."""

    @property
    def name(self) -> str:
        return self.section.name

    @property
    def seeds(self) -> list[int]:
        return self.section.seeds

    @property
    def metrics(self) -> list[MetricSection]:
        return self.section.metrics

    @property
    def baseline(self) -> Arm:
        return self.arms[0]

    @property
    def axes(self) -> dict[str, list[str]]:
        """The grid's axes with the names of their points."""
        grid = self.section.grid
        return {} if grid is None else {axis: list(points) for axis, points in grid.points().items()}


def read_study(
    study: str | Path,
    overrides: Sequence[str] = (),
    *,
    seeds: Sequence[int] | None = None,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
) -> Study:
    """Read a study file and resolve the recipe of every arm.

    Args:
        study: a file, or the name of a packed study such as "temperature".
        overrides: `key=value` words for all arms, such as "data.root=DIR".
        seeds: instead of the file's.
        plugins, no_plugins: as for a run.

    Raises:
        RecipeError: the file or an arm's recipe is not right; an arm changes nothing, or two are equal; a
            metric's evaluator is not asked. The message has the line.
    """
    file = find_file(study, "study", packed_studies())
    document = read_document(file, str(study), f"a study is a mapping\n  it starts with sslkit_study: {FORMAT}")
    _check_format(document)
    section = _section(document)
    section.seeds = [*(seeds or section.seeds)]
    section.__post_init__()
    reader = _Reader(document, section, file, tuple(overrides), tuple(plugins), tuple(no_plugins))
    arms = tuple(reader.arms())
    _check_metrics(section, arms, document)
    return Study(section, arms, file, tuple(overrides))


def _check_format(document: Document) -> None:
    version = document.value.get("sslkit_study")
    if version is None and "sslkit" in document.value:
        raise RecipeError(f"{document.name} is a recipe, not a study\n  sslkit run {document.name}")
    if version is None:
        raise RecipeError(
            f"{document.name} has no 'sslkit_study: {FORMAT}', the version of the study format"
            "\n  add the line at its top"
        )
    if version != FORMAT:
        raise document.place(("sslkit_study",)).error(
            f"'sslkit_study' is {shown(version)}, but this sslkit reads studies of format {FORMAT}"
        )


def _section(document: Document) -> StudySection:
    draft = Draft()
    draft.put(Change((), document.value, document.place))
    return build(StudySection, draft.tree, (), draft, label="a study")


@dataclass
class _Reader:
    """From the section to arms."""

    document: Document
    section: StudySection
    file: Path
    overrides: tuple[str, ...]
    plugins: tuple[str, ...]
    no_plugins: tuple[str, ...]

    def arms(self) -> Iterator[Arm]:
        baseline = self._arm(Cell(self.section.baseline, ("baseline",), ()))
        found = [baseline]
        for cell in self._cells():
            arm = self._arm(cell, baseline)
            if arm.points and not arm.differs_in:
                found[0] = _at_points(found[0], arm)  # a cell of the grid that is the baseline
                continue
            self._check_new(arm, cell, found)
            found.append(arm)
        if len(found) == 1:
            raise self.document.place(("arms",)).error(
                "the study has no arm beside the baseline\n  give some under 'arms', or a 'grid'"
            )
        yield from found

    def _cells(self) -> Iterator[Cell]:
        for name in self.section.arms:
            with self.document.place(("arms", name)).told():
                _check_folder_name("arms", name)
            changes = self._changes(("arms", name), f"arm {name}")
            yield Cell(name, ("arms", name), tuple(changes))
        if self.section.grid is not None:
            yield from cells(self.section.grid, self.document)

    def _changes(self, at: tuple[str, ...], label: str) -> list[Change]:
        """With plugin files counted from the study's folder, as the base's are from its own."""
        return [self._with_plugins(change) for change in changes_at(self.document, at, label)]

    def _with_plugins(self, change: Change) -> Change:
        if change.path != ("plugins",) or not isinstance(change.value, list):
            return change
        here = self.file.parent
        files = [str(here / word) if str(word).endswith(".py") else word for word in change.value]
        return Change(change.path, files, change.place_of)

    def _arm(self, cell: Cell, baseline: Arm | None = None) -> Arm:
        fixed = self._changes(("overrides",), "the study") if "overrides" in self.document.value else []
        seed = Change(("seed",), self.section.seeds[0], lambda _: Place(after="the study's seeds"))
        for change in (*fixed, *cell.changes, *map(parse_override, self.overrides)):
            if change.path[0] == "seed":
                raise change.place_of(change.path).error("a study's seeds are its key 'seeds', not an override")
        loaded = load_recipe(
            self._base(),
            self.overrides,
            variant=self.section.variant,
            plugins=self.plugins,
            no_plugins=self.no_plugins,
            layers=[fixed, *([change] for change in cell.changes), [seed]],
        )
        differs = {} if baseline is None else _differing(baseline.recipe, loaded.recipe)
        return Arm(cell.name, cell.changes, loaded, cell.points, differs)

    def _base(self) -> Path:
        beside = self.file.parent / self.section.base
        if beside.is_file():
            return beside
        with self.document.place(("base",)).told():
            if self.section.base in packed_recipes():
                return find_recipe(self.section.base)
            near = nearest(self.section.base, packed_recipes())
            raise RecipeError(
                f"'base' is '{self.section.base}', but there is neither {beside} nor a packed recipe of that"
                f" name{near}" + indented(f"packed: {', '.join(packed_recipes())}")
            )

    def _check_new(self, arm: Arm, cell: Cell, found: Sequence[Arm]) -> None:
        place = self.document.place(cell.at)
        if arm.name in (other.name for other in found):
            raise place.error(f"there are two arms of the name '{arm.name}'\n  rename one of them")
        if not arm.differs_in:
            raise place.error(
                f"the arm '{arm.name}' changes nothing: its recipe is the baseline's\n  {_told(arm, self.overrides)}"
            )
        for other in found[1:]:
            if not _differing(other.recipe, arm.recipe):
                raise place.error(
                    f"the arms '{other.name}' and '{arm.name}' are equal: both have {_told(arm, self.overrides)}"
                    "\n  leave one of them out"
                )


def _at_points(arm: Arm, same: Arm) -> Arm:
    """The arm, standing also where an equal cell of the grid stands."""
    return Arm(arm.name, arm.changes, arm.loaded, {**arm.points, **same.points}, arm.differs_in)


def _told(arm: Arm, overrides: Sequence[str]) -> str:
    words = [f"{'.'.join(map(str, change.path))}: {shown(change.value)}" for change in arm.changes]
    fixed = f", and the command line says {' '.join(overrides)}" if overrides else ""
    return (", ".join(words) or "no changes") + fixed


def _differing(a: Recipe, b: Recipe) -> dict[str, tuple[Any, Any]]:
    """Dotted keys in which two arms differ, with both values; a section of another name as its name alone."""
    keys = [key for key in differences(a, b) if key.split(".")[0] not in FREE_TO_DIFFER]
    first, second = plain_recipe(a), plain_recipe(b)
    return {key: (_at(first, key), _at(second, key)) for key in keys}


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _check_metrics(section: StudySection, arms: Sequence[Arm], document: Document) -> None:
    for i, metric in enumerate(section.metrics):
        evaluator = metric.name.partition(".")[0]
        for arm in arms:
            asked = arm.recipe.eval.evaluators
            if evaluator not in asked:
                known = ", ".join(f"{name}.METRIC" for name in asked) or "none"
                raise document.place(("metrics", i, "name")).error(
                    f"the metric '{metric.name}' is of an evaluator that the arm '{arm.name}' does not ask"
                    f"\n  valid: {known}; to ask another: overrides: {{eval.evaluators.NAME: {{}}}}"
                )


def read_seeds(text: str) -> list[int]:
    """`0,1,2` or `0-9` as numbers.

    Raises:
        RecipeError: it is neither.
    """
    seeds: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", word)
        if match is None:
            raise RecipeError(f"--seeds is '{text}', but must be numbers such as 0,1,2 or a range such as 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        seeds += range(first, last + 1)
    return seeds


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` words as a mapping, the values read as YAML.

    Raises:
        RecipeError: a word is not of that form.
    """
    found = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.isidentifier():
            raise RecipeError(f"'{word}' is not of the form KEY=VALUE\n  such as --option partition=gpu")
        found[key] = read_value(text)
    return found
