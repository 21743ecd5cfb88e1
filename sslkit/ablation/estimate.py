"""How long a study will take: some timed steps of every arm, and a timed evaluation."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from sslkit.ablation.study import Arm, Study
from sslkit.core.evaluator import Subject
from sslkit.errors import RecipeError, SslkitError, indented, nearest
from sslkit.recipe.load import Loaded
from sslkit.session import Session, prepare
from sslkit.train.distributed import process_group
from sslkit.train.loop import train
from sslkit.train.rundir import RunDirectory
from sslkit.train.signals import StopRequest
from sslkit.train.wording import clock, counted

STEPS = 3
"""Timed, after a first one that is not."""
START_SECONDS = 15.0
"""Imports, opening the data, pictures and page of a run, about."""


@dataclass(frozen=True)
class Cost:
    """What one run of an arm takes on this machine, about."""

    arm: str
    step_seconds: float
    steps: int
    evaluation_seconds: float
    evaluations: int

    @property
    def seconds(self) -> float:
        return START_SECONDS + self.step_seconds * self.steps + self.evaluation_seconds * self.evaluations

    def told(self) -> str:
        """For a person."""
        each = f"{self.steps:,} steps of {1000 * self.step_seconds:.0f} ms"
        return f"{self.arm}: {each}, {counted(self.evaluations, 'evaluation')}: {clock(self.seconds)} a run"


def costs(study: Study, threads: int) -> Iterator[Cost]:
    """Try every arm: its data, its augmentation and its method are built, some steps are timed; nothing is
    written. Evaluations are timed once, with the baseline.

    Args:
        threads: of each run.

    Raises:
        SslkitError: whatever a run would say before it trains; a metric that the evaluators do not give.
    """
    evaluation_seconds, before = 0.0, torch.get_num_threads()
    try:
        for arm in study.arms:
            torch.set_num_threads(arm.recipe.runtime.threads or threads)
            with _named(arm), process_group(arm.recipe.runtime) as place, TemporaryDirectory() as folder:
                session = prepare(_short(arm), place, StopRequest())
                session.directory = RunDirectory(Path(folder))
                if arm is study.baseline:
                    evaluation_seconds = _evaluated(session, study)
                yield _cost(arm, session, evaluation_seconds)
    finally:
        torch.set_num_threads(before)


@contextmanager
def _named(arm: Arm) -> Iterator[None]:
    """Errors for the user that are raised within name the arm."""
    try:
        yield
    except SslkitError as error:
        raise type(error)(f"arm {arm.name}: {error}") from error


def _short(arm: Arm) -> Loaded:
    runtime = replace(arm.recipe.runtime, max_steps=STEPS + 1)
    return replace(arm.loaded, recipe=replace(arm.recipe, runtime=runtime))


def _cost(arm: Arm, session: Session, evaluation_seconds: float) -> Cost:
    schedules, every = session.trainer.schedules, arm.recipe.eval.every_epochs
    steps = min(schedules.total_steps, arm.recipe.runtime.max_steps or schedules.total_steps)
    between = 0 if every is None else (steps - 1) // (every * schedules.steps_per_epoch)
    return Cost(arm.name, _step_seconds(session), steps, evaluation_seconds, 2 + between)


def _step_seconds(session: Session) -> float:
    times: list[float] = []
    train(
        session.trainer,
        session.batches(),
        session.last_step,
        on_record=lambda _: times.append(time.monotonic()),
        on_step=lambda *_: None,
        on_pause=lambda _: None,
    )
    return (times[-1] - times[0]) / (len(times) - 1)


def _evaluated(session: Session, study: Study) -> float:
    """Seconds of one evaluation; all metrics of the study must be among what it gives."""
    method, found, started = session.trainer.method, list[str](), time.monotonic()
    for record in session.evaluation.records(Subject(method.encoder, method), 0, session.directory.figures):
        if record["kind"] == "eval":
            found += [f"{record['evaluator']}.{key}" for key in record["metrics"]]
    check_metrics(study, found)
    return time.monotonic() - started


def check_metrics(study: Study, found: Sequence[str]) -> None:
    """Raises `RecipeError` for a metric of the study that is not among those that were measured."""
    for metric in study.metrics:
        if metric.name not in found:
            raise RecipeError(
                f"{study.file}: there is no metric '{metric.name}'{nearest(metric.name, found)}"
                + indented(f"the evaluators give: {', '.join(sorted(found)) or 'nothing on these data'}")
                + indented("to compare by another: --metric EVALUATOR.METRIC, or the study's metrics")
            )
