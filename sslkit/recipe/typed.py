"""Turns plain values into the dataclasses of a recipe, and says what does not fit and where.

The classes are walked here, because OmegaConf 2.4 refuses values of unions with containers
(`float | list[float]`); single values are converted by its structured configs.
"""

import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, make_dataclass
from functools import cache
from pathlib import Path as FilePath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sslkit.errors import RecipeError, indented, nearest
from sslkit.recipe.layers import Draft
from sslkit.recipe.places import Path, dotted, no_such_key, shown

T = TypeVar("T")


class _MisfitError(Exception):
    """A value is not of the type that its key has."""


def hints(cls: type[Any]) -> dict[str, Any]:
    """Types of the fields that the constructor takes, by name, in their order."""
    known = typing.get_type_hints(cls)
    return {f.name: known[f.name] for f in fields(cls) if f.init}


def nested_keys(cls: type) -> dict[str, Any]:
    """The keys of a dataclass; for a key that has keys of its own those, else None."""
    return {
        name: nested_keys(hint) if is_dataclass(hint) and isinstance(hint, type) else None
        for name, hint in hints(cls).items()
    }


def build(cls: type[T], given: Any, path: Path, draft: Draft, *, label: str | None = None) -> T:
    """An instance of a dataclass from a mapping.

    Args:
        given: the mapping.
        path: where it stands in the recipe.
        draft: knows where each value was written.
        label: what to call the section in an error.

    Raises:
        RecipeError: an unknown key, a value of a wrong type, or one that the class itself refuses.
    """
    valid = hints(cls)
    given = mapping_at(given, path, draft, list(valid))
    check_keys(given, path, draft, list(valid), label or f"'{dotted(path)}'")
    for f in fields(cls):  # type: ignore[arg-type]
        if f.init and f.default is MISSING and f.default_factory is MISSING and f.name not in given:
            key = dotted((*path, f.name))
            raise draft.place(path).error(f"'{key}' must be given: {described(valid[f.name])}")
    values = {key: convert(value, valid[key], (*path, key), draft) for key, value in given.items()}
    return construct(cls, values, path, draft)


def check_keys(given: Mapping[str, Any], path: Path, draft: Draft, valid: list[str], label: str) -> None:
    for key in given:
        if key not in valid:
            raise draft.place((*path, key)).error(no_such_key((*path, key), valid, label))


def mapping_at(given: Any, path: Path, draft: Draft, valid: Sequence[str]) -> dict[str, Any]:
    """`given` if it is a mapping; raises `RecipeError` otherwise."""
    if isinstance(given, dict):
        return given
    hint = "leave it out for the defaults, or give keys" if given is None else "give its keys"
    raise draft.place(path).error(
        f"'{dotted(path)}' is {shown(given)}, but must be a mapping{indented(f'{hint}: ' + ', '.join(valid))}"
    )


def construct(cls: type[T], values: Mapping[str, Any], path: Path, draft: Draft) -> T:
    """Call the class; what its `__post_init__` refuses is told with the key's place."""
    try:
        return cls(**values)
    except (RecipeError, ValueError, TypeError) as error:
        words = re.findall(r"'([^']+)'", str(error))
        key = next((word for word in words if word.split(".")[0] in hints(cls)), None)
        at = (*path, *key.split(".")) if key else path
        text = str(error).replace(f"'{key}'", f"'{dotted(at)}'") if key else f"'{dotted(path)}': {error}"
        raise draft.place(at).error(text) from error


def convert(value: Any, hint: Any, path: Path, draft: Draft) -> Any:
    """The value as the type says; raises `RecipeError` with place, value and what is valid."""
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, value, path, draft)
    try:
        return _convert(value, hint, path, draft)
    except _MisfitError:
        choices = [str(c) for c in get_args(hint)] if get_origin(hint) is Literal else []
        near = nearest(value, choices) if isinstance(value, str) else ""
        message = f"'{dotted(path)}' is {shown(value)}, but must be {described(hint)}"
        raise draft.place(path).error(message + near + _yaml_advice(value, hint)) from None


def _convert(value: Any, hint: Any, path: Path, draft: Draft) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _one_of(value, get_args(hint), path, draft)
    if origin in (list, tuple, Sequence):
        return _many(value, hint, path, draft)
    if origin in (dict, Mapping) or hint is dict:
        return _free(value, hint, path, draft)
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, value, path, draft)
    return _single(value, hint)


def _one_of(value: Any, arms: tuple[Any, ...], path: Path, draft: Draft) -> Any:
    if value is None and type(None) in arms:
        return None
    arms = tuple(arm for arm in arms if arm is not type(None))
    exact = [arm for arm in arms if _kind(arm) is type(value)]
    for arm in [*exact, *(arm for arm in arms if arm not in exact)]:
        try:
            return _convert(value, arm, path, draft)
        except _MisfitError:
            continue
        except RecipeError:
            if arm in exact:  # the right kind of thing, with a fault inside
                raise
    raise _MisfitError


def _kind(hint: Any) -> Any:
    """The type of the plain value that is most likely meant for a hint."""
    if isinstance(hint, type) and is_dataclass(hint):
        return dict
    return {tuple: list, Sequence: list, Mapping: dict}.get(get_origin(hint), get_origin(hint) or hint)


def _many(value: Any, hint: Any, path: Path, draft: Draft) -> Any:
    if not isinstance(value, list):
        raise _MisfitError
    arms = get_args(hint) or (Any,)
    is_tuple = get_origin(hint) is tuple
    if is_tuple and arms[-1] is not Ellipsis and len(arms) != len(value):
        raise _MisfitError
    each = arms if is_tuple and arms[-1] is not Ellipsis else (arms[0],) * len(value)
    children = [
        convert(child, arm, (*path, i), draft) for i, (child, arm) in enumerate(zip(value, each, strict=True))
    ]
    return tuple(children) if is_tuple else children


def _free(value: Any, hint: Any, path: Path, draft: Draft) -> dict[str, Any]:
    """A mapping of any keys; null empties it, since a later layer can only add to it otherwise."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _MisfitError
    arms = get_args(hint) or (str, Any)
    return {key: convert(child, arms[1], (*path, key), draft) for key, child in value.items()}


def _single(value: Any, hint: Any) -> Any:
    if hint is Any:
        return value
    if isinstance(value, list | dict) or (
        isinstance(value, bool) and bool not in (hint, *map(type, get_args(hint)))
    ):
        raise _MisfitError  # OmegaConf would make the word 'False' of a false
    if isinstance(value, float) and hint is str:
        raise _MisfitError  # 1.10 would become '1.1'
    try:
        typed = OmegaConf.merge(OmegaConf.structured(_holder(hint)), {"value": value})
        result = OmegaConf.to_object(typed).value  # type: ignore[union-attr]
    except (OmegaConfBaseException, ValueError):
        raise _MisfitError from None
    return result.expanduser().absolute() if isinstance(result, FilePath) else result


@cache
def _holder(hint: Any) -> type:
    return make_dataclass("Holder", [("value", hint)])


def _yaml_advice(value: Any, hint: Any) -> str:
    if hint is str and isinstance(value, bool | float):
        return (
            "\n  put it in quotes: without them YAML reads a word such as no, off or 1.10 as something else"
        )
    return ""


_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    FilePath: "a path",
    type(None): "null",
    Any: "anything",
}
_PLURALS = {
    int: "whole numbers",
    float: "numbers",
    bool: "true or false each",
    str: "words",
    FilePath: "paths",
}


def described(hint: Any) -> str:
    """A type in words: 'a number', 'a list of numbers', 'a whole number or null'."""
    if hint in _WORDS:
        return _WORDS[hint]
    origin, arms = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(described(arm) for arm in arms)
    if origin is Literal:
        return f"one of {', '.join(map(str, arms))}"
    if origin is tuple and arms[-1] is not Ellipsis:
        return f"a list of {len(arms)} {_PLURALS.get(arms[0], 'values')}"
    if origin in (list, tuple, Sequence):
        return f"a list of {_PLURALS.get(arms[0], 'values')}" if arms else "a list"
    if isinstance(hint, type) and not issubclass(hint, dict) and not is_dataclass(hint):
        return f"one of {', '.join(hint.__members__)}" if hasattr(hint, "__members__") else hint.__name__
    return "a mapping"
