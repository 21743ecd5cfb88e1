"""What a plugin may add to sslkit, and what it may watch.

A hook that is going away keeps working for one minor version of sslkit, and says so: its spec is marked
`@_hookspec(warn_on_impl=DeprecationWarning("sslkit_old goes in 0.4: implement sslkit_new"))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

if TYPE_CHECKING:
    from sslkit.core.augmentation import Augmentation
    from sslkit.core.backbone import Backbone
    from sslkit.core.dataset import Dataset
    from sslkit.core.evaluator import Evaluator
    from sslkit.core.executor import Executor
    from sslkit.core.method import Method, Progress, StepOutput
    from sslkit.core.tracker import Tracker

F = TypeVar("F", bound=Callable[..., Any])

PROJECT = "sslkit"
"""Name of the pluggy project, and of the entry-point group."""

API_VERSION = "1.0"
"""Version of the hooks and of the classes in `sslkit.core`; docs/api_stability.md says what changes it."""

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function as a plugin's answer to a hook."""
_hookspec = cast(Callable[[F], F], pluggy.HookspecMarker(PROJECT))


@_hookspec
def sslkit_methods() -> Mapping[str, type[Method]]:  # type: ignore[empty-body]
    """Methods by the name that `method.name` takes."""


@_hookspec
def sslkit_backbones() -> Mapping[str, Callable[..., Backbone]]:  # type: ignore[empty-body]
    """Backbone factories by the name that `backbone.name` takes.

    Called with `channels: int`, `image_size: int`, `drop_path_rate: float` and the recipe's
    `backbone.args`, all by keyword.
    """


@_hookspec
def sslkit_augmentations() -> Mapping[str, type[Augmentation]]:  # type: ignore[empty-body]
    """Augmentations by the name that `augment.name` takes."""


@_hookspec
def sslkit_datasets() -> Mapping[str, type[Dataset]]:  # type: ignore[empty-body]
    """Data sets by the name that `data.name` takes."""


@_hookspec
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:  # type: ignore[empty-body]
    """Evaluators by the name that a key of `eval.evaluators` takes."""


@_hookspec
def sslkit_trackers() -> Mapping[str, type[Tracker]]:  # type: ignore[empty-body]
    """Trackers by the name that an entry of `trackers` takes."""


@_hookspec
def sslkit_executors() -> Mapping[str, type[Executor]]:  # type: ignore[empty-body]
    """Executors by the name that `sslkit ablate --executor` takes."""


@_hookspec
def sslkit_run_started(recipe: Any, run_dir: Path) -> None:
    """The data and the model stand, nothing is trained yet. `recipe` is a `sslkit.recipe.schema.Recipe`."""


@_hookspec
def sslkit_step_finished(progress: Progress, output: StepOutput) -> None:
    """A step is done; `output` is the last micro-batch's. Reading a tensor of it waits for the device."""


@_hookspec
def sslkit_run_finished(run_dir: Path, error: BaseException | None) -> None:
    """The run has ended, with `error` if it failed or was stopped."""
