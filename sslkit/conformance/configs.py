"""A component's `Config`: typed, documented, and where its defaults are large with a small version."""

import inspect
from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from sslkit.conformance.findings import CONFIG, Check, Finding, NotChecked, demand, raised, run
from sslkit.errors import RecipeError
from sslkit.recipe.explain import field_meanings
from sslkit.recipe.layers import Draft
from sslkit.recipe.places import COMMAND_LINE
from sslkit.recipe.schema import DataSection
from sslkit.recipe.typed import build, described, hints
from sslkit.recipe.write import plain

FOR_CHECKS = "for_checks"
"""Name of the classmethod by which a `Config` gives a version of itself that is checked in seconds."""


def config_finding(component: Any, *, shared: Collection[str] = ("name",)) -> Finding:
    """What there is to say of a component's `Config`.

    Args:
        shared: keys that stand beside its own in a recipe, which it cannot have.
    """
    return run(lambda _: config_is_typed_and_documented(component, shared), "", None, CONFIG)


@dataclass(frozen=True)
class Changes:
    """In place of a configuration: what to change in `Config.for_checks()`, or its defaults."""

    values: Mapping[str, Any]
    """By key, as a recipe has them."""


def configured(
    component: Any, config: Any, first: Check[Any], *, shared: Collection[str] = ("name",)
) -> Generator[Finding, None, Any]:
    """`config_finding`; gives back the configuration to check with.

    Args:
        config: is given back; None: `Config.for_checks()`, or its defaults; or `Changes` to that.
        first: the check that comes next: it is skipped where keys have no default, and failed where the
            configuration cannot be made; None is given back then.
        shared: as in `config_finding`.

    Raises:
        RecipeError: a change is not possible.
    """
    yield config_finding(component, shared=shared)
    changes = config.values if isinstance(config, Changes) else {}
    if not (config is None or isinstance(config, Changes)):
        return config
    try:
        return config_for_checks(component, changes)
    except NotChecked as reason:
        yield Finding(first.__name__, "", "skipped", str(reason))
    except (Exception, SystemExit) as error:
        if isinstance(error, RecipeError) and changes and _can_be_made(component):
            raise  # so the user's changes are what cannot be
        told = str(error) if isinstance(error, RecipeError) else raised(error)
        yield Finding(first.__name__, "", "failed", f"its configuration cannot be made: {told}")
    return None


def _can_be_made(component: Any) -> bool:
    try:
        config_for_checks(component)
    except NotChecked:
        return True  # it only lacks keys
    except Exception:
        return False
    return True


def config_is_typed_and_documented(component: Any, shared: Collection[str] = ("name",)) -> None:
    """`Config` is a dataclass with a docstring for itself and under every field, and a recipe can hold it."""
    config = getattr(component, "Config", None)
    demand(config is not None, f"{component.__name__} has no Config: write a dataclass, and `Config = ...`")
    documented(config)
    clash = [key for key in hints(config) if key in shared]  # type: ignore[arg-type]
    demand(not clash, f"{_name(config)} has a key '{_first(clash)}', which recipes have already: rename it")
    _survives_a_recipe(config)


def documented(config: Any) -> None:
    """A dataclass with a docstring for itself and under every field, whose types can be resolved."""
    demand(is_dataclass(config), f"{config!r} is no dataclass: write @dataclass above it")
    bare = [f.name for f in fields(config) if f.name not in field_meanings(config)]
    demand(
        not bare,
        f"{_name(config)} has fields without a docstring under them: {', '.join(bare)}."
        ' Write a """line with meaning, unit and range""" below each',
    )
    automatic = f"{_name(config)}("
    demand(
        not (config.__doc__ or automatic).startswith(automatic),
        f"{_name(config)} has no docstring of its own: say in one line what it configures",
    )
    try:
        hints(config)
    except NameError as error:
        demand(False, f"a type in {_name(config)} cannot be resolved: {error}. Import it at the module's top")


def _survives_a_recipe(config: Any) -> None:
    """Written to a recipe and read again, a configuration is the same."""
    if required(config):
        return
    given, advice = config(), "Use numbers, words, lists, or dataclasses of them"
    try:
        again = build(config, plain(given), (), Draft())
    except RecipeError as error:
        demand(False, f"a recipe cannot hold the defaults of {_name(config)}: {error}. {advice}")
        return
    for key in (f.name for f in fields(config)):
        old, new = getattr(given, key), getattr(again, key)
        demand(
            old == new, f"{_name(config)}.{key} is {old!r}, but comes back from a recipe as {new!r}. {advice}"
        )


def required(config: Any) -> list[str]:
    """The fields that must be given."""
    return [
        f.name for f in fields(config) if f.init and f.default is MISSING and f.default_factory is MISSING
    ]


def config_for_checks(component: Any, changes: Mapping[str, Any] | None = None) -> Any:
    """An instance of its `Config` to check it with: `Config.for_checks()` where there is one, and `changes`.

    Raises:
        NotChecked: keys are missing that have no default.
        RecipeError: a change is not possible.
    """
    config = component.Config
    changes = changes or {}
    make = getattr(config, FOR_CHECKS, None)
    if make is None and (missing := [key for key in required(config) if key not in changes]):
        words = " ".join(f"{key}=VALUE ({described(hints(config)[key])})" for key in missing)
        raise NotChecked(f"its Config has no default for {', '.join(missing)}. Give it as {words}")
    start = {} if make is None else plain(make())
    return build(config, merged(start, changes), (), given_draft(changes))


def given_draft(given: Iterable[str], *path: str) -> Draft:
    """For errors about these keys, which are from the command line."""
    return Draft(origins={(*path, key): lambda _: COMMAND_LINE for key in given})


def keys_of(config: Any) -> list[str]:
    """The keys of a configuration, also where a type cannot be resolved."""
    return [f.name for f in fields(config) if f.init]


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The old values with the new ones over them, mapping by mapping."""
    both = dict(old)
    for key, value in new.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merged(both[key], value) if nested else value
    return both


DATASET_KEYS = ("name", *hints(DataSection))
"""Keys of the `data` section that every data set shares."""


def _name(config: Any) -> str:
    return config.__name__ if inspect.isclass(config) else repr(config)


def _first(names: list[str]) -> str:
    return names[0] if names else ""
