"""The page's words: what was run, what came out, how to read it, and the record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import quote as url_quoted

from sslkit.ablation.page_forest import marks
from sslkit.ablation.result import ArmResult, StudyResult, Try
from sslkit.ablation.study import Study, as_yaml
from sslkit.ablation.tables import DECIMALS, metric_words, value_words
from sslkit.comparison.reading import Run
from sslkit.recipe.load import packed_studies
from sslkit.report.page_sections import environment, environment_short
from sslkit.train.rundir import RunDirectory
from sslkit.train.wording import clock, counted


def opening(result: StudyResult) -> dict[str, Any]:
    """The first screen, but for the arms' rows."""
    return {
        "question": result.study.section.title,
        "short": list(_short(result)),
        "fixed": list(_fixed(result.study)),
        "answer": list(_answer(result)),
        "unfinished": list(_unfinished(result)),
        "missing_runs": counted(result.missing, "run"),
        "reading": list(_reading(result)),
        "command": command(result),
    }


def _short(result: StudyResult) -> Iterator[str]:
    """What was run, in a few words each."""
    study = result.study
    variant = study.baseline.loaded.variant
    yield f"base {Path(study.section.base).stem}" + (f", variant {variant}" if variant else "")
    yield f"{counted(len(study.arms), 'arm')} x {counted(len(study.seeds), 'seed')}"
    runs = _runs(result)
    if runs:
        epochs = _range([arm.recipe.optim.epochs for arm in study.arms])
        yield f"{_range([run.images for run in runs])} images ({epochs} epochs) a run"
    minutes = [run.seconds for run in runs if run.seconds is not None]
    if minutes:
        yield f"{clock(sum(minutes) / len(minutes))} of training a run"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _runs(result: StudyResult) -> list[Run]:
    return [run for arm in result.arms for run in arm.runs]


def _fixed(study: Study) -> Iterator[str]:
    """What all arms have beyond the base."""
    yield from (f"{key} {value_words(value)}" for key, value in _flat(study.section.overrides))
    yield from study.overrides


def _flat(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _answer(result: StudyResult) -> Iterator[tuple[str, str, list[str]]]:
    """By verdict of the main metric: the word, its tone, and its arms."""
    tones = {"better": "good", "worse": "bad"}
    told: dict[str, list[str]] = {word: [] for word in ("better", "worse")}
    for arm in result.arms[1:]:
        verdict = arm.measures[0].verdict
        ill = ", ".join(marks(arm))
        name = f"{arm.name} ({ill})" if ill else arm.name
        told.setdefault("not known yet" if verdict is None else verdict.word, []).append(name)
    yield from ((word, tones.get(word, ""), names) for word, names in told.items() if names)


def _unfinished(result: StudyResult) -> Iterator[str]:
    """By arm the seeds whose runs are not over."""
    for arm in result.arms:
        seeds = [each.seed for each in arm.tries if each.status not in ("finished", "failed")]
        if seeds:
            yield f"{arm.name} ({'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))})"


def _reading(result: StudyResult) -> Iterator[str]:
    """How to read the rows."""
    study = result.study
    yield (
        f"Each arm is compared to the baseline, {study.baseline.name}, seed by seed: with the same seed all"
        " share the order of the images, the draws and the first weights, as far as they have them in common,"
        " so that what differs is the arm."
    )
    arms = len(study.arms) - 1
    corrected = f"its p, corrected for {arms} arms (Holm)," if arms > 1 else "its p"
    yield (
        f"Better or worse is said where {corrected} is below 0.05; else how many seeds would probably show"
        " such a difference, a rough guess."
    )
    if arms > 1:
        yield (
            "The intervals are not corrected: one may leave out 0 while nothing is shown among so many arms."
        )
    yield (
        "The bootstrap of few seeds is too narrow: of two or three it only goes from the least to the"
        " greatest difference."
    )
    yield _equal_cost(result)


def _equal_cost(result: StudyResult) -> str:
    images = {run.images for run in _runs(result)}
    if len(images) == 1:
        return f"All runs saw {images.pop():,} training images; what they reach in equal time stands below."
    return "Runs saw different numbers of training images; what they reach at equal cost stands below."


def command(result: StudyResult) -> str:
    """Goes on where the study was; with another --out it repeats it."""
    study = result.study
    name = study.file.stem
    words = [
        name if packed_studies().get(name) == study.file else str(study.file),
        *study.overrides,
        *("--seeds", ",".join(map(str, study.seeds))),
        *("--out", str(result.places.folder)),
    ]
    return f"sslkit ablate {' '.join(map(quote, words))}"


# --- the record --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A run in the table of all runs."""

    seed: int
    value: str
    status: str
    """Empty where it finished."""
    link: str
    """Its own page, from the study's folder; empty where it has none."""


def record(result: StudyResult) -> dict[str, Any]:
    """What stands at the end."""
    records = [run.record for run in _runs(result)]
    return {
        "changes": {arm.name: list(_changes(arm)) for arm in result.arms[1:]},
        "runs": {
            arm.name: [_told(result, arm, i, each) for i, each in enumerate(arm.tries)] for arm in result.arms
        },
        "measured": [metric_words(metric) for metric in result.study.metrics],
        "environment": list(_environments(records)),
        "environment_short": environment_short({**records[0], "seed": None}) if records else "",
        "study_yaml": as_yaml(result.study),
    }


def _changes(arm: ArmResult) -> Iterator[tuple[str, str, str]]:
    for key, (before, now) in arm.arm.differs_in.items():
        yield key, value_words(before), value_words(now)


def _told(result: StudyResult, arm: ArmResult, place: int, each: Try) -> Told:
    value = arm.measures[0].values[place]
    page = RunDirectory(result.places.run(f"{arm.name}-{each.seed}")).report
    return Told(
        each.seed,
        "" if value is None else f"{value:.{DECIMALS}f}",
        "" if each.status == "finished" else each.status,
        url_quoted(page.relative_to(result.places.folder).as_posix()) if page.is_file() else "",
    )


OF_A_RUN = ("status", "started", "ended", "error", "seed", "command", "resumed", "step", "variant")
"""What `run.json` says of one run alone."""


def _environments(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """What the runs ran with; several values where they differ."""
    found: dict[str, dict[str, None]] = {}
    for each in records:
        for key, value in environment({k: v for k, v in each.items() if k not in OF_A_RUN}):
            if not key.startswith("peak memory"):
                found.setdefault(key, {})[value] = None
    yield from ((key, "; ".join(values)) for key, values in found.items())
