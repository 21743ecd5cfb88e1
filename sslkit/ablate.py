"""The door to ablation studies: a study file in; runs, tables and a page out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslkit.ablation.live import Shown
from sslkit.ablation.places import Places
from sslkit.ablation.running import Outcome, alone, carry_out, write_recipes
from sslkit.ablation.study import Study, read_study
from sslkit.core.executor import Executor, Resources
from sslkit.plugins import Registry
from sslkit.recipe.layers import Draft
from sslkit.recipe.typed import build

__all__ = ["ablate", "read_study"]


def ablate(
    study: str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    seeds: Sequence[int] | None = None,
    executor: str = "local",
    options: dict[str, Any] | None = None,
    jobs: int | None = None,
    retry_failed: bool = False,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
) -> Outcome:
    """Run what a study still lacks.

    Args:
        study: a file, or the name of a packed study such as "temperature".
        overrides: words for all arms, such as "data.root=DIR".
        out: the study's directory, new or one that was begun; by default `studies/<name>`.
        seeds: instead of the file's.
        executor: by whom: local, ray, slurm, or a plugin's.
        options: the executor's keys.
        jobs: most runs at a time.
        retry_failed: run again what failed; otherwise a failure is a result.
        plugins, no_plugins: as for a run.
    """
    found = read_study(study, overrides, seeds=seeds, plugins=plugins, no_plugins=no_plugins)
    places = Places(Path(out) if out is not None else Path("studies") / found.name)
    with alone(places):
        write_recipes(found, places)
        resources = Resources(jobs, places.jobs / executor)
        by = build_executor(found.baseline.loaded.registry, executor, options or {}, resources)
        return carry_out(
            found,
            places,
            by,
            retry_failed=retry_failed,
            no_plugins=no_plugins,
            shown=Shown(found.metrics[0].name),
        )


def build_executor(registry: Registry, name: str, options: dict[str, Any], resources: Resources) -> Executor:
    """An executor by name, with its typed keys."""
    cls = registry.get("executors", name)
    config = build(cls.Config, options, (), Draft(), label=f"the executor {name}")
    built: Executor = cls(config, resources)
    return built


def describe(study: Study) -> list[str]:
    """The arms, and what each changes."""
    return [arm.name for arm in study.arms]
