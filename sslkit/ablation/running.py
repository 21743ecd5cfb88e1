"""Runs what a study still lacks, shows how it goes, and leaves everything in a state that continues."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sslkit.ablation.live import Shown
from sslkit.ablation.places import Places
from sslkit.ablation.study import Arm, Study
from sslkit.ablation.watch import Watch
from sslkit.core.executor import Executor, Job
from sslkit.errors import RunError, indented, nearest
from sslkit.recipe.effect import has_effect
from sslkit.recipe.load import Registries, differences, load_recipe, to_yaml
from sslkit.recipe.schema import ExpectSection, Recipe
from sslkit.train.rundir import RunDirectory, write_aside
from sslkit.train.signals import stop_request

LOOK_SECONDS = 1.0
MAY_CHANGE = ("name", "runtime", "checkpoint", "trackers", "plugins", "closing", "expect")
"""Sections in which a run that is there may differ from its arm, but for keys that change a result."""


def recipe_of(study: Study, arm: Arm, seed: int) -> Recipe:
    """An arm's recipe for one seed, under a name that says what it is; which GPU is the executor's to say."""
    device = arm.recipe.runtime.device
    return replace(
        arm.recipe,
        seed=seed,
        name=f"{study.name}-{arm.name}-{seed}",
        closing="",
        expect=ExpectSection(),
        runtime=replace(arm.recipe.runtime, device="cuda" if device.startswith("cuda:") else device),
    )


def watches_of(study: Study, places: Places) -> list[Watch]:
    """Every run of a study, seed by seed, so that a table has all arms early."""
    return [_watch(study, places, arm, seed) for seed in study.seeds for arm in study.arms]


def _watch(study: Study, places: Places, arm: Arm, seed: int) -> Watch:
    optim, max_steps = arm.recipe.optim, arm.recipe.runtime.max_steps
    return Watch(arm.name, seed, places, study.metrics[0].name, optim.batch_size, optim.epochs, max_steps)


@contextmanager
def alone(places: Places) -> Iterator[None]:
    """Hold the study, so that no second command runs it at the same time.

    Raises:
        RunError: another one does.
    """
    places.jobs.mkdir(parents=True, exist_ok=True)
    import fcntl

    with places.lock_of_study.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{places.folder} is being run by another command already\n"
                "  wait for it, or choose another --out"
            ) from None
        yield


def write_recipes(study: Study, places: Places) -> None:
    """Write the recipe of every run, checked against the runs that are there.

    Raises:
        RunError: a run is of another recipe; the message has the keys.
    """
    (places.folder / "recipes").mkdir(parents=True, exist_ok=True)
    registries: Registries = {}
    for arm in study.arms:
        for seed in study.seeds:
            name, recipe = f"{arm.name}-{seed}", recipe_of(study, arm, seed)
            directory, text = (
                RunDirectory(places.run(name)),
                to_yaml(recipe, header=f"{study.name}: {arm.name}, seed {seed}"),
            )
            _check_same(directory, recipe, places.folder, registries)
            _check_plugins(directory, arm)
            if not directory.holds_a_run and _text(places.recipe(name)) != text:
                places.told(name).unlink(missing_ok=True)  # it failed with another recipe
            write_aside(places.recipe(name), text)


def _text(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None


def _check_plugins(directory: RunDirectory, arm: Arm) -> None:
    """Raises `RunError` where a one-file plugin was another one when the run began."""
    before = {p["name"]: p["sha256"] for p in directory.read_record().get("plugins", []) if p.get("sha256")}
    now = {p.name: p.sha256 for p in arm.loaded.registry.plugins if p.sha256}
    changed = [name for name, digest in before.items() if now.get(name, digest) != digest]
    if changed:
        raise RunError(
            f"{directory.path} was run with another {changed[0]}: the file has changed since"
            "\n  choose another --out, or remove the runs that are to be run again"
        )


def _check_same(directory: RunDirectory, recipe: Recipe, folder: Path, registries: Registries) -> None:
    if not directory.holds_a_run:
        return
    kept = load_recipe(directory.recipe, registries=registries).recipe
    differing = differences(kept, recipe)
    keys = [key for key in differing if has_effect(key) or key.split(".")[0] not in MAY_CHANGE]
    if keys:
        raise RunError(
            f"{directory.path} was run with another recipe: what the study says now differs in"
            f" {', '.join(keys)}"
            f"\n  to keep both: another --out than {folder}      to run it again: remove {directory.path}"
        )


def jobs_of(study: Study, watches: Sequence[Watch]) -> list[Job]:
    """The commands of runs."""
    arms = {arm.name: arm for arm in study.arms}
    return [
        Job(
            watch.name,
            (
                sys.executable,
                "-P",
                "-m",
                "sslkit.ablation.worker",
                str(watch.places.folder.resolve()),
                watch.name,
            ),
            watch.places.log(watch.name).resolve(),
            wants_gpu=arms[watch.arm].recipe.runtime.device.startswith(("auto", "cuda")),
        )
        for watch in watches
    ]


def standing(study: Study, places: Places, *, retry_failed: bool) -> tuple[list[Watch], list[Watch]]:
    """Where all runs stand while nothing runs, and those that are still to be run."""
    watches = watches_of(study, places)
    for watch in watches:
        watch.has_ended = True
        watch.look()
    due = [w for w in watches if w.status != "finished" and (w.status != "failed" or retry_failed)]
    return watches, due


def carry_out(
    study: Study,
    places: Places,
    executor: Executor,
    *,
    retry_failed: bool,
    no_plugins: Sequence[str],
    shown: Shown,
) -> int | None:
    """Run what is not finished, until all has ended or a signal comes; then all has stopped and is saved.

    Returns:
        130 or 143 where a signal ended it.

    Raises:
        RunError: a metric of the study is not among those that are measured.
    """
    watches, due = standing(study, places, retry_failed=retry_failed)
    _check_metrics(study, watches)
    for watch in due:
        places.told(watch.name).unlink(missing_ok=True)
        watch.status, watch.has_ended = "waiting", False
    write_aside(places.plugins, json.dumps({"no_plugins": [*no_plugins]}) + "\n")
    with stop_request() as request, shown:
        try:
            executor.start(jobs_of(study, due))
            while not _all_ended(due, executor) and not request.asked:
                shown.update(watches)
                _check_metrics(study, due)
                time.sleep(LOOK_SECONDS)
            if request.asked:
                shown.stopping()
        finally:
            _stop(executor)
        _all_ended(due, executor)
        shown.update(watches)
    return request.exit_code if request.asked else None


def _all_ended(due: Sequence[Watch], executor: Executor) -> bool:
    """Look at every run; whether none is waiting or running any more."""
    ended = executor.ended()
    for watch in due:
        watch.has_ended, watch.how_ended = watch.name in ended, ended.get(watch.name, "")
        watch.look()
    return len(ended) == len(due)


def _check_metrics(study: Study, due: Sequence[Watch]) -> None:
    """Raise at the first evaluation that lacks a metric which the study compares."""
    for watch in due:
        for metric in study.metrics:
            evaluator, _, key = metric.name.partition(".")
            given = watch.measured.get(evaluator)
            if given is not None and key not in given:
                raise RunError(
                    f"{study.file}: '{evaluator}' gives no '{key}' in {watch.name}{nearest(key, given)}"
                    + indented(f"it gives: {', '.join(given)}")
                )


def _stop(executor: Executor) -> None:
    """Have everything saved; a second Ctrl-C ends it at once."""
    try:
        executor.stop()
    except KeyboardInterrupt:
        executor.kill()
