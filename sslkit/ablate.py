"""The door to ablation studies: a study file in; runs, tables and a page out."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sslkit.ablation.estimate import costs
from sslkit.ablation.live import Shown
from sslkit.ablation.page import write_page
from sslkit.ablation.places import Places
from sslkit.ablation.result import StudyResult, as_record, read_result
from sslkit.ablation.running import alone, carry_out, standing, write_recipes
from sslkit.ablation.study import Study, as_yaml, plain_study, read_study
from sslkit.ablation.tables import as_csv, changes, headline, metric_words, sections
from sslkit.comparison.tables import as_markdown, print_sections
from sslkit.core.executor import Executor, Resources
from sslkit.errors import RunError
from sslkit.executors.local import LocalConfig, LocalExecutor, shares
from sslkit.plugins import Registry
from sslkit.recipe.document import read_yaml
from sslkit.recipe.layers import Draft
from sslkit.recipe.places import COMMAND_LINE
from sslkit.recipe.typed import build
from sslkit.train.rundir import write_aside
from sslkit.train.wording import clock, counted

__all__ = ["Outcome", "ablate", "as_record", "read_study", "save", "show", "told_plan"]


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what is known by then."""

    result: StudyResult
    written: tuple[Path, ...]
    exit_code: int
    """0 where every run is over, 130 or 143 where a signal ended it; 1 where runs were lost, or none of the
    baseline's finished."""


def ablate(
    study: str | Path,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    seeds: Sequence[int] | None = None,
    metrics: Sequence[str] = (),
    executor: str = "local",
    options: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    retry_failed: bool = False,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
    file: TextIO | None = None,
) -> Outcome:
    """Run what a study still lacks, and write its tables and its page.

    Args:
        study: a file, or the name of a packed study such as "temperature".
        overrides: words for all arms, such as "data.root=DIR".
        out: the study's directory, a new one or one that was begun; by default `studies/<name>`.
        seeds: instead of the file's.
        metrics: EVALUATOR.METRIC words instead of the file's.
        executor: who runs it: local, ray, slurm, or a plugin's.
        options: the executor's keys.
        jobs: most runs at a time; None: as the executor thinks fit.
        retry_failed: run again what failed; otherwise a failure is a result.
        plugins, no_plugins: as for a run.
        file: where progress is told; None: stdout.

    Raises:
        SslkitError: the study is not right; its directory holds something else, or runs of other recipes; the
            executor cannot run; a metric is not measured.
    """
    found = read_study(study, overrides, seeds=seeds, metrics=metrics, plugins=plugins, no_plugins=no_plugins)
    places = Places(_directory(found, out))
    with alone(places):
        resources = Resources(jobs, places.jobs / executor)
        by = build_executor(found.baseline.loaded.registry, executor, options or {}, resources)
        _check_kept(found, places)
        write_recipes(found, places)
        write_aside(places.study, as_yaml(found))
        shown = Shown(found.metrics[0].name, file)
        for note in found.baseline.loaded.notes:
            shown.say(f"  note      {note}")
        code = carry_out(
            found,
            places,
            by,
            retry_failed=retry_failed,
            no_plugins=no_plugins,
            shown=shown,
        )
        result = read_result(found, places)
        return Outcome(result, tuple(save(result)), code or _exit_code(result))


def _exit_code(result: StudyResult) -> int:
    return 0 if result.is_complete and result.arms[0].runs else 1


def _directory(study: Study, out: str | Path | None) -> Path:
    """Where a study is kept: a new or an empty folder, or one that holds it already."""
    folder = Path("studies") / study.name if out is None else Path(out)
    if folder.is_file():
        raise RunError(f"{folder} is a file\n  choose another --out")
    if folder.is_dir() and any(folder.iterdir()) and not Places(folder).lock_of_study.is_file():
        raise RunError(f"{folder} holds other files already\n  choose another --out")
    return folder


def _check_kept(study: Study, places: Places) -> None:
    """Raises `RunError` where the folder holds another study."""
    if not places.study.is_file():
        return
    kept = read_yaml(places.study.read_text("utf-8"), str(places.study)).value or {}
    now = plain_study(study)
    for key in ("name", "base", "variant"):
        if kept.get(key) != now.get(key):
            raise RunError(
                f"{places.folder} holds another study: its '{key}' is {kept.get(key)}, not {now.get(key)}"
                "\n  choose another --out"
            )


def build_executor(
    registry: Registry, name: str, options: Mapping[str, Any], resources: Resources
) -> Executor:
    """An executor by name, with its typed keys.

    Raises:
        SslkitError: there is none of that name; it has no such key; what it needs is missing.
    """
    cls, config = _executor(registry, name, options)
    return cls(config, resources)


def _executor(registry: Registry, name: str, options: Mapping[str, Any]) -> tuple[type[Executor], Any]:
    cls: type[Executor] = registry.get("executors", name)
    given = Draft(origins={(): lambda _: COMMAND_LINE})
    return cls, build(cls.Config, dict(options), (), given, label=f"the executor {name}")


def save(result: StudyResult) -> list[Path]:
    """Write study.json, table.csv, table.md and study.html; each is there as a whole, or as it was before."""
    folder = result.places.folder
    texts = {
        "study.json": json.dumps(as_record(result), indent=1, ensure_ascii=False) + "\n",
        "table.csv": as_csv(result),
        "table.md": f"# {headline(result)}\n\n{as_markdown(sections(result))}",
    }
    for name, text in texts.items():
        write_aside(folder / name, text)
    return [*(folder / name for name in texts), write_page(result)]


def show(outcome: Outcome) -> None:
    """Print the tables, where they are, and how to go on with what is not over."""
    result = outcome.result
    print_sections(headline(result), sections(result))
    print(f"\nwritten: {', '.join(map(str, outcome.written))}")
    if not result.is_complete:
        print(f"{counted(result.missing, 'run')} not over: the same command goes on where it was")
        print(f"  what each of them printed: {result.places.jobs}/ARM-SEED.log")
    failed = sum(each.status == "failed" for arm in result.arms for each in arm.tries)
    if failed:
        print(f"{counted(failed, 'run')} failed: to try again: the same command with --retry-failed")


# --- before it runs ----------------------------------------------------------------------------------------


def told_plan(
    study: str | Path,
    overrides: Sequence[str] = (),
    *,
    seeds: Sequence[int] | None = None,
    metrics: Sequence[str] = (),
    jobs: int | None = None,
    out: str | Path | None = None,
    executor: str = "local",
    options: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
) -> Iterator[str]:
    """Check a study as a whole and try each arm for a few steps, in lines for a person; nothing is written.

    Args:
        jobs: runs at a time; None: as many as the local executor would begin, of others one.
        out: runs that are over there are not counted.
        executor, options: checked; of the local one `threads` counts.
        retry_failed: what failed is to be run again.

    Raises:
        SslkitError: what running it would say before it trains, or at its first evaluation.
    """
    found = read_study(study, overrides, seeds=seeds, metrics=metrics, plugins=plugins, no_plugins=no_plugins)
    by, config = _executor(found.baseline.loaded.registry, executor, options or {})
    places = Places(_directory(found, out))
    _check_kept(found, places)
    title = f": {found.section.title}" if found.section.title else ""
    yield f"{found.name}{title}"
    yield f"  base      {found.section.base}, variant {found.baseline.loaded.variant or 'none'}"
    yield f"  compared  {'; '.join(map(metric_words, found.metrics))}"
    yield f"  seeds     {', '.join(map(str, found.seeds))}"
    yield from (f"  note      {note}" for note in found.baseline.loaded.notes)
    yield f"  baseline  {found.baseline.name}"
    yield from (f"  arm       {line}" for line in changes(found).lines)
    due = Counter(watch.arm for watch in standing(found, places, retry_failed=retry_failed)[1])
    yield from _told_time(found, due, config if by is LocalExecutor else None, jobs, executor)
    yield "Everything is in place. Nothing was written; without --dry-run it runs."


def _told_time(
    study: Study, due: Mapping[str, int], local: LocalConfig | None, jobs: int | None, executor: str
) -> Iterator[str]:
    """What each arm takes on this machine, and about how long all that is due; by arm, how many runs are."""
    most, threads = shares(local or LocalConfig(), jobs if local else jobs or 1)
    runs, total = sum(due.values()), 0.0
    for cost in costs(study, threads):
        total += cost.seconds * due[cost.arm]
        yield f"  tried     {cost.told()}"
    at_a_time = max(1, min(most, runs))
    if local or jobs:
        where = "on this machine" if local else f"by {executor}, each as quick as on this machine"
        share = f"{at_a_time} at a time {where}"
    else:
        share = f"as many at a time as {executor} has room for; one after another on this machine"
    over = len(study.arms) * len(study.seeds) - runs
    rest = f" ({over} over already)" if over else ""
    yield f"{counted(runs, 'run')}{rest}, {share}: about {clock(total / at_a_time)}"
