"""The doors to a run: start or continue one, evaluate one."""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from sslkit.core.evaluator import Result, Subject
from sslkit.core.tracker import Record
from sslkit.errors import RecipeError, RunError
from sslkit.eval.evaluate import Skipped, eval_record
from sslkit.evaluation import Evaluation
from sslkit.recipe.load import Loaded, differences, load_recipe, packed_recipes
from sslkit.session import RunResult, prepare
from sslkit.stations import Facts, build_evaluators, build_method, open_eval_sets, training_images
from sslkit.summary import start_record
from sslkit.train import checkpoint
from sslkit.train.checkpoint import checkpoints
from sslkit.train.distributed import is_first_process, process_group
from sslkit.train.export import FILE_NAME, load_backbone
from sslkit.train.precision import compute_dtype
from sslkit.train.rundir import RunDirectory, choose_directory
from sslkit.train.signals import StopRequest, stop_request
from sslkit.train.trackers import JsonLines


def run(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    variant: str | None = None,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Run a recipe: train, evaluate, draw, export.

    Args:
        recipe: a file, the name of a packed recipe such as "dino_pocket", a run directory, or a mapping.
        overrides: words such as "optim.lr=0.001".
        variant: one of the recipe's variants; "none" for the bare file; None for its default.
        plugins, no_plugins: one-file plugins to load, and names of plugins to leave out.
        out: the run directory; by default the next free `runs/<name>`.
        resume: go on with the run in that directory.
        quiet: print nothing.

    Raises:
        SslkitError: the recipe, a plugin or the data are not right, or the training failed.
    """
    how = {"variant": variant, "plugins": plugins, "no_plugins": no_plugins}
    loaded, directory = _chosen(recipe, overrides, out, resume=resume, **how)
    with process_group(loaded.recipe.runtime) as place, stop_request() as stop:
        resumes = resume and bool(checkpoints(directory.checkpoints))
        session = prepare(loaded, place, stop, resumes=resumes)
        session.open(directory, resume=resume, quiet=quiet, free_name=out is None)
        return session.go()


def dry_run(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    **how: Any,
) -> Record:
    """The record that `run`, given the same, would start with; after its checks, with nothing written.

    Raises:
        SslkitError: as `run` would, before it trains.
    """
    loaded, directory = _chosen(recipe, overrides, out, resume=resume, **how)
    with process_group(loaded.recipe.runtime) as place:
        session = prepare(loaded, place, StopRequest())
        session.directory = directory
        if resume:
            session.load_newest()
        return start_record(session)


def _chosen(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    out: str | Path | None,
    *,
    resume: bool,
    **how: Any,
) -> tuple[Loaded, RunDirectory]:
    """What runs, and where."""
    if resume and not isinstance(recipe, Mapping) and Path(recipe).is_dir():
        out = recipe if out is None else out
    if resume and _looks_like_a_folder(recipe):
        raise RunError(
            f"there is no run in {recipe}\n  name the directory of a run, such as runs/dino_pocket"
        )
    given = _load(recipe, overrides, **how)
    if not (resume or is_first_process()):
        return given, RunDirectory(Path())
    directory = choose_directory(given.recipe.name, out, resume=resume)
    return _merged(given, directory, how.get("no_plugins", ())) if resume else given, directory


def _looks_like_a_folder(recipe: str | Path | Mapping[str, Any]) -> bool:
    """A path that is not there and names no packed recipe such as methods/byol."""
    if isinstance(recipe, Mapping) or Path(recipe).exists():
        return False
    return "/" in str(recipe) and str(recipe) not in packed_recipes()


def _load(source: str | Path | Mapping[str, Any], overrides: Sequence[str], **how: Any) -> Loaded:
    """The recipe as given; of a run directory, the one that it was started with."""
    if not isinstance(source, Mapping) and Path(source).is_dir():
        directory = RunDirectory(Path(source))
        if not directory.holds_a_run:
            raise RunError(
                f"{source} is a folder, but no run directory (it has no recipe.yaml)\n"
                "  give a recipe file, the name of a packed recipe, or a run directory"
            )
        source = directory.recipe
    return load_recipe(source, overrides, **how)


MAY_DIFFER = ("runtime", "checkpoint", "trackers", "plugins", "name", "closing")
"""Sections that a resume takes from the recipe that it is given, or does not compare."""


def _merged(given: Loaded, directory: RunDirectory, no_plugins: Sequence[str]) -> Loaded:
    """The directory's recipe, which rules, with the runtime, checkpoints and trackers that are given now."""
    kept = load_recipe(directory.recipe, no_plugins=no_plugins)
    wrong = [k for k in differences(kept.recipe, given.recipe) if k.split(".")[0] not in MAY_DIFFER]
    if wrong:
        raise RecipeError(
            f"the recipe differs from the one that {directory.path} was started with in {', '.join(wrong)}\n"
            f"  to go on as it was: sslkit run {directory.path} --resume      to try the change: a new --out"
        )
    kept.recipe.runtime, kept.recipe.checkpoint = given.recipe.runtime, given.recipe.checkpoint
    kept.recipe.trackers = given.recipe.trackers
    return kept


def evaluate_run(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    on: Sequence[str] = (),
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
) -> dict[str, Result | Skipped]:
    """Evaluate a run directory, or one of its checkpoints, and add the results to its `metrics.jsonl`.

    Args:
        run: a run directory (its newest checkpoint, or its `backbone.safetensors`) or a checkpoint folder.
        overrides: words such as "data.root=DIR" or "eval.evaluators.knn.k=[5]".
        on: names of evaluators, with their defaults where the recipe has none; all of the recipe's if empty.

    Returns:
        What each evaluator found, or why it was skipped.

    Raises:
        SslkitError: there is no such run; an evaluator named in `on` needs what the data lack.
    """
    path = Path(run).resolve()
    directory = RunDirectory(path.parent.parent if path.parent.name == "checkpoints" else path)
    if not directory.holds_a_run:
        raise RunError(f"there is no run in {run}\n  name the directory of a run, or one of its checkpoints")
    words = [*overrides, *(f"eval.evaluators.{name}={{}}" for name in on)]
    loaded = _load(directory.path, words, plugins=plugins, no_plugins=no_plugins)
    recipe = loaded.recipe
    with process_group(recipe.runtime) as place:
        evaluators = build_evaluators(recipe, loaded.registry)
        chosen = {name: evaluators[name] for name in on} if on else evaluators
        data, dtype = (
            open_eval_sets(recipe, loaded.registry),
            compute_dtype(recipe.runtime.precision, place.device),
        )
        subject, step = _subject(loaded, directory, path)
        subject.backbone.to(place.device)
        own = load_recipe(directory.recipe, plugins=plugins, no_plugins=no_plugins).recipe
        evaluation = Evaluation(
            chosen,
            data,
            place.device,
            dtype,
            recipe,
            loaded.registry,
            training_images=partial(training_images, own, loaded.registry),
        )
        found = dict(evaluation.results(subject, step, directory.figures))
    for name, result in found.items():
        if isinstance(result, Skipped) and name in on:
            raise RunError(f"{name} cannot be asked: {result.reason}")
    log = JsonLines(directory.metrics)
    for name, result in found.items():
        if isinstance(result, Result):
            log.log(eval_record(step, name, data.test, result))
    log.close()
    return found


def _subject(loaded: Loaded, directory: RunDirectory, path: Path) -> tuple[Subject, int]:
    """What is evaluated, and the step that it stands at."""
    newest = path if path != directory.path else checkpoint.newest_sound(directory.checkpoints)[0]
    if newest is None:
        step = int(directory.read_record().get("step") or 0)
        return Subject(load_backbone(directory.path / FILE_NAME, loaded.registry)), step
    problem = checkpoint.damage(newest)
    if problem is not None:
        raise RunError(f"{newest} cannot be read: {problem}\n  valid: {_names(directory)}")
    setup = directory.read_record().get("setup")
    if setup is None:
        raise RunError(f"{directory.record} is missing or damaged, and says how the method was built")
    method = build_method(loaded.recipe, loaded.registry, Facts(**setup), load_weights=False)
    checkpoint.load_method(method, newest)
    step = json.loads((newest / "state.json").read_text())["step"]
    return Subject(method.encoder, method), step


def _names(directory: RunDirectory) -> str:
    return ", ".join(p.name for p in checkpoints(directory.checkpoints)) or "none"


class _Door(ModuleType):
    """A module that can be called: `sslkit.run(...)` works, whether or not `sslkit.run` was imported."""

    def __call__(
        self, recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), **how: Any
    ) -> RunResult:
        return run(recipe, overrides, **how)


sys.modules[__name__].__class__ = _Door
