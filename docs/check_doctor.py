"""Runs pocket recipes that are broken on purpose, and healthy ones, and writes what the doctor said of each.

    python docs/check_doctor.py RUNS      the table goes into docs/health.md

Finished runs are not run again, half-finished ones go on. One thread a run, two runs at a time. A broken run
is `dino_pocket` up to its first fifth, with the schedules of the whole.
"""

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError

import numpy as np
from make_results import DOCS, train_once
from PIL import Image

from sslkit.train.trackers import read_records

MARK = "<!-- doctor -->"
FIFTH = "runtime.max_steps=395"  # of 1,978
OVERFLOW = '''"""DINO whose loss passes through half precision, scaled up more and more: it overflows."""
from sslkit import hookimpl
from sslkit.core.method import StepOutput
from sslkit.methods.dino import DINO


class HalfDINO(DINO):
    def forward(self, views, progress):
        out = super().forward(views, progress)
        scale = (1.0 + progress.step) ** 2
        return StepOutput((out.loss * scale).half().float() / scale, out.metrics, out.carry, out.features)


@hookimpl
def sslkit_methods():
    return {"half_dino": HalfDINO}
'''


@dataclass(frozen=True)
class Broken:
    """A run and what is wrong with it."""

    name: str
    title: str
    words: tuple[str, ...]
    right: tuple[str, ...]
    """Verdicts that are right."""


def broken(folder: Path) -> tuple[Broken, ...]:
    hot = ("method.teacher_temperature=0.2", "method.warmup_teacher_temperature=0.2")
    soft = ("method.teacher_temperature=1", "method.warmup_teacher_temperature=1")
    alike = ("data.name=folder", f"data.root={folder / 'constant'}")
    overflow = (f"plugins=[{folder / 'overflow.py'}]", "method.name=half_dino")
    return (
        Broken("no_centring", "no centring", ("method.center_momentum=1",), ("one-dimension collapse",)),
        Broken("no_sharpening", "no sharpening (τt = 1)", soft, ("uniform collapse",)),
        Broken(
            "hot_slow",
            "τt = .2, centre momentum .999",
            (*hot, "method.center_momentum=0.999"),
            ("uniform collapse",),
        ),
        Broken(
            "student_teacher",
            "the student as teacher",
            ("method.teacher_momentum=0", "method.teacher_momentum_end=0"),
            ("dead features", "one-dimension collapse"),
        ),
        Broken("lr_x100", "lr x 100", ("optim.lr=0.2",), ("diverging", "dead features")),
        Broken("overflow", "overflow as in fp16", overflow, ("diverging",)),
        Broken("constant", "constant images", alike, ("dead features",)),
    )


HEALTHY = ("dino", "byol", "simclr", "mocov2", "mocov3", "patch", "supervised")
SEEDS = {"dino": (0, 1), "byol": (0, 1), "simclr": (0, 1)}
"""Two of these, one of the others: ten runs."""


def make_material(folder: Path) -> None:
    """What some of the broken runs need."""
    constant = folder / "constant"
    constant.mkdir(parents=True, exist_ok=True)
    grey = Image.fromarray(np.full((64, 64, 3), 127, np.uint8))
    for number in range(3000):
        if not (constant / f"{number:04d}.png").exists():
            grey.save(constant / f"{number:04d}.png")
    (folder / "overflow.py").write_text(OVERFLOW)


def jobs(folder: Path) -> Iterator[tuple[Path, str, tuple[str, ...]]]:
    """Where, which recipe, which changes."""
    for each in broken(folder):
        yield folder / "broken" / each.name, "dino_pocket", (*each.words, FIFTH)
    watched = ("eval.evaluators.health={}", "eval.every_epochs=3")
    for method in HEALTHY:
        for seed in SEEDS.get(method, (0,)):
            yield folder / "healthy" / f"{method}-{seed}", f"methods/{method}", (f"seed={seed}", *watched)


def train_all(folder: Path) -> None:
    make_material(folder)

    def train(job: tuple[Path, str, tuple[str, ...]]) -> None:
        path, recipe, words = job
        if not (path / "report.html").exists():  # also of a run that failed, as one of them has to
            with suppress(CalledProcessError):
                train_once(path, [recipe, *words])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, jobs(folder)))


def said(run: Path) -> list[dict[str, object]]:
    """The verdicts of a run in their order, repetitions left out."""
    records = [r for r in read_records(run / "metrics.jsonl") if r["kind"] == "health"]
    return [r for i, r in enumerate(records) if i == 0 or r["verdict"] != records[i - 1]["verdict"]]


def table(folder: Path) -> Iterator[str]:
    yield "| run | verdict, at step | cause | advice |"
    yield "|---|---|---|---|"
    for each in broken(folder):
        verdicts = [r for r in said(folder / "broken" / each.name) if r["verdict"] in each.right]
        first = verdicts[0] if verdicts else {"verdict": "**missed**", "step": "-", "cause": "", "advice": ""}
        advice = f"`{first['advice']}`" if first["advice"] else ""
        yield f"| {each.title} | {first['verdict']}, {first['step']} | {first['cause']} | {advice} |"
    for method in HEALTHY:
        for seed in SEEDS.get(method, (0,)):
            verdicts = said(folder / "healthy" / f"{method}-{seed}")
            told = ", ".join(f"{r['verdict']} from {r['step']}" for r in verdicts)
            yield f"| healthy: `methods/{method}`, seed {seed} | {told} | | |"


def write_table(lines: Iterator[str]) -> None:
    page = DOCS / "health.md"
    before, _, after = page.read_text().split(MARK)
    page.write_text(MARK.join((before, "\n" + "\n".join(lines) + "\n", after)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    folder = parser.parse_args().runs.resolve()
    train_all(folder)
    write_table(table(folder))


if __name__ == "__main__":
    sys.exit(main())
