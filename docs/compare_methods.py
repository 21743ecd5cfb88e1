"""Runs every recipe of recipes/methods on the same data and writes the tables of docs/results.md.

    python docs/compare_methods.py RUNS --photos DIR     all of it; without --photos on scenes alone
    python docs/compare_methods.py RUNS --part tuning    one of tuning, methods, shortcuts, cost
    python docs/compare_methods.py RUNS --only dino byol some of the methods

DIR is a parquet folder of labelled photos (train and val). The parts: a step's time, one run after the other,
which wants an idle machine; the small search that chose each method's settings; the methods side by side;
patch discrimination with its shortcuts open and closed.

Finished runs are not run again, half-finished ones go on from their checkpoint. One thread a run, two runs
at a time.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import yaml
from make_results import DOCS, K, measure_run, train_once

from sslkit.compare import compare
from sslkit.comparison.figure import draw
from sslkit.comparison.groups import Group
from sslkit.comparison.result import Comparison
from sslkit.train.trackers import read_records
from sslkit.train.wording import counted

METRIC = f"knn.top1_k{K}"
SEEDS = (0, 1, 2)
PHOTO_WORDS = ("optim.epochs=20", "optim.warmup_epochs=2", "eval.every_epochs=5", "checkpoint.every_epochs=2")
TUNING_SEED = 100
TUNING_WORDS = (
    "data.count=1600",
    "data.eval_count=300",
    "optim.epochs=18",
    "optim.warmup_epochs=4",
    "eval.every_epochs=null",
    "checkpoint.every_epochs=6",
)


@dataclass(frozen=True)
class Arm:
    """One row: a recipe of recipes/methods, with changes."""

    name: str
    title: str
    words: tuple[str, ...] = ()
    on_photos: bool = True

    @property
    def method(self) -> str:
        return self.name.partition("-")[0]

    @property
    def recipe(self) -> str:
        return f"methods/{self.method}"


LOCAL = ("augment.local_count=4",)
ARMS = (
    Arm("supervised", "supervised (uses the labels)"),
    Arm("dino", "DINO"),
    Arm("byol", "BYOL"),
    Arm("simclr", "SimCLR"),
    Arm("mocov2", "MoCo v2"),
    Arm("mocov3", "MoCo v3"),
    Arm("patch", "patch discrimination"),
    Arm("dino-local", "DINO, 4 local crops", LOCAL),
    Arm("byol-local", "BYOL, 4 local crops", LOCAL, on_photos=False),
    Arm("mocov2-local", "MoCo v2, 4 local crops", LOCAL, on_photos=False),
)
LARGER_PATCHES = "augment.size=24 augment.scale=[0.3,0.5]"
FIRST_GUESS: dict[str, tuple[str, ...]] = {
    "dino": ("method.teacher_momentum=0.99",),
    "byol": ("method.target_momentum=0.99",),
    "simclr": ("method.temperature=0.2",),
    "mocov2": ("method.temperature=0.2", "method.key_momentum=0.99"),
    "mocov3": ("method.temperature=0.2", "method.freeze_patch_projection=true"),
    "patch": ("method.similarity=learned", "augment.size=16", "augment.scale=[0.25,0.4]"),
    "supervised": ("method.label_smoothing=0.1",),
}
CHANGES: dict[str, tuple[str, str]] = {
    "dino": ("method.teacher_momentum=0.97", "method.teacher_momentum=0.996"),
    "byol": ("method.target_momentum=0.97", "method.target_momentum=0.996"),
    "simclr": ("method.temperature=0.1", "method.temperature=0.5"),
    "mocov2": ("method.temperature=0.1", "method.key_momentum=0.97"),
    "mocov3": ("method.temperature=0.1", "method.freeze_patch_projection=false"),
    "patch": ("method.similarity=cosine", f"method.similarity=cosine {LARGER_PATCHES}"),
    "supervised": ("method.label_smoothing=0", "method.label_smoothing=0.3"),
}
"""Tried beside the first guess and two other learning rates, one change at a time: 5 runs a method."""
FIRST_LR = "optim.lr=0.002"
OTHER_LRS = ("optim.lr=0.0007", "optim.lr=0.005")

SHORTCUTS = {
    "as in the recipe": "",
    "overlap open": "augment.gap=-1",
    "colour open": "augment.color_jitter.p=0 augment.grayscale.p=0",
    "hue closed": "augment.grayscale.p=1",
    "mean colour closed": "augment.standardize=true",
    "place open": "augment.same_place=false",
    "sharpness closed": "augment.blur.p=1",
}
"""Patch discrimination, 450 steps each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--photos", metavar="DIR")
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--only", nargs="*", metavar="NAME")
    given = parser.parse_args()
    arms = [arm for arm in ARMS if not given.only or arm.name in given.only]
    for part in PARTS if given.part is None else (given.part,):
        PARTS[part](given.runs, arms, given.photos)


def cost(runs: Path, arms: Sequence[Arm], photos: str | None) -> None:
    train_all((cost_job(runs, arm) for arm in arms), at_once=1)


def methods(runs: Path, arms: Sequence[Arm], photos: str | None) -> None:
    jobs = [scene_job(runs, arm, seed) for seed in SEEDS for arm in arms]
    if photos:
        jobs += [photo_job(runs, arm, photos) for arm in arms if arm.on_photos]
    train_all(jobs)
    folders = [runs / name for name in ("scenes", "photos") if len(finished_runs(runs / name, ARMS)) > 1]
    for folder in folders:
        write(folder.name, table(folder, ARMS))
    for arm in ARMS:
        if arm.name == arm.method:
            write(f"ours: {arm.name}", in_words(folders, arm), DOCS / f"methods/{arm.name}.md")


Job = tuple[Path, Sequence[str]]
"""A run directory, and the words after `sslkit run`."""


def train_all(jobs: Iterable[Job], at_once: int = 2) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda job: train_once(*job), jobs))


def scene_job(runs: Path, arm: Arm, seed: int) -> Job:
    return runs / "scenes" / f"{arm.name}-{seed}", [arm.recipe, f"seed={seed}", *arm.words]


def cost_job(runs: Path, arm: Arm) -> Job:
    few = ("data.count=640", "data.eval_count=100", "runtime.max_steps=80", "eval.every_epochs=null")
    return runs / "cost" / arm.name, [arm.recipe, *few, "eval.evaluators.patch_game=null", *arm.words]


def photo_job(runs: Path, arm: Arm, root: str) -> Job:
    data = ("data.name=parquet", f"data.root={root}")
    return runs / "photos" / f"{arm.name}-0", [arm.recipe, "seed=0", *data, *PHOTO_WORDS, *arm.words]


def write(mark: str, lines: Sequence[str], page: Path = DOCS / "results.md") -> None:
    """Replace what stands between two marks of a page."""
    line = f"<!-- {mark} -->"
    before, _, after = page.read_text().split(line)  # the mark stands twice
    page.write_text("\n".join([before + line, *lines, line + after]))


# --- tuning ------------------------------------------------------------------------------------------------


def trials(method: str) -> list[tuple[str, ...]]:
    """The words of a method's five trials."""
    first = (*FIRST_GUESS[method], FIRST_LR)
    return [first, *((*first, *change.split()) for change in (*OTHER_LRS, *CHANGES[method]))]


def tuning(runs: Path, arms: Sequence[Arm], photos: str | None) -> None:
    runs = runs / "tuning"
    rows = ["| method | change to the first guess | kNN, class / identity |", "|---|---|---|"]
    jobs = []
    for arm in (arm for arm in arms if arm.name in CHANGES):
        for number, words in enumerate(trials(arm.name)):
            words = (arm.recipe, f"seed={TUNING_SEED}", *TUNING_WORDS, *words)
            jobs.append((runs / f"{arm.name}-{number}", words))
    train_all(jobs)
    for arm in (arm for arm in arms if arm.name in CHANGES):
        for number, change in enumerate(("", *OTHER_LRS, *CHANGES[arm.name])):
            knn = " / ".join(last_knn(runs / f"{arm.name}-{number}"))
            rows.append(f"| {arm.title} | {f'`{change}`' if change else 'none'} | {knn} |")
    write("tuning", rows)


def last_knn(run: Path) -> list[str]:
    metrics = evaluations(run, "knn")[-1]
    return [f"{metrics[key]:.3f}" for key in (f"top1_k{K}", f"instance_top1_k{K}") if key in metrics]


def evaluations(run: Path, evaluator: str) -> list[dict[str, float]]:
    return [r["metrics"] for r in records(run, "eval") if r["evaluator"] == evaluator]


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in read_records(run / "metrics.jsonl") if record["kind"] == kind]


# --- shortcuts ---------------------------------------------------------------------------------------------


def shortcuts(runs: Path, arms: Sequence[Arm], photos: str | None) -> None:
    runs = runs / "shortcuts"
    data: dict[str, tuple[str, ...]] = {"scenes": TUNING_WORDS}
    if photos:
        few = ("optim.epochs=4", "optim.warmup_epochs=1", "eval.every_epochs=null")
        data["photos"] = ("data.name=parquet", f"data.root={photos}", *few)
    common = ("methods/patch", f"seed={TUNING_SEED}")
    places = {(kind, name): runs / f"{kind}-{name.replace(' ', '-')}" for kind in data for name in SHORTCUTS}
    train_all((out, [*common, *data[kind], *SHORTCUTS[name].split()]) for (kind, name), out in places.items())
    rows = [
        "| data | patches | in training | held out | grey | scrambled | shuffled | kNN |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (kind, name), out in places.items():
        game, change = evaluations(out, "patch_game")[-1], SHORTCUTS[name]
        numbers = [fmean(r["accuracy"] for r in records(out, "step")[-100:])]
        numbers += [
            game[key] for key in ("accuracy", "accuracy_grey", "accuracy_scrambled", "accuracy_shuffled")
        ]
        cells = [kind, f"{name}{f' (`{change}`)' if change else ''}", *(f"{n:.3f}" for n in numbers)]
        rows.append("| " + " | ".join([*cells, " / ".join(last_knn(out))]) + " |")
    write("shortcuts", rows, DOCS / "methods/patch.md")


# --- the tables --------------------------------------------------------------------------------------------


def finished_runs(folder: Path, arms: Sequence[Arm]) -> list[Path]:
    found = (sorted(folder.glob(f"{arm.name}-[0-9]")) for arm in arms)
    return [run for runs in found for run in runs if (run / "backbone.safetensors").is_file()]


def table(folder: Path, arms: Sequence[Arm]) -> list[str]:
    comparison = compare(finished_runs(folder, arms))
    draw(comparison, DOCS / f"images/methods_{folder.name}.png")
    extras = measured(comparison)
    floor = extras[comparison.groups[0].name][0]["pixels"]
    lines = [
        "| method | seeds | untrained | trained | at equal time | patch game | attention | ms a step |",
        "|---|---|---|---|---|---|---|---|",
        f"| *raw pixels* | | {_pair(floor)} | | | | | |",
    ]
    titles = {arm.name: arm.title for arm in arms}
    for group in comparison.groups:
        name = arm_of(group)
        cells = [titles[name], str(len(group.runs))]
        cells += [_metrics(comparison, group, moment) for moment in ("untrained", "end")]
        cells += [comparison.spread(group, METRIC, "equal_time").shown(3)]
        cells += [comparison.spread(group, "patch_game.accuracy", "end").shown(2)]
        cells += [_attention(extras[group.name]), _milliseconds(folder.parent / "cost" / name)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def arm_of(group: Group) -> str:
    """The arm whose runs these are: their directories are called arm-seed."""
    return group.runs[0].path.name.rpartition("-")[0]


def in_words(folders: Sequence[Path], arm: Arm) -> list[str]:
    """What a method's own page says of these runs."""
    lines = [
        "kNN (k 10), untrained → trained; all methods: [results](../results.md#methods-compared).",
        "",
    ]
    for folder in folders:
        comparison = compare(finished_runs(folder, ARMS))
        for group in comparison.groups:
            if arm_of(group).partition("-")[0] == arm.name:
                title = next(other.title for other in ARMS if other.name == arm_of(group))
                start, end = (_metrics(comparison, group, moment) for moment in ("untrained", "end"))
                lines.append(f"- {folder.name}, {title}, {counted(len(group.runs), 'seed')}: {start} → {end}")
    return lines


def measured(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """Pixels and attention masks of each run by group; kept beside the runs."""
    return {group.name: [measured_run(run.path) for run in group.runs] for group in comparison.groups}


def measured_run(run: Path) -> dict[str, Any]:
    kept = run.with_name(f"{run.name}.json")
    if not kept.is_file():
        kept.write_text(json.dumps(measure_run(run)))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _metrics(comparison: Comparison, group: Group, moment: str) -> str:
    """Class and, where it is known, identity."""
    asked = (METRIC, f"knn.instance_top1_k{K}")
    spreads = [comparison.spread(group, metric, moment) for metric in asked if metric in comparison.metrics]
    return " / ".join(spread.shown(3) for spread in spreads)


def _attention(extras: Sequence[dict[str, Any]]) -> str:
    """Share of the attention that lies on the object, untrained and trained."""
    if extras[0]["masks trained"] is None:
        return ""
    means = (fmean(e[key][2] for e in extras) for key in ("masks untrained", "masks trained"))
    return " → ".join(f"{mean:.3f}" for mean in means)


def _milliseconds(cost: Path) -> str:
    """The median step of a run that had the machine for itself; empty without one."""
    if not (cost / "metrics.jsonl").is_file():
        return ""
    batch = yaml.safe_load((cost / "recipe.yaml").read_text())["optim"]["batch_size"]
    return f"{1000 * batch / median(r['images_per_second'] for r in records(cost, 'step')):.0f}"


def _pair(values: Sequence[float | None]) -> str:
    return " / ".join(f"{value:.3f}" for value in values if value is not None)


PARTS = {"cost": cost, "tuning": tuning, "methods": methods, "shortcuts": shortcuts}

if __name__ == "__main__":
    main()
