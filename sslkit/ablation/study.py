"""A study file: a base recipe, the arms that change it, the seeds, and what is compared."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sslkit.ablation.grid import Cell, cells
from sslkit.ablation.section import FORMAT, MetricSection, StudySection, check_folder_name, check_seeds
from sslkit.errors import RecipeError, indented, nearest
from sslkit.plugins import is_file
from sslkit.recipe.document import Document, write_yaml
from sslkit.recipe.effect import has_effect
from sslkit.recipe.layers import Change, Draft, parse_override
from sslkit.recipe.load import (
    Loaded,
    Registries,
    changes_at,
    differences,
    find_file,
    find_recipe,
    load_recipe,
    packed_recipes,
    packed_studies,
    read_document,
    variants_of,
)
from sslkit.recipe.places import COMMAND_LINE, Place, shown
from sslkit.recipe.schema import Recipe
from sslkit.recipe.typed import build
from sslkit.recipe.write import plain, plain_recipe


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
    metrics: Sequence[str] = (),
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
) -> Study:
    """Read a study file and resolve the recipe of every arm.

    Args:
        study: a file, or the name of a packed study such as "temperature".
        overrides: `key=value` words for all arms, such as "data.root=DIR".
        seeds: instead of the file's.
        metrics: EVALUATOR.METRIC words instead of the file's; each measured at the end.
        plugins, no_plugins: as for a run.

    Raises:
        RecipeError: the file or an arm's recipe is not right; an arm changes nothing, or two are equal; a
            metric's evaluator is not asked. The message has the line.
    """
    file = find_file(study, "study", packed_studies())
    document = read_document(
        file, str(study), f"a study is a mapping\n  it starts with sslkit_study: {FORMAT}"
    )
    _check_format(document)
    section = _section(document, file)
    if seeds is not None:
        with COMMAND_LINE.told():
            check_seeds(seeds)
        section.seeds = [*seeds]
    if metrics:
        with COMMAND_LINE.told():
            section.metrics = [MetricSection(name) for name in dict.fromkeys(metrics)]
    reader = _Reader(document, section, file, tuple(overrides), tuple(plugins), tuple(no_plugins))
    arms = tuple(reader.arms())
    _check_metrics(section, arms, document if not metrics else None)
    return Study(section, arms, file, tuple(overrides))


def _check_format(document: Document) -> None:
    version = document.value.get("sslkit_study")
    if version is None and "sslkit" in document.value:
        raise RecipeError(f"{document.name} is a recipe, not a study\n  sslkit run {document.name}")
    if version is None:
        near = get_close_matches("sslkit_study", [str(key) for key in document.value], n=1)
        raise RecipeError(
            f"{document.name} has no 'sslkit_study: {FORMAT}', the version of the study format"
            + (f"\n  did you mean it by '{near[0]}'?" if near else "")
            + "\n  add the line at its top"
        )
    place = document.place(("sslkit_study",))
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise place.error(f"'sslkit_study' is {shown(version)}, but must be {FORMAT}")
    if version > FORMAT:
        raise place.error(
            f"'sslkit_study' is {version}, but this sslkit reads studies of format {FORMAT}"
            '\n  upgrade it: pip install --upgrade "sslkit"'
        )


def _section(document: Document, file: Path) -> StudySection:
    if "base" not in document.value:
        raise document.place(()).error(
            "'base' must be given: the recipe that all arms change, by its path from the study's folder or"
            f" by the name of a packed one{indented('packed: ' + ', '.join(packed_recipes()))}"
        )
    draft = Draft()
    draft.put(Change(("name",), "_".join(file.stem.split()), lambda _: Place(after="the file's name")))
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
    registries: Registries = field(default_factory=dict)

    def arms(self) -> Iterator[Arm]:
        self._check_variant()
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
            said = f" ({fixed})" if (fixed := _on_command_line(self.overrides)) else ""
            raise self.document.place(("arms",)).error(
                f"the study has no arm beside the baseline{said}\n  give some under 'arms', or a 'grid'"
            )
        yield from found

    def _cells(self) -> Iterator[Cell]:
        for name in self.section.arms:
            yield Cell(name, ("arms", name), tuple(self._changes(("arms", name), f"arm {name}")))
        if self.section.grid is not None:
            for cell in cells(self.section.grid, self.document):
                yield replace(cell, changes=tuple(map(self._with_plugins, cell.changes)))

    def _changes(self, at: tuple[str, ...], label: str) -> list[Change]:
        """With plugin files counted from the study's folder, as the base's are from its own."""
        return [self._with_plugins(change) for change in changes_at(self.document, at, label)]

    def _with_plugins(self, change: Change) -> Change:
        if change.path != ("plugins",) or not isinstance(change.value, list):
            return change
        files = [_from_folder(str(word), self.file.parent) for word in change.value]
        return Change(change.path, files, change.place_of)

    def _arm(self, cell: Cell, baseline: Arm | None = None) -> Arm:
        fixed = self._changes(("overrides",), "the study") if "overrides" in self.document.value else []
        seed = Change(("seed",), self.section.seeds[0], lambda _: Place(after="the study's seeds"))
        for change in (*fixed, *cell.changes, *map(parse_override, self.overrides)):
            if change.path[0] == "seed":
                raise change.place_of(change.path).error(
                    "'seed' cannot be changed, since all arms run with the study's seeds"
                    "\n  set those: seeds: [0, 1, 2] at the top of the file, or --seeds 0,1,2"
                )
        loaded = load_recipe(
            self._base(),
            self.overrides,
            variant=self.section.variant,
            plugins=self.plugins,
            no_plugins=self.no_plugins,
            layers=[fixed, cell.changes, [seed]],
            registries=self.registries,
        )
        differs = {} if baseline is None else _differing(baseline.recipe, loaded.recipe)
        return Arm(cell.name, cell.changes, loaded, cell.points, differs)

    def _check_variant(self) -> None:
        variant = self.section.variant
        if variant is not None and variant not in (valid := variants_of(self._base())):
            raise self.document.place(("variant",)).error(
                f"'variant' is '{variant}', which {self.section.base} does not have{nearest(variant, valid)}"
                + indented(f"variants: {', '.join(valid)}")
            )

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
        with place.told():
            check_folder_name("the name of an arm", arm.name)
        same = [other.name for other in found if other.name.casefold() == arm.name.casefold()]
        if same:
            capitals = ", which a folder's name does not everywhere tell apart" if same[0] != arm.name else ""
            names = f"of the name '{arm.name}'" if not capitals else f"'{same[0]}' and '{arm.name}'"
            raise place.error(f"there are two arms {names}{capitals}\n  rename one of them")
        if not arm.differs_in:
            raise place.error(
                f"the arm '{arm.name}' changes nothing: its recipe is the baseline's"
                f"\n  {_told(arm, self.overrides)}"
            )
        for other in found[1:]:
            if not _differing(other.recipe, arm.recipe):
                raise place.error(
                    f"the arms '{other.name}' and '{arm.name}' are equal: both have"
                    f" {_told(arm, self.overrides)}"
                    "\n  leave one of them out"
                )


def _at_points(arm: Arm, same: Arm) -> Arm:
    """The arm, standing also where an equal cell of the grid stands."""
    return Arm(arm.name, arm.changes, arm.loaded, {**arm.points, **same.points}, arm.differs_in)


def _told(arm: Arm, overrides: Sequence[str]) -> str:
    words = [f"{'.'.join(map(str, change.path))}: {shown(change.value)}" for change in arm.changes]
    said = f", and {fixed}" if (fixed := _on_command_line(overrides)) else ""
    return (", ".join(words) or "no changes") + said


def _on_command_line(overrides: Sequence[str]) -> str:
    return f"the command line says {' '.join(overrides)}" if overrides else ""


def _differing(a: Recipe, b: Recipe) -> dict[str, tuple[Any, Any]]:
    """Dotted keys in which two arms differ, with both values; a section of another name as its name alone."""
    keys = [key for key in differences(a, b) if has_effect(key)]
    first, second = plain_recipe(a), plain_recipe(b)
    return {key: (_at(first, key), _at(second, key)) for key in keys}


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _check_metrics(section: StudySection, arms: Sequence[Arm], document: Document | None) -> None:
    """`document`: where the metrics are written; None: on the command line."""
    for i, metric in enumerate(section.metrics):
        evaluator = metric.name.partition(".")[0]
        for arm in arms:
            asked = arm.recipe.eval.evaluators
            if evaluator not in asked:
                known = ", ".join(f"{name}.METRIC" for name in asked) or "none"
                place = COMMAND_LINE if document is None else document.place(("metrics", i, "name"))
                raise place.error(
                    f"the metric '{metric.name}' is of an evaluator that the arm '{arm.name}' does not ask"
                    f"{nearest(evaluator, asked)}\n  valid: {known};"
                    " to ask another: eval.evaluators.NAME={} on the command line, or as an override"
                )


def as_yaml(study: Study) -> str:
    """The study as YAML that runs again from anywhere; `plain_study` has the values."""
    return write_yaml(plain_study(study))


def plain_study(study: Study) -> dict[str, Any]:
    """The study as a file would hold it that runs again from anywhere.

    Paths are whole. The command line's words are among the overrides, and again in an arm that has a word of
    its own on the same key.
    """
    section, here = study.section, study.file.parent
    beside, words = here / section.base, [parse_override(word) for word in study.overrides]
    values = {f.name: plain(getattr(section, f.name)) for f in fields(section)}
    values["base"] = str(beside.resolve()) if beside.is_file() else section.base
    values["overrides"] |= _by_key(words)
    if study.baseline.recipe.data.root is not None:
        values["overrides"]["data.root"] = study.baseline.recipe.data.root  # counted from the current folder
    if study.baseline.recipe.plugins:
        values["overrides"]["plugins"] = study.baseline.recipe.plugins  # also those of --plugin
    values["arms"] = {name: _overruled(changes, words, here) for name, changes in values["arms"].items()}
    grid = values.pop("grid")
    for points in ({} if grid is None else grid["axes"]).values():
        if isinstance(points, dict):
            points |= {name: _overruled(changes, words, here) for name, changes in points.items()}
    return {"sslkit_study": FORMAT} | values | ({} if grid is None else {"grid": grid})


def _by_key(changes: Iterable[Change]) -> dict[str, Any]:
    return {".".join(map(str, change.path)): change.value for change in changes}


def _overruled(changes: Mapping[str, Any] | None, words: Sequence[Change], folder: Path) -> dict[str, Any]:
    """An arm's changes with plugins by their whole path; the command line has the last word on its keys."""
    given = Draft()
    for key, value in (changes or {}).items():
        given.put(Change(tuple(key.split(".")), value, lambda _: Place()))
    last = _by_key(w for w in words if w.path[0] != "plugins" and given.get(w.path) is not None)
    kept = {key: value for key, value in (changes or {}).items() if key not in last}
    if "plugins" in kept:
        kept["plugins"] = [_from_folder(word, folder) for word in kept["plugins"]]
    return kept | last


def _from_folder(word: str, folder: Path) -> str:
    return str((folder / word).resolve()) if is_file(word) else word
