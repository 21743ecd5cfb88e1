"""The doors to a run: start or continue one, evaluate one."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sslkit.core.evaluator import Result
from sslkit.core.tracker import Record
from sslkit.data.open import open_train
from sslkit.errors import RecipeError, RunError
from sslkit.eval.evaluate import Skipped, check_needs, eval_record
from sslkit.eval.feature_cache import FeatureCache
from sslkit.eval.progress import Track, unseen
from sslkit.eval.wording import Measured, as_record, told
from sslkit.evaluation import Evaluation
from sslkit.recipe.load import Loaded, differences, load_recipe, packed_recipes
from sslkit.session import RunResult, prepare
from sslkit.stations import build_evaluators, open_eval_sets, training_images
from sslkit.subjects import Asked, ask
from sslkit.summary import start_record
from sslkit.train import checkpoint
from sslkit.train.checkpoint import checkpoints
from sslkit.train.distributed import Place, is_first_process, process_group
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
    start: str | Path | None = None,
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
        start: a checkpoint of another run, from which a new one with another recipe starts: with its weights,
            its optimiser's state and its step.
        quiet: print nothing.

    Raises:
        SslkitError: the recipe, a plugin or the data are not right, or the training failed.
    """
    how = {"variant": variant, "plugins": plugins, "no_plugins": no_plugins}
    first = _checked_start(start, resume=resume)
    loaded, directory = _chosen(recipe, overrides, out, resume=resume, **how)
    with process_group(loaded.recipe.runtime) as place, stop_request() as stop:
        resumes = first is not None or (resume and bool(checkpoints(directory.checkpoints)))
        session = prepare(loaded, place, stop, resumes=resumes)
        session.open(directory, resume=resume, quiet=quiet, free_name=out is None, start=first)
        return session.go()


def dry_run(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    start: str | Path | None = None,
    **how: Any,
) -> Record:
    """The record that `run`, given the same, would start with; after its checks, with nothing written.

    Raises:
        SslkitError: as `run` would, before it trains.
    """
    first = _checked_start(start, resume=resume)
    loaded, directory = _chosen(recipe, overrides, out, resume=resume, **how)
    with process_group(loaded.recipe.runtime) as place:
        session = prepare(loaded, place, StopRequest())
        session.directory = directory
        if resume:
            session.load_newest()
        if first is not None:
            checkpoint.load(session.trainer.state, first)
            session.first_step = session.step
        return start_record(session)


def _checked_start(start: str | Path | None, *, resume: bool) -> Path | None:
    """The checkpoint to start from, sound; asked on all processes, before anything is built."""
    if start is None:
        return None
    if resume:
        raise RunError("a run either goes on (--resume) or starts from another one's checkpoint (--from)")
    checkpoint.check_sound(Path(start))
    return Path(start)


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
    return load_recipe(recipe_of(source), overrides, **how)


def recipe_of(source: str | Path | Mapping[str, Any]) -> str | Path | Mapping[str, Any]:
    """The recipe as given; of a run directory, the one that it was started with.

    Raises:
        RunError: it is a folder, but no run directory.
    """
    if isinstance(source, Mapping) or not Path(source).is_dir():
        return source
    directory = RunDirectory(Path(source))
    if not directory.holds_a_run:
        raise RunError(
            f"{source} is a folder, but no run directory (it has no recipe.yaml)\n"
            "  give a recipe file, the name of a packed recipe, or a run directory"
        )
    return directory.recipe


MAY_DIFFER = ("runtime", "checkpoint", "trackers", "plugins", "name", "closing", "expect")
"""Sections that a resume takes from the recipe that it is given, or does not compare."""


def _merged(given: Loaded, directory: RunDirectory, no_plugins: Sequence[str]) -> Loaded:
    """The directory's recipe, which rules, with the runtime, checkpoints, trackers and bands given now."""
    kept = load_recipe(directory.recipe, no_plugins=no_plugins)
    wrong = [k for k in differences(kept.recipe, given.recipe) if k.split(".")[0] not in MAY_DIFFER]
    if wrong:
        raise RecipeError(
            f"the recipe differs from the one that {directory.path} was started with in {', '.join(wrong)}\n"
            f"  to go on as it was: sslkit run {directory.path} --resume      to try the change: a new --out"
        )
    kept.recipe.runtime, kept.recipe.checkpoint = given.recipe.runtime, given.recipe.checkpoint
    kept.recipe.trackers, kept.recipe.expect = given.recipe.trackers, given.recipe.expect
    return kept


class Findings(dict[str, Result | Skipped]):
    """What each evaluator found, or why it was skipped, with what it was measured on."""

    def __init__(self, found: Mapping[str, Result | Skipped], measured: Measured) -> None:
        super().__init__(found)
        self.measured = measured

    def told(self, width: int) -> Iterator[str]:
        """Lines for a person whose terminal has so many columns."""
        return told(self, self.measured, width)

    def as_record(self) -> dict[str, Any]:
        """By evaluator, as JSON can have it."""
        return as_record(self, self.measured)


def evaluate_run(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    on: Sequence[str] = (),
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
    out: str | Path | None = None,
    cache: bool = True,
    progress: Track = unseen,
) -> Findings:
    """Evaluate a run directory or one of its checkpoints, and add the results to its `metrics.jsonl`.

    Args:
        run: a run directory (its newest checkpoint, or its `backbone.safetensors`), a checkpoint folder, or
            a backbone alone: a `backbone.safetensors`, or timm:NAME; its results are added to no file.
        overrides: words such as "data.root=DIR" or "eval.evaluators.knn.k=[5]".
        on: names of evaluators, with their defaults where the recipe has none; all of the recipe's if empty.
        out: folder for pictures and tables; by default the run's, or the next free `eval-NAME`.
        cache: keep features, and use those that the same weights gave for the same files before.
        progress: shows how far the work is.

    Returns:
        What each evaluator found, or why it was skipped.

    Raises:
        SslkitError: there is no such run; an evaluator named in `on` needs what the data lack.
        KeyboardInterrupt: with a message where the features so far are kept.
    """
    words = [*overrides, *(f"eval.evaluators.{name}={{}}" for name in on)]
    asked = ask(run, words, plugins=plugins, no_plugins=no_plugins, out=out)
    with process_group(asked.loaded.recipe.runtime) as place:
        evaluation = _evaluation(asked, place, on)
        evaluation.progress = progress
        if not cache:
            evaluation.cache = None
        try:
            return _answered(asked, evaluation)
        except KeyboardInterrupt:
            kept = evaluation.cache
            if kept is None or not kept.written:
                raise
            raise KeyboardInterrupt(
                f"the features of {kept.written:,} images are kept in {kept.root}\n"
                "  the same command goes on from there"
            ) from None


def _evaluation(asked: Asked, place: Place, on: Sequence[str]) -> Evaluation:
    """The evaluators and the data, with what they need checked."""
    recipe, registry, subject = asked.loaded.recipe, asked.loaded.registry, asked.subject
    evaluators, data = build_evaluators(recipe, registry), open_eval_sets(recipe, registry)
    check_needs({name: evaluators[name] for name in on}, subject, data)
    data.test.name = asked.elsewhere or data.test.name
    subject.backbone.to(place.device)
    dtype = compute_dtype(recipe.runtime.precision, place.device)
    foreign = [(p.name, p.version, p.sha256) for p in registry.plugins if p.origin != "built-in"]
    computed = f"{place.device.type} {dtype} {foreign}"
    return Evaluation(
        {name: evaluators[name] for name in on or evaluators},
        data,
        place.device,
        dtype,
        recipe,
        registry,
        training_images=lambda: training_images(asked.own, open_train(asked.own, registry)),
        cache=FeatureCache(asked.cache / "features", subject.backbone, computed),
    )


def _answered(asked: Asked, evaluation: Evaluation) -> Findings:
    """Each number is in `metrics.jsonl` as soon as it is known."""
    found, test = dict[str, Result | Skipped](), evaluation.data.test
    for name, result in evaluation.results(asked.subject, asked.step, asked.figures):
        found[name] = result
        if isinstance(result, Result) and result.metrics and asked.metrics is not None:
            log = JsonLines(asked.metrics)
            log.log(eval_record(asked.step, name, test, result))
            log.close()
    step = None if asked.metrics is None else asked.step
    return Findings(found, Measured(test.name, len(test), asked.loaded.recipe.eval.crop, step))


class _Door(ModuleType):
    """A module that can be called: `sslkit.run(...)` works, whether or not `sslkit.run` was imported."""

    def __call__(
        self, recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), **how: Any
    ) -> RunResult:
        return run(recipe, overrides, **how)


sys.modules[__name__].__class__ = _Door
