"""From a run directory back to what it was run with."""

from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.train.export import blocked_in
from sslkit.train.rundir import RunDirectory

if TYPE_CHECKING:
    from sslkit.plugins import Registry
    from sslkit.recipe.load import Loaded


def recipe_of(run_dir: Path) -> "Loaded":
    """The recipe that a run directory holds, with the plugins that the run had."""
    from sslkit.recipe.load import load_recipe

    return load_recipe(RunDirectory(run_dir).recipe, no_plugins=blocked_in(run_dir))


def registry_of(run_dir: Path) -> "Registry":
    """The plugins that a run had."""
    return recipe_of(run_dir).registry
