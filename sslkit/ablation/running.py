"""Runs what a study still lacks, shows how it goes, and leaves everything in a state that continues."""

import fcntl
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sslkit.ablation.live import Shown
from sslkit.ablation.places import Places
from sslkit.ablation.study import Arm, Study
from sslkit.ablation.watch import Watch
from sslkit.core.executor import Executor, Job
from sslkit.errors import RunError
from sslkit.recipe.load import differences, load_recipe, to_yaml
from sslkit.recipe.schema import Recipe
from sslkit.train.rundir import RunDirectory, write_aside
from sslkit.train.signals import stop_request

LOOK_SECONDS = 1.0
MAY_CHANGE = ("name", "runtime", "checkpoint", "trackers", "plugins", "closing", "expect")
"""Sections in which a run that is there already may differ from its arm: they change nothing that is learned."""


@dataclass(frozen=True)
class Outcome:
    """How a session of a study ended."""

    watches: tuple[Watch, ...]
    signal_exit_code: int | None
    """130 or 143 where a signal ended it; None where it came to its end."""


def recipe_of(study: Study, arm: Arm, seed: int) -> Recipe:
    """An arm's recipe for one seed, under a name that says what it is."""
    from dataclasses import replace

    return replace(arm.recipe, seed=seed, name=f"{study.name}-{arm.name}-{seed}", closing="", expect={})


def watches_of(study: Study, places: Places) -> list[Watch]:
    """Every run of a study, seed by seed, so that a table has all arms early."""
    metric = study.metrics[0].name
    return [Watch(arm.name, seed, places, metric) for seed in study.seeds for arm in study.arms]


@contextmanager
def alone(places: Places) -> Iterator[None]:
    """Hold the study, so that no second command runs it at the same time.

    Raises:
        RunError: another one does.
    """
    places.jobs.mkdir(parents=True, exist_ok=True)
    with (places.jobs / ".study.lock").open("w") as lock:
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
    for arm in study.arms:
        for seed in study.seeds:
            name, recipe = f"{arm.name}-{seed}", recipe_of(study, arm, seed)
            _check_same(RunDirectory(places.run(name)), recipe, places.folder)
            write_aside(places.recipe(name), to_yaml(recipe, header=f"{study.name}: {arm.name}, seed {seed}"))


def _check_same(directory: RunDirectory, recipe: Recipe, folder: Path) -> None:
    if not directory.holds_a_run:
        return
    kept = load_recipe(directory.recipe).recipe
    keys = [key for key in differences(kept, recipe) if key.split(".")[0] not in MAY_CHANGE]
    if keys:
        raise RunError(
            f"{directory.path} was run with another recipe: {', '.join(keys)} differs from what the study says now"
            f"\n  to keep both: another --out than {folder}      to run it again: remove {directory.path}"
        )


def jobs_of(study: Study, watches: Sequence[Watch]) -> list[Job]:
    """The commands of runs."""
    arms = {arm.name: arm for arm in study.arms}
    return [
        Job(
            watch.name,
            (sys.executable, "-m", "sslkit.ablation.worker", str(watch.places.folder.resolve()), watch.name),
            watch.places.log(watch.name).resolve(),
            wants_gpu=arms[watch.arm].recipe.runtime.device.startswith(("auto", "cuda")),
        )
        for watch in watches
    ]


def carry_out(
    study: Study, places: Places, executor: Executor, *, retry_failed: bool, no_plugins: Sequence[str], shown: Shown
) -> Outcome:
    """Run what is not finished; return when all has ended, or after a signal when all has stopped."""
    watches = watches_of(study, places)
    for watch in watches:
        watch.has_ended = True  # nothing runs yet
        watch.look()
    write_aside(places.plugins, json.dumps({"no_plugins": [*no_plugins]}) + "\n")
    due = [w for w in watches if w.status != "finished" and (w.status != "failed" or retry_failed)]
    for watch in due:
        places.told(watch.name).unlink(missing_ok=True)
        watch.status, watch.has_ended = "waiting", False
    with stop_request() as request, shown:
        executor.start(jobs_of(study, due))
        while not _all_ended(due, executor) and not request.asked:
            shown.update(watches)
            time.sleep(LOOK_SECONDS)
        if request.asked:
            shown.stopping()
            _stop(executor)
        _all_ended(due, executor)
        shown.update(watches)
    return Outcome(tuple(watches), request.exit_code if request.asked else None)


def _all_ended(due: Sequence[Watch], executor: Executor) -> bool:
    """Look at every run; whether none is waiting or running any more."""
    ended = executor.ended()
    for watch in due:
        watch.has_ended = watch.name in ended
        watch.look()
        if watch.has_ended and watch.status in ("waiting", "running", "stopped") and ended[watch.name]:
            watch.status, watch.error = "stopped", watch.error or ended[watch.name]
    return len(ended) == len(due)


def _stop(executor: Executor) -> None:
    """Have everything saved; a second Ctrl-C ends it at once."""
    try:
        executor.stop()
    except KeyboardInterrupt:
        executor.kill()
