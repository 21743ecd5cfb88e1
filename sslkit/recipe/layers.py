"""Lays a recipe's layers over each other: defaults, the file, a variant, the command line."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from sslkit.recipe.document import read_value
from sslkit.recipe.places import COMMAND_LINE, DEFAULT, Path, Place, PlaceOf, dotted, shown

Keys = Mapping[str, Any]
"""The keys that a component has; a nested mapping where a key has keys of its own, else None."""


@dataclass(frozen=True)
class Change:
    """One value for one key, and where it was written."""

    path: Path
    value: Any
    place_of: PlaceOf


@dataclass(frozen=True)
class NamedSection:
    """A section whose `name` says which keys it has."""

    path: Path
    default: str
    """The name where none is given."""
    keys_of: Callable[[str, Mapping[str, Any]], Keys]
    """(name, the section so far) -> the keys that a section of that name has."""


@dataclass
class Draft:
    """The values that were given so far, and where."""

    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, PlaceOf] = field(default_factory=dict)

    def get(self, path: Path) -> Any:
        """The value that was given, or None."""
        node: Any = self.tree
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        return node

    def place(self, path: Path) -> Place:
        """Where a value was written, or the mapping that it stands in."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]](path)
        return DEFAULT

    def apply(self, layer: Sequence[Change], sections: Iterable[NamedSection], notes: list[str]) -> None:
        """Lay one layer over the others; a section whose name it changes starts again."""
        alone = Draft()
        for change in layer:
            alone.put(change)
        for section in sections:
            self._restart(section, alone, notes)
        for change in layer:
            self.put(change)

    def drop(self, key: str) -> None:
        """Forget a section, as if no layer had given it."""
        self.tree.pop(key, None)
        self.origins = {path: origin for path, origin in self.origins.items() if path[:1] != (key,)}

    def put(self, change: Change) -> None:
        """Set one value; a mapping is merged into a mapping, anything else replaces."""
        node = self.tree
        for depth, key in enumerate(change.path[:-1], start=1):
            child = node.get(str(key))
            if isinstance(child, list):
                raise change.place_of(change.path).error(
                    f"'{dotted(change.path[:depth])}' is a list, which has no key '{change.path[depth]}'"
                    f"\n  give the whole list in brackets: {dotted(change.path[:depth])}=[...]"
                )
            if not isinstance(child, dict):
                child = node[str(key)] = {}
                self._own(change.path[:depth], change.place_of)
            node = child
        value = plain_value(change.value, change.path, change.place_of)
        if change.path:
            self._merge(node, change.path, value, change.place_of)
        else:
            for key, child in value.items():
                self._merge(node, (key,), child, change.place_of)

    def _merge(self, node: dict[str, Any], path: Path, value: Any, place_of: PlaceOf) -> None:
        key = str(path[-1])
        if isinstance(value, dict) and isinstance(node.get(key), dict):
            for name, child in value.items():
                self._merge(node[key], (*path, name), child, place_of)
            return
        node[key] = value
        self._own(path, place_of)

    def _own(self, path: Path, place_of: PlaceOf) -> None:
        self.origins = {p: origin for p, origin in self.origins.items() if p[: len(path)] != path}
        self.origins[path] = place_of

    def _restart(self, section: NamedSection, layer: "Draft", notes: list[str]) -> None:
        given, new = self.get(section.path), layer.get((*section.path, "name"))
        if not isinstance(given, dict) or not isinstance(new, str):
            return
        old = given.get("name") or section.default
        if new == old:
            return
        with layer.place((*section.path, "name")).told():
            keys = section.keys_of(new, given)
        dropped = _prune(given, keys)
        if dropped:
            notes.append(
                f"{dotted(section.path)}.name is now {new} instead of {old}: dropped {', '.join(dropped)}"
                f", which {new} does not have"
            )


def _prune(given: dict[str, Any], keys: Keys, prefix: str = "") -> list[str]:
    dropped = []
    for key in list(given):
        if key not in keys:
            dropped.append(prefix + key)
            del given[key]
        elif isinstance(given[key], dict) and keys[key] is not None:
            dropped += _prune(given[key], keys[key], f"{prefix}{key}.")
    return dropped


def parse_override(word: str) -> Change:
    """`key.sub=value`, the value read as YAML.

    Raises:
        RecipeError: no '=', no key, or a value that is not YAML.
    """
    key, equals, text = word.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise COMMAND_LINE.error(f"'{word}' is not of the form key=value\n  such as optim.lr=0.001")
    with COMMAND_LINE.told():
        value = read_value(text)
    return Change(path, value, lambda _: COMMAND_LINE)


def plain_value(value: Any, path: Path, place_of: PlaceOf) -> Any:
    """A copy of a value that YAML has a word for; raises `RecipeError` for anything else."""
    if isinstance(value, str) and "${" in value:
        raise place_of(path).error(
            f"'{dotted(path)}' is {shown(value)}: no value can refer to another\n  write it out"
        )
    if isinstance(value, Mapping):
        return {
            _word(key, v, path, place_of): plain_value(v, (*path, key), place_of) for key, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain_value(child, (*path, i), place_of) for i, child in enumerate(value)]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value)  # numpy's too
    if isinstance(value, PurePath):
        return str(value)
    raise place_of(path).error(
        f"'{dotted(path)}' is {shown(value)}, a {type(value).__name__}, which a recipe cannot hold"
    )


def _word(key: Any, value: Any, path: Path, place_of: PlaceOf) -> str:
    where = f"'{dotted(path)}'" if path else "the recipe"
    if isinstance(key, str):
        place = place_of(path)
        if value is None and ":" in key and place is COMMAND_LINE:  # {depth:2}, to YAML one word
            raise place.error(
                f"a key of {where} is {shown(key)}, without a value"
                f"\n  write a space behind the colon: {key.replace(':', ': ', 1)}"
            )
        return key
    raise place_of(path).error(f"a key of {where} is {shown(key)}, but keys are words")
