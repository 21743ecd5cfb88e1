"""Builds the sections of a recipe, each typed by the component that it names."""

import inspect
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path as FilePath
from typing import Any

from sslkit.errors import PluginError, indented, nearest
from sslkit.plugins import KINDS, Registry
from sslkit.recipe.checks import check_data, check_values
from sslkit.recipe.layers import Draft, Keys, NamedSection
from sslkit.recipe.places import Path, dotted, shown
from sslkit.recipe.schema import BackboneSection, Component, DataSection, EvalSection, Recipe
from sslkit.recipe.typed import build, check_keys, convert, hints, mapping_at, nested_keys
from sslkit.recipe.write import plain

VARIANT_KEYS = ("variants", "default_variant")
"""Keys of a recipe file that are used up while it is loaded."""
FRAMEWORK_ARGS = ("pos_embed_resize",)
"""Keys of `backbone.args` that belong to sslkit, whatever the network."""


def recipe_keys() -> list[str]:
    """The keys at the top of a recipe file."""
    return [f.name for f in fields(Recipe) if f.name != "data_config"] + list(VARIANT_KEYS)


def named_sections(registry: Registry) -> list[NamedSection]:
    """The sections whose keys depend on a name."""

    def keys_of(kind: str, shared: type | None = None) -> Any:
        return lambda name, given: _component_keys(registry, kind, name, shared)

    recipe = Recipe()
    return [
        NamedSection(("method",), recipe.method.name, keys_of("methods")),
        NamedSection(("augment",), recipe.augment.name, keys_of("augmentations")),
        NamedSection(("data",), recipe.data.name, keys_of("datasets", DataSection)),
        NamedSection(("eval", "data"), recipe.data.name, keys_of("datasets", DataSection)),
        NamedSection(("backbone",), recipe.backbone.name, lambda name, _: _backbone_keys(registry, name)),
    ]


def _component_keys(registry: Registry, kind: str, name: str, shared: type | None) -> Keys:
    own = nested_keys(registry.get(kind, name, where=KINDS[kind]).Config)
    return {"name": None} | (nested_keys(shared) if shared else {}) | own


def _backbone_keys(registry: Registry, name: str) -> Keys:
    """Weights and arguments of another network are dropped, but for arguments that are known to fit."""
    args: dict[str, Any] = dict.fromkeys(FRAMEWORK_ARGS)
    if name in registry.names("backbones"):
        args |= dict.fromkeys(inspect.signature(registry.get("backbones", name)).parameters)
    return {"name": None, "drop_path_rate": None, "args": args}


def build_recipe(draft: Draft, registry: Registry) -> Recipe:
    """The typed recipe; raises `RecipeError` or `PluginError` with the place of what does not fit."""
    given = draft.tree
    check_keys(given, (), draft, recipe_keys(), "a recipe")
    values: dict[str, Any] = {
        "method": _component("methods", given.get("method", {}), ("method",), draft, registry),
        "augment": _component("augmentations", given.get("augment", {}), ("augment",), draft, registry),
        "eval": _evaluation(draft, registry),
        "trackers": _trackers(given.get("trackers", []), draft, registry),
    }
    values["data"], values["data_config"] = _data(given.get("data", {}), ("data",), draft, registry)
    for key, hint in hints(Recipe).items():
        if key in given and key not in values:
            values[key] = convert(given[key], hint, (key,), draft)
    recipe = Recipe(**values)
    check_values(recipe, draft)
    _check_names(recipe, draft, registry)
    recipe.backbone.weights = _absolute(recipe.backbone.weights)
    return recipe


def read_data(section: Mapping[str, Any], registry: Registry) -> tuple[DataSection, Any]:
    """A data section and its data set's own configuration, such as `eval.data` of a loaded recipe."""
    return _data(dict(section), ("eval", "data"), Draft(), registry)


def _component(kind: str, given: Any, path: Path, draft: Draft, registry: Registry) -> Component:
    default = "" if path[0] == "trackers" else getattr(Recipe(), str(path[0])).name
    given = mapping_at(given, path, draft, ["name"])
    name = convert(given.get("name", default), str, (*path, "name"), draft)
    cls = _config_class(kind, name, (*path, "name"), draft, registry)
    own = {key: value for key, value in given.items() if key != "name"}
    check_keys(own, path, draft, list(hints(cls)), f"'{dotted(path)}' ({name})")
    return Component(name, build(cls, own, path, draft))


def _config_class(kind: str, name: str, path: Path, draft: Draft, registry: Registry) -> type:
    with draft.place(path).told():
        cls: type = registry.get(kind, name, where=dotted(path)).Config
        clash = [
            key for key in hints(cls) if key == "name" or (kind == "datasets" and key in hints(DataSection))
        ]
        if clash:
            raise PluginError(f"'{name}' in {kind} has a key '{clash[0]}', which every recipe has already")
    return cls


def _data(given: Any, path: Path, draft: Draft, registry: Registry) -> tuple[DataSection, Any]:
    shared = list(hints(DataSection))
    given = mapping_at(given, path, draft, shared)
    name = convert(given.get("name", DataSection().name), str, (*path, "name"), draft)
    cls = _config_class("datasets", name, (*path, "name"), draft, registry)
    check_keys(given, path, draft, [*shared, *hints(cls)], f"'{dotted(path)}' ({name})")
    section = build(DataSection, {k: v for k, v in given.items() if k in shared}, path, draft)
    check_data(section, path, draft)
    section.root = _absolute(section.root)
    return section, build(cls, {k: v for k, v in given.items() if k not in shared}, path, draft)


def _evaluation(draft: Draft, registry: Registry) -> EvalSection:
    given = mapping_at(draft.tree.get("eval", {}), ("eval",), draft, list(hints(EvalSection)))
    section = build(EvalSection, given, ("eval",), draft)
    if section.data is not None:
        path: Path = ("eval", "data")
        data, config = _data(section.data, path, draft, registry)
        section.data = {**plain(data), **plain(config)}
    section.evaluators = {
        name: _evaluator(name, keys, draft, registry)
        for name, keys in section.evaluators.items()
        if keys is not None
    }
    return section


def _evaluator(name: str, given: Any, draft: Draft, registry: Registry) -> Any:
    path: Path = ("eval", "evaluators", name)
    with draft.place(path).told():
        cls = registry.get("evaluators", name, where="eval.evaluators").Config
    return build(cls, given, path, draft)


def _trackers(given: Any, draft: Draft, registry: Registry) -> list[Component]:
    if not isinstance(given, list):
        raise draft.place(("trackers",)).error(
            f"'trackers' is {shown(given)}, but must be a list"
            "\n  such as [tensorboard], or [{name: wandb, ...}] with keys"
        )
    entries = [{"name": entry} if isinstance(entry, str) else entry for entry in given]
    return [
        _component("trackers", entry, ("trackers", i), draft, registry) for i, entry in enumerate(entries)
    ]


def _check_names(recipe: Recipe, draft: Draft, registry: Registry) -> None:
    _check_backbone(recipe.backbone, draft, registry)
    from timm.optim import list_optimizers

    name: str = recipe.optim.name
    known: list[str] = list_optimizers()  # type: ignore[assignment]
    if name not in known:
        raise draft.place(("optim", "name")).error(
            f"'optim.name' is '{name}', which timm does not know{nearest(name, known)}"
            "\n  timm.optim.list_optimizers() has all of them"
        )


def _check_backbone(section: BackboneSection, draft: Draft, registry: Registry) -> None:
    own = registry.names("backbones")
    if section.name in own:
        with draft.place(("backbone", "name")).told():
            registry.get("backbones", section.name)  # raises where others have the name too
        return
    if ":" in section.name:
        return
    import timm

    if not timm.is_model(section.name):
        models: list[str] = timm.list_models()
        known = [*own, *models]
        raise draft.place(("backbone", "name")).error(
            f"'backbone.name' is '{section.name}', which neither timm nor a plugin provides"
            + nearest(section.name, known)
            + indented(f"plugins': {', '.join(own) or 'none'}; timm.list_models() has the rest")
        )


def _absolute(path: str | None) -> str | None:
    """Relative paths count from the current folder; addresses such as s3://... stay as they are."""
    return path if path is None or "://" in path else str(FilePath(path).expanduser().resolve())
