"""In what runs differ: the settings that all share, each component's own, and where they ran."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sslkit.comparison.reading import Run
from sslkit.recipe.effect import has_effect

Settings = Mapping[str, Any]
"""Values by dotted key."""


class Missing(Enum):
    """Stands where there is no such key."""

    MISSING = ""


MISSING = Missing.MISSING

ORDER = ("backbone", "data", "augment", "optim", "eval", "runtime", "method", "plugin")
"""Sections as they are shown."""
NAMED = ("backbone", "augment", "data", "eval.data")
"""Sections whose keys depend on their name; of `method` every key but the name does."""
MEASURED_ALIKE = (
    *("eval.every_epochs", "eval.batch_size", "eval.evaluators"),
    *("eval.evaluators.knn.k", "eval.evaluators.knn.chunk"),
)
"""Keys of `eval` that change when and of what there are numbers, but not what a number means."""
NOT_MEASURED = ("data.on_error", "data.max_broken")
"""Keys of `data` that leave the images as they are."""


@dataclass(frozen=True)
class Setting:
    """One key, and its value in each group."""

    key: str
    values: tuple[Any, ...]
    """`MISSING` where a group's recipe has no such key."""

    @property
    def changes_evaluation(self) -> bool:
        """Whether the groups that have it are measured in another way or on other images."""
        if not _differ(self.known) or self.key in (*MEASURED_ALIKE, *NOT_MEASURED):
            return False
        return self.key.startswith(("eval.", "data."))

    @property
    def known(self) -> list[Any]:
        """The values of the groups that have it."""
        return [value for value in self.values if value is not MISSING]


@dataclass(frozen=True)
class Differences:
    """All in which groups differ."""

    shared: tuple[Setting, ...]
    """Settings that every method has; these must be equal in a fair comparison."""
    own: tuple[Settings, ...]
    """Of each group, the keys of its method, and what only its kind of backbone, data or augmentation has."""
    ran: tuple[Setting, ...]
    """Device, precision, versions; several values where the runs of a group differ."""

    @property
    def of_evaluation(self) -> list[str]:
        """Keys that make the numbers incomparable."""
        return [setting.key for setting in self.shared if setting.changes_evaluation]


def settings_of(run: Run) -> Settings:
    """Every setting that can change what a run learns or measures, by dotted key."""
    evaluators = {
        name: keys or {}
        for name, keys in (run.recipe["eval"].get("evaluators") or {}).items()
        if keys is not None
    }
    recipe = {**run.recipe, "eval": {**run.recipe["eval"], "evaluators": evaluators}}
    flat = {key: value for key, value in _flat(recipe) if has_effect(key)}
    flat["eval.evaluators"] = sorted(evaluators)
    files = {f"plugin.{p['name']}": p["sha256"][:8] for p in run.record.get("plugins", []) if p.get("sha256")}
    return flat | files


def differences(settings: Sequence[Settings], runs: Sequence[Sequence[Run]]) -> Differences:
    """In what groups differ.

    Args:
        settings: of each group.
        runs: of each group.
    """
    keys = dict.fromkeys(key for group in settings for key in group)
    rows = [Setting(key, tuple(group.get(key, MISSING) for group in settings)) for key in keys]
    rows = sorted((row for row in rows if _differ(row.values)), key=_place)
    names = {section: [group.get(f"{section}.name") for group in settings] for section in NAMED}
    own = [row for row in rows if _is_own(row, names)]
    return Differences(
        tuple(row for row in rows if row not in own),
        tuple({r.key: r.values[i] for r in own if r.values[i] is not MISSING} for i in range(len(settings))),
        tuple(_where_they_ran(runs)),
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, child in value.items():
        if isinstance(child, Mapping):
            yield from _flat(child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", child


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _place(row: Setting) -> int:
    section = row.key.partition(".")[0]
    return ORDER.index(section) if section in ORDER else len(ORDER)


def _is_own(row: Setting, names: Mapping[str, Sequence[Any]]) -> bool:
    if row.key.startswith("method."):
        return row.key != "method.name"
    if MISSING not in row.values or _differ(row.known):
        return False
    return any(row.key.startswith(f"{section}.") and _differ(names[section]) for section in names)


RAN_ON = ("device", "precision", "threads", "world_size", "platform", "sslkit", "git_commit")
RAN_WITH = ("torch", "timm", "kornia")
ASKED = (("runtime", "compile"), ("runtime", "deterministic"), ("data", "workers"))


def _where_they_ran(groups: Sequence[Sequence[Run]]) -> Iterator[Setting]:
    """What changes speed and rounding, one row for each fact that is not the same everywhere."""
    found = [[_facts(run) for run in runs] for runs in groups]
    for key in found[0][0]:
        values = [tuple(dict.fromkeys(facts[key] for facts in group)) for group in found]
        if _differ(values) or any(len(distinct) > 1 for distinct in values):
            yield Setting(key, tuple(values))


def _facts(run: Run) -> dict[str, Any]:
    record, packages = run.record, run.record.get("packages", {})
    facts = {key: record.get(key, MISSING) for key in RAN_ON} | {
        key: packages.get(key, MISSING) for key in RAN_WITH
    }
    if isinstance(facts["git_commit"], str):
        facts["git_commit"] = facts["git_commit"][:8]
    return facts | {f"{s}.{key}": run.recipe[s].get(key, MISSING) for s, key in ASKED}
