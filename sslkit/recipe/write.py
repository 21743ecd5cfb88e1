"""From a typed `Recipe` back to plain values and YAML."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from sslkit.plugins import is_file, saved_names
from sslkit.recipe.document import write_yaml
from sslkit.recipe.schema import Component, Recipe


def to_yaml(recipe: Recipe, *, header: str = "", run_dir: Path | None = None) -> str:
    """The resolved recipe: no variants, absolute paths, every key; loads again to an equal `Recipe`.

    Args:
        header: text for a comment at the top.
        run_dir: the run directory that it is written to; plugin files are then those saved in it.
    """
    values = plain_recipe(recipe)
    if run_dir is not None:
        files = saved_names([Path(spec) for spec in recipe.plugins if is_file(spec)])
        values["plugins"] = [
            f"./plugins/{files[Path(spec)]}" if is_file(spec) else spec for spec in recipe.plugins
        ]
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return comment + write_yaml(values)


def differences(a: Recipe, b: Recipe) -> list[str]:
    """Dotted keys in which two recipes differ; of a section whose name differs, only the name."""
    return _differing(plain_recipe(a), plain_recipe(b), "")


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as its file holds it."""
    values = {f.name: plain(getattr(recipe, f.name)) for f in fields(recipe)}
    values["data"] |= values.pop("data_config") or {}
    removed = [name for name in Recipe().eval.evaluators if name not in values["eval"]["evaluators"]]
    values["eval"]["evaluators"] |= dict.fromkeys(removed)  # null: otherwise the default would come back
    return values


def plain(value: Any) -> Any:
    """Dataclasses as mappings, tuples as lists, paths as words; a component flat with its name."""
    if isinstance(value, Component):
        return {"name": value.name} | (plain(value.config) or {})
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.init}
    if isinstance(value, Mapping):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, PurePath) else value


def _differing(a: Any, b: Any, path: str) -> list[str]:
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [] if a == b else [path]
    prefix = f"{path}." if path else ""
    if path and a.get("name") != b.get("name"):
        return [f"{prefix}name"]
    missing = object()
    keys = [*a, *(key for key in b if key not in a)]
    return [
        found
        for key in keys
        for found in _differing(a.get(key, missing), b.get(key, missing), f"{prefix}{key}")
    ]
