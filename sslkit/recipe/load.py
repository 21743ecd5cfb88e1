"""From a recipe file to a typed `Recipe`: YAML, variants, overrides, plugins, and errors with their place."""

import difflib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from sslkit.errors import RecipeError, indented, nearest
from sslkit.plugins import Registry, resolve
from sslkit.recipe.document import Document, read_yaml
from sslkit.recipe.effect import changes_results
from sslkit.recipe.explain import explain
from sslkit.recipe.layers import Change, Draft, parse_override
from sslkit.recipe.places import COMMAND_LINE, DEFAULT, Path, Place, shown
from sslkit.recipe.schema import Recipe
from sslkit.recipe.sections import VARIANT_KEYS, build_recipe, named_sections, read_data
from sslkit.recipe.typed import convert
from sslkit.recipe.write import differences, to_yaml

__all__ = [
    "Loaded",
    "Registries",
    "differences",
    "explain",
    "find_recipe",
    "load_recipe",
    "read_data",
    "to_yaml",
]

FORMAT = 1
"""The version of the recipe format that this sslkit reads."""
FIXED = ("sslkit", *VARIANT_KEYS)
"""Keys that only the file itself can give."""
NO_VARIANT = "none"
"""The word for the bare file."""
Registries = MutableMapping[tuple[str, ...], Registry]
"""By the plugins that were asked for."""


@dataclass
class Loaded:
    """A recipe that is ready to run."""

    recipe: Recipe
    registry: Registry
    variant: str | None
    """Which variant was taken; None: the bare file."""
    notes: list[str]
    """What the user should be told: dropped keys, plugins that failed."""
    path: FilePath | None
    """The recipe's file; None for a mapping."""


def load_recipe(
    source: str | FilePath | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    variant: str | None = None,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
    layers: Sequence[Sequence[Change]] = (),
    registries: Registries | None = None,
) -> Loaded:
    """Load, lay the layers over each other, and type.

    Args:
        source: a file, the name of a packed recipe, or what a file would hold.
        overrides: `key.sub=value` words, the values read as YAML; later ones win.
        variant: name of a set of changes in the file; None: its `default_variant`; "none": no changes.
        plugins: further plugins, relative to the current folder.
        no_plugins: names of plugins to leave out.
        layers: further changes, between the variant and the overrides, such as those of a study's arm.
        registries: by the plugins that were asked for, with the same `no_plugins`; kept by who reads many
            recipes, since finding all plugins takes most of the time.

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
    written = [[Change((), bare, document.place)], changes, *layers, words]

    asked = _asked_plugins(written, path, plugins)
    registries = {} if registries is None else registries
    if tuple(asked) not in registries:
        registries[tuple(asked)] = Registry.load(asked, blocked=no_plugins)
    registry = registries[tuple(asked)]
    notes = [
        f"plugin {p.name} {'failed' if p.status == 'failed' else 'is refused'} and is left out: {p.detail}"
        for p in registry.plugins
        if p.status in ("failed", "refused")
    ]
    draft, sections = _defaults(), named_sections(registry)
    for layer in written:
        if changes_results(layer):
            draft.drop("expect")  # bands belong to what was measured
        draft.apply(layer, sections, notes)
    recipe = build_recipe(draft, registry)
    recipe.plugins = asked
    return Loaded(recipe, registry, chosen, notes, path)


def variants_of(source: str | FilePath | Mapping[str, Any]) -> list[str]:
    """What `variant` can be for a recipe: the names in its file, and "none" for the bare file.

    Raises:
        RecipeError: the recipe cannot be read.
    """
    return [*(_read(source)[0].value.get("variants") or {}), NO_VARIANT]


def find_recipe(name: str | FilePath) -> FilePath:
    """The file of a recipe: a path, or a packed one's name (`dino_vits8`, `methods/byol`).

    Raises:
        RecipeError: there is neither; the message has the nearest.
    """
    study = str(name).removeprefix(STUDIES)
    if not FilePath(name).exists() and study in packed_studies():
        raise RecipeError(f"'{name}' is a study, not a recipe\n  sslkit ablate {study}")
    return find_file(name, "recipe", packed_recipes())


def find_file(name: str | FilePath, what: str, packed: Mapping[str, FilePath]) -> FilePath:
    """A path, or the name of a file that comes with sslkit.

    Args:
        what: it is called in an error: recipe or study.
        packed: files by name.

    Raises:
        RecipeError: there is neither; the message has the nearest.
    """
    path = FilePath(name).expanduser()
    if path.is_file():
        return path
    if str(name) in packed:
        return packed[str(name)]
    if path.is_dir():
        inside = path / f"{what}.yaml"
        hint = f"\n  did you mean '{inside}'?" if inside.is_file() else ""
        raise RecipeError(f"'{name}' is a folder, not a {what}{hint}")
    near = nearest(str(name), packed) or nearest(path.stem, packed)
    plural = "recipes" if what == "recipe" else "studies"
    listed = indented(f"{plural}: {', '.join(packed) or 'none are packed'}")
    raise RecipeError(f"there is no {what} '{name}', neither a file nor a packed one{near}{listed}")


STUDIES = "ablations/"
"""Where among the recipes the studies are."""


def packed_recipes() -> dict[str, FilePath]:
    """Recipes that come with sslkit, by name: a wheel holds them, a checkout has them beside the package."""
    return {name: file for name, file in _packed().items() if not name.startswith(STUDIES)}


def packed_studies() -> dict[str, FilePath]:
    """Studies that come with sslkit, by name without their folder's."""
    found = _packed().items()
    return {name.removeprefix(STUDIES): file for name, file in found if name.startswith(STUDIES)}


def _packed() -> dict[str, FilePath]:
    package = FilePath(__file__).resolve().parents[1]
    folder = package / "_recipes"
    folder = folder if folder.is_dir() else package.parent / "recipes"
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def _read(source: str | FilePath | Mapping[str, Any]) -> tuple[Document, FilePath | None]:
    if isinstance(source, Mapping):
        return Document("the recipe", dict(source), None), None
    path = find_recipe(source)
    return read_document(path, str(source), f"a recipe is a mapping\n  it starts with sslkit: {FORMAT}"), path


def read_document(path: FilePath, asked: str, expected: str) -> Document:
    """A YAML file that holds a mapping.

    Args:
        asked: how the user called it.
        expected: what it must be, in words for the error.

    Raises:
        RecipeError: it cannot be read, is no YAML, or holds something else.
    """
    name = asked if path == FilePath(asked) else _shortest(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{name} cannot be read: {error}") from None
    document = read_yaml(text, name)
    if not isinstance(document.value, dict):
        what = "is empty" if document.value is None else f"holds {shown(document.value)}"
        raise RecipeError(f"{name} {what}, but {expected}")
    return document


def _shortest(path: FilePath) -> str:
    here = FilePath.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _check_format(document: Document) -> None:
    version = document.value.get("sslkit")
    if version is None and "sslkit_study" in document.value:
        raise RecipeError(f"{document.name} is a study, not a recipe\n  sslkit ablate {document.name}")
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
    return name, changes_at(document, ("variants", name), f"variant {name}")


def changes_at(document: Document, at: Path, label: str) -> list[Change]:
    """The changes that a file holds at a place, as a mapping whose keys are nested or dotted; none for null.

    Args:
        label: what they are called in an error, such as "variant nano" or "arm no_flip".

    Raises:
        RecipeError: it is no mapping, or changes what only a recipe's own file can say.
    """
    given = document.value
    for key in at:
        given = given[key]
    if given is not None and not isinstance(given, dict):
        raise document.place(at).error(f"{label} is {shown(given)}, but must be a mapping of changes")
    return [_change(document, (*at, key), value, label) for key, value in (given or {}).items()]


def _change(document: Document, at: Path, value: Any, label: str) -> Change:
    path = tuple(str(at[-1]).split("."))
    if path[0] in FIXED:
        raise document.place(at).error(
            f"{label} cannot change '{path[0]}', which only the file of a recipe can give\n  leave it out"
        )

    def place_of(inside: Path) -> Place:
        return Place(document.place((*at, *inside[len(path) :])).before, label)

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
    layers: Sequence[Sequence[Change]], path: FilePath | None, further: Sequence[str]
) -> list[str]:
    """Absolute paths and version demands: the recipe's, from its folder, then the command line's."""
    draft = Draft()
    for change in (change for layer in layers for change in layer):
        draft.put(change)
    specs = convert(draft.tree.get("plugins", []), list[str], ("plugins",), draft)
    on_command_line = draft.place(("plugins",)) == COMMAND_LINE
    base = FilePath.cwd() if path is None or on_command_line else path.parent
    asked = []
    for i, spec in enumerate(specs):
        with draft.place(("plugins", i)).told():
            asked.append(resolve(spec, base))
    for spec in further:
        with COMMAND_LINE.told():
            asked.append(resolve(spec))
    return list(dict.fromkeys(asked))
