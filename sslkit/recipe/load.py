"""From a recipe file to a typed `Recipe`: YAML, variants, overrides, plugins, and errors with their place."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslkit.errors import RecipeError, indented, nearest
from sslkit.plugins import Registry, resolve
from sslkit.recipe.document import Document, read_yaml
from sslkit.recipe.explain import explain
from sslkit.recipe.layers import Change, Draft, parse_override
from sslkit.recipe.places import COMMAND_LINE, DEFAULT, Place, shown
from sslkit.recipe.schema import Recipe
from sslkit.recipe.sections import VARIANT_KEYS, build_recipe, named_sections, read_data
from sslkit.recipe.typed import convert
from sslkit.recipe.write import differences, to_yaml

__all__ = ["Loaded", "differences", "explain", "find_recipe", "load_recipe", "read_data", "to_yaml"]

FORMAT = 1
"""The version of the recipe format that this sslkit reads."""
FIXED = ("sslkit", *VARIANT_KEYS)
"""Keys that only the file itself can give."""
NO_VARIANT = "none"
"""The word for the bare file."""


@dataclass
class Loaded:
    """A recipe that is ready to run."""

    recipe: Recipe
    registry: Registry
    variant: str | None
    """Which variant was taken; None: the bare file."""
    notes: list[str]
    """What the user should be told: dropped keys, plugins that failed."""
    path: Path | None
    """The recipe's file; None for a mapping."""


def load_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    variant: str | None = None,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
) -> Loaded:
    """Load, lay the layers over each other, and type.

    Args:
        source: a file, the name of a packed recipe, or what a file would hold.
        overrides: `key.sub=value` words, the values read as YAML; later ones win.
        variant: name of a set of changes in the file; None: its `default_variant`; "none": no changes.
        plugins: further plugins, relative to the current folder.
        no_plugins: names of plugins to leave out.

    Raises:
        RecipeError: the recipe cannot be read, or has an unknown key, a wrong type, an impossible value.
        PluginError: a plugin or a component is missing, broken, or in conflict.
    """
    document, path = _read(source)
    _check_format(document)
    chosen, changes = _variant(document, variant)
    words = [parse_override(word) for word in overrides]
    _check_overrides(words)
    bare = {key: value for key, value in document.value.items() if key not in VARIANT_KEYS}
    layers = [[Change((), bare, document.place)], changes, words]

    asked = _asked_plugins(layers, path, plugins)
    registry = Registry.load(asked, blocked=no_plugins)
    notes = [
        f"plugin {p.name} failed and is left out: {p.detail}"
        for p in registry.plugins
        if p.status == "failed"
    ]
    draft, sections = _defaults(), named_sections(registry)
    for layer in layers:
        draft.apply(layer, sections, notes)
    recipe = build_recipe(draft, registry)
    recipe.plugins = asked
    return Loaded(recipe, registry, chosen, notes, path)


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe: a path, or a packed one's name (`dino_vits8`, `ablations/temperature`).

    Raises:
        RecipeError: there is neither; the message has the nearest.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    packed = packed_recipes()
    if str(name) in packed:
        return packed[str(name)]
    if path.is_dir():
        inside = path / "recipe.yaml"
        hint = f"\n  did you mean '{inside}'?" if inside.is_file() else ""
        raise RecipeError(f"'{name}' is a folder, not a recipe{hint}")
    near = nearest(str(name), packed) or nearest(path.stem, packed)
    listed = indented(f"recipes: {', '.join(packed) or 'none are packed'}")
    raise RecipeError(f"there is no recipe '{name}', neither a file nor a packed one{near}{listed}")


def packed_recipes() -> dict[str, Path]:
    """Recipes that come with sslkit, by name: a wheel holds them, a checkout has them beside the package."""
    package = Path(__file__).resolve().parents[1]
    folder = package / "_recipes"
    folder = folder if folder.is_dir() else package.parent / "recipes"
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def _read(source: str | Path | Mapping[str, Any]) -> tuple[Document, Path | None]:
    if isinstance(source, Mapping):
        return Document("the recipe", dict(source), None), None
    path = find_recipe(source)
    name = str(source) if path == Path(source) else _shortest(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{name} cannot be read: {error}") from None
    document = read_yaml(text, name)
    if not isinstance(document.value, dict):
        what = "is empty" if document.value is None else f"holds {shown(document.value)}"
        raise RecipeError(f"{name} {what}, but a recipe is a mapping\n  it starts with sslkit: {FORMAT}")
    return document, path


def _shortest(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _check_format(document: Document) -> None:
    version = document.value.get("sslkit")
    if version is None:
        raise RecipeError(
            f"{document.name} has no 'sslkit: {FORMAT}', the version of the recipe format"
            f"{_renamed(document.value)}\n  add the line at its top"
        )
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise document.place(("sslkit",)).error(f"'sslkit' is {shown(version)}, but must be {FORMAT}")
    if version > FORMAT:
        raise document.place(("sslkit",)).error(
            f"'sslkit' is {version}, but this sslkit reads recipes of format {FORMAT}"
            '\n  upgrade it: pip install --upgrade "sslkit"'
        )


def _renamed(given: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches("sslkit", [str(key) for key in given], n=1)
    return f"\n  did you mean it by '{near[0]}'?" if near else ""


def _variant(document: Document, wanted: str | None) -> tuple[str | None, list[Change]]:
    """The chosen variant's name, and its changes; keys may be nested or dotted."""
    variants, default = document.value.get("variants") or {}, document.value.get("default_variant")
    if not isinstance(variants, dict) or NO_VARIANT in variants:
        raise document.place(("variants",)).error(
            f"'variants' must be a mapping of names to changes, none of them named '{NO_VARIANT}'"
        )
    name = default if wanted is None else wanted
    place = document.place(("default_variant",)) if wanted is None else COMMAND_LINE
    if name is None or name == NO_VARIANT:
        return None, []
    if name not in variants:
        known = [*variants, NO_VARIANT]
        near = nearest(str(name), known)
        raise place.error(f"there is no variant {shown(name)}{near}\n  variants: {', '.join(known)}")
    changes = {} if variants[name] is None else variants[name]
    if not isinstance(changes, dict):
        raise document.place(("variants", name)).error(
            f"the variant '{name}' is {shown(changes)}, but must be a mapping of changes"
        )
    return name, [_variant_change(document, name, key, value) for key, value in changes.items()]


def _variant_change(document: Document, name: str, key: str, value: Any) -> Change:
    path = tuple(str(key).split("."))

    def place_of(at: tuple[str | int, ...]) -> Place:
        return Place(document.place(("variants", name, key, *at[len(path) :])).before, f"variant {name}")

    if path[0] in FIXED:
        raise place_of(path).error(f"a variant cannot change '{path[0]}'")
    return Change(path, value, place_of)


def _check_overrides(words: Sequence[Change]) -> None:
    for change in words:
        if change.path[0] in FIXED:
            advice = "\n  choose a variant with --variant NAME" if change.path[0] in VARIANT_KEYS else ""
            raise COMMAND_LINE.error(f"'{change.path[0]}' cannot be overridden{advice}")


def _defaults() -> Draft:
    draft = Draft()
    draft.put(Change(("eval", "evaluators"), Recipe().eval.evaluators, lambda _: DEFAULT))
    return draft


def _asked_plugins(
    layers: Sequence[Sequence[Change]], path: Path | None, further: Sequence[str]
) -> list[str]:
    """Absolute paths and version demands: the recipe's, from its folder, then the command line's."""
    draft = Draft()
    for change in (change for layer in layers for change in layer):
        draft.put(change)
    specs = convert(draft.tree.get("plugins", []), list[str], ("plugins",), draft)
    on_command_line = draft.place(("plugins",)) == COMMAND_LINE
    base = Path.cwd() if path is None or on_command_line else path.parent
    asked = []
    for i, spec in enumerate(specs):
        with draft.place(("plugins", i)).told():
            asked.append(resolve(spec, base))
    for spec in further:
        with COMMAND_LINE.told():
            asked.append(resolve(spec))
    return list(dict.fromkeys(asked))
