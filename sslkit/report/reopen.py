"""From a run directory back to what it was run with."""

from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.train.rundir import RunDirectory

if TYPE_CHECKING:
    from sslkit.plugins import Registry
    from sslkit.recipe.load import Loaded


def recipe_of(run_dir: Path) -> "Loaded":
    """The recipe that a run directory holds, with the plugins that the run had."""
    from sslkit.recipe.load import load_recipe

    directory = RunDirectory(run_dir)
    return load_recipe(directory.recipe, no_plugins=blocked_in(directory))


def blocked_in(directory: RunDirectory) -> list[str]:
    """Names of the plugins that a run was told to leave out."""
    plugins = directory.read_record().get("plugins", [])
    return [plugin["name"] for plugin in plugins if plugin["status"] == "left out"]


def registry_of(run_dir: Path) -> "Registry":
    """The plugins that a run had."""
    return recipe_of(run_dir).registry
