"""Small studies for tests: a DINO run of a few steps on photos that are made here, two arms beside it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from runs import make_photos, tiny_recipe

from sslkit.ablation.live import Shown
from sslkit.ablation.places import Places
from sslkit.ablation.running import alone, carry_out, write_recipes
from sslkit.ablation.study import Study, read_study
from sslkit.ablation.worker import work
from sslkit.core.executor import Executor, Job, Resources
from sslkit.executors.local import LocalConfig, LocalExecutor
from sslkit.executors.process import told

STUDY = """\
sslkit_study: 1
name: crops
base: base.yaml
seeds: [0, 1]
overrides: {optim.lr: 0.001}
arms:
  sharp: {method.teacher_temperature: 0.02}
  no_flip:
    augment.flip.p: 0
metrics:
  - {name: knn.top1_k3}
  - {name: knn.top1_k3, measured: area}
"""


def write_study(folder: Path, text: str = STUDY, **base: Any) -> Path:
    """A study file beside its base recipe; the photos are not made.

    Args:
        base: changes to the base recipe, as `tiny_recipe` takes them.
    """
    recipe = tiny_recipe(folder / "photos", **{"name": "base", **base})
    (folder / "base.yaml").write_text(yaml.safe_dump(recipe))
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def small_study(folder: Path, arms: Mapping[str, Any], *, seeds: Sequence[int] = (0,), **base: Any) -> Path:
    """A study that can run: 24 photos, of which some are held out: four steps an epoch, two epochs."""
    if not (folder / "photos").exists():
        make_photos(folder / "photos")
    said = {"sslkit_study": 1, "name": "small", "base": "base.yaml", "seeds": list(seeds), "arms": {**arms}}
    text = yaml.safe_dump({**said, "metrics": [{"name": "knn.top1_k3"}]})
    return write_study(folder, text, **{"optim": {"epochs": 2}, **base})


BREAKS = """\
from pathlib import Path

from sslkit.hookspecs import hookimpl
from sslkit.methods.dino import DINO


class Breaks(DINO):
    def after_step(self, progress, outputs):
        super().after_step(progress, outputs)
        if progress.step == 4 and Path({flag!r}).exists():
            raise ValueError("it broke")


@hookimpl
def sslkit_methods():
    return {{"breaks": Breaks}}
"""


def write_breaking_plugin(folder: Path) -> tuple[str, Path]:
    """A plugin with a DINO, `breaks`, that raises in its fifth step as long as a file is there; both."""
    flag = folder / "it_breaks"
    flag.touch()
    (folder / "breaks.py").write_text(BREAKS.format(flag=str(flag)))
    return "breaks.py", flag


WITHOUT_PICTURES = ("report.attention", "report.crops", "report.curves", "report.page")
"""Plugins to leave out, for runs that take a second."""


class InThisProcess(Executor):
    """Runs one job each time that it is asked which have ended."""

    @dataclass
    class Config:
        """No keys."""

    def __init__(self, config: object = None, resources: Resources | None = None) -> None:
        self.taken: list[str] = []
        """The jobs that it was ever given, by name."""
        self._waiting: list[Job] = []
        self._ended: dict[str, str] = {}

    def start(self, jobs: Sequence[Job]) -> None:
        self.taken += [job.name for job in jobs]
        self._waiting += jobs

    def ended(self) -> Mapping[str, str]:
        if self._waiting:
            *_, folder, name = self._waiting.pop(0).command
            self._ended[name] = told(work(Places(Path(folder)), name))
        return dict(self._ended)

    def stop(self) -> None:
        self._waiting.clear()


def carry(
    study: Path, out: Path, executor: Executor, *, retry_failed: bool = False, **how: Any
) -> int | None:
    """Run what a study lacks, as `sslkit ablate` does, without pictures; the exit code of a signal."""
    found, places = read_study(study, no_plugins=WITHOUT_PICTURES, **how), Places(out)
    with alone(places):
        write_recipes(found, places)
        return carry_out(
            found,
            places,
            executor,
            retry_failed=retry_failed,
            no_plugins=WITHOUT_PICTURES,
            shown=Shown(found.metrics[0].name),
        )


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """A study's record, less what is about time."""
    for arm in record["arms"]:
        del arm["minutes"]
        for measure in arm["measures"]:
            del measure["equal"]
        for run in arm["runs"]:
            for point in (p for curve in run["curves"].values() for p in curve):
                del point["seconds"]
    del record["budget"]
    record["warnings"] = [w for w in record["warnings"] if not w.startswith("equal time")]
    return record


def two_at_a_time() -> LocalExecutor:
    return LocalExecutor(LocalConfig(threads=1), Resources(jobs=2))


def read(folder: Path, text: str, *overrides: str, **how: Any) -> Study:
    """The study of a text."""
    return read_study(write_study(folder, text), overrides, **how)


if __name__ == "__main__":  # a study's process, for tests that end it: STUDY OUT
    sys.exit(carry(Path(sys.argv[1]), Path(sys.argv[2]), two_at_a_time()))
