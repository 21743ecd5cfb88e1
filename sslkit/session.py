"""One run, from its first evaluation to its last file."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sslkit.augment.build import build_augmentation
from sslkit.core.collectives import barrier, broadcast_text
from sslkit.core.dataset import Dataset
from sslkit.core.evaluator import Subject
from sslkit.core.method import Progress, StepOutput
from sslkit.core.tracker import Trackers
from sslkit.data.loader import Batch, canvas_for, train_loader
from sslkit.data.open import open_all
from sslkit.errors import RunError, SslkitError
from sslkit.evaluation import Evaluation
from sslkit.recipe.load import Loaded, to_yaml
from sslkit.recipe.schema import Recipe
from sslkit.stations import (
    Facts,
    build_evaluators,
    build_method,
    build_trackers,
    check_batch,
    check_sizes,
    eval_sets,
    training_images,
)
from sslkit.summary import end_record, origin_record, start_record
from sslkit.train import checkpoint
from sslkit.train.best import FILE_NAME as BEST
from sslkit.train.best import Best
from sslkit.train.checkup import Checkup, stop_if_collapsed, was_at_evaluation
from sslkit.train.distributed import Place
from sslkit.train.export import FILE_NAME, save_backbone
from sslkit.train.health import Doctor
from sslkit.train.loop import Stopped, Trainer, build_trainer, read_numbers, train
from sslkit.train.memory import peak_memory
from sslkit.train.rundir import RunDirectory, claim, now, write_aside
from sslkit.train.signals import StopRequest
from sslkit.train.trackers import JsonLines, cut_after, on_own_data, read_records


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    run_dir: Path
    status: str
    """finished or stopped; a run that fails raises."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The last evaluation, such as {"knn/top1_k20": 0.81}."""
    exit_code: int = 0


def prepare(loaded: Loaded, place: Place, stop: StopRequest, *, resumes: bool = False) -> "Session":
    """Build every station; whatever cannot work is said here, before anything is written.

    `resumes`: a checkpoint will replace the weights, so that those of `backbone.weights` are not needed.
    """
    recipe, registry = loaded.recipe, loaded.registry
    check_batch(recipe, place)
    data, bank, queries = open_all(recipe, registry)
    steps_per_epoch = len(data) // recipe.optim.batch_size
    sets, evaluators = eval_sets(bank, queries, recipe), build_evaluators(recipe, registry)
    augmentation = build_augmentation(recipe, registry).to(place.device)
    classes = None if data.classes is None else len(data.classes)
    canvas = canvas_for(data, augmentation.canvas_size, recipe.data)
    facts = Facts(augmentation.image_size, steps_per_epoch, classes, canvas)
    method = build_method(recipe, registry, facts, load_weights=not resumes).to(place.device)
    check_sizes(method.encoder, {*augmentation.view_sizes, recipe.eval.crop}, recipe, place)
    trainer = build_trainer(recipe, method, augmentation, place, steps_per_epoch)
    trainer.stop_asked = lambda: stop.asked
    evaluation = Evaluation(
        evaluators,
        sets,
        place.device,
        trainer.dtype,
        recipe,
        registry,
        training_images=partial(training_images, recipe, data),
    )
    return Session(loaded, place, stop, trainer, facts, data, evaluation)


@dataclass
class Session:
    """A run that is prepared: what it consists of, and what happens to it."""

    loaded: Loaded
    place: Place
    stop: StopRequest
    trainer: Trainer
    facts: Facts
    data: Dataset
    evaluation: Evaluation
    trackers: Trackers = field(default_factory=Trackers)
    directory: RunDirectory = field(default_factory=lambda: RunDirectory(Path()))
    notes: list[str] = field(default_factory=list)
    looked: set[int] = field(default_factory=set)
    """Steps that were evaluated and judged, also before a resume."""
    best: Best = field(init=False)
    forked_from: Path | None = None
    """The checkpoint of another run that this one starts from."""
    first_step: int = 0
    """Where this session starts: the step of the checkpoint that it goes on from."""
    checkup: Checkup = field(init=False)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.checkup = Checkup(Doctor.of(self.recipe, self.trainer.method), self.directory)
        self.best = Best(self.recipe.checkpoint.best)
        self.notes = list(self.loaded.notes)

    @property
    def recipe(self) -> Recipe:
        return self.loaded.recipe

    @property
    def step(self) -> int:
        return self.trainer.state.step

    @property
    def last_step(self) -> int:
        steps, limit = self.trainer.schedules.total_steps, self.recipe.runtime.max_steps
        return steps if limit is None else min(steps, limit)

    # --- opening -------------------------------------------------------------------------------------------

    def open(
        self,
        directory: RunDirectory,
        *,
        resume: bool,
        quiet: bool,
        free_name: bool = False,
        start: Path | None = None,
    ) -> None:
        """Create the directory, or bring the state to where its newest sound checkpoint left it.

        `free_name`: the directory's name may be numbered on if another run takes it meanwhile.
        `start`: a checkpoint of another run that a new one starts from.
        """
        if self.place.is_main and not resume:
            directory = claim(directory, free_name=free_name)
        self.directory = RunDirectory(Path(broadcast_text(str(directory.path))))  # rank 0's counts
        self.checkup.directory = self.directory
        try:
            self._load_state(start, resume=resume)
            if self.place.is_main:
                self._write_beginning(quiet, resume=resume)
        except SslkitError:
            if self.place.is_main and not resume:  # nothing of a run that could not start is left behind
                shutil.rmtree(self.directory.path)
            raise
        barrier()
        self._read_past()

    def _load_state(self, start: Path | None, *, resume: bool) -> None:
        """Where a run goes on from: its own newest checkpoint, or another run's."""
        if start is not None and not resume:
            self.forked_from = start
            if self.place.is_main:
                checkpoint.copy_into(start, self.directory.checkpoints)
            barrier()
        if resume or start is not None:
            self.load_newest()
        if self.step >= self.last_step and self.forked_from is not None:
            raise RunError(
                f"{start} stands at step {self.step:,}, but the run ends at step {self.last_step:,}"
                "\n  take an earlier checkpoint, or a larger optim.epochs"
            )
        barrier()

    def load_newest(self) -> None:
        """Bring the state to where the directory's newest sound checkpoint left it."""
        path, notes = checkpoint.newest_sound(self.directory.checkpoints)
        self.notes += notes
        if path is None:
            self.notes.append("no checkpoint was written yet: starting again from step 0")
        else:
            checkpoint.load(self.trainer.state, path)
            self.first_step = self.step
            remembered = checkpoint.doctor_of(path)
            if remembered is not None and self.forked_from is None:  # another recipe starts anew
                self.checkup.doctor.load(remembered)

    def _write_beginning(self, quiet: bool, *, resume: bool) -> None:
        directory = self.directory
        checkpoint.set_aside_damaged(directory.checkpoints, after=self.step)
        cut_after(directory.metrics, self.step)
        self.loaded.registry.save_files(directory.path)
        write_aside(directory.recipe, to_yaml(self.recipe, run_dir=directory.path))
        others = build_trackers(self.loaded, directory, quiet=quiet)  # they may read the recipe
        self.trackers = Trackers(JsonLines(directory.metrics), others)
        origin = origin_record(self)
        if resume:
            kept = directory.read_record()
            origin |= {key: kept[key] for key in ("started", "variant", "command") if key in kept}
            origin["resumed"] = [*kept.get("resumed", []), now()]
            self.loaded.registry.hook_times.load(kept.get("hooks", []))
        if self.forked_from is not None:
            origin["forked_from"] = str(self.forked_from.resolve())
        directory.update_record(**origin)

    def _read_past(self) -> None:
        """What was evaluated before a resume."""
        self.best.load(self.directory.read_record().get("best"), until=self.step)
        for record in on_own_data(read_records(self.directory.metrics)):
            if record["kind"] == "eval":
                self.evaluation.keep(record["evaluator"], record["metrics"])
            elif was_at_evaluation(record):
                self.looked.add(record["step"])

    # --- the run -------------------------------------------------------------------------------------------

    def go(self) -> RunResult:
        """From the first evaluation to the last file; whatever happens, `run.json` says how it ended."""
        try:
            with self._recorded():
                self._start()
                self._train()
                self._finish()
        except Stopped:
            return RunResult(self.directory.path, "stopped", self.evaluation.metrics, self.stop.exit_code)
        return RunResult(self.directory.path, "finished", self.evaluation.metrics)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._close("stopped" if isinstance(error, Stopped | KeyboardInterrupt) else "failed", error)
            raise
        self._close("finished", None)

    def _start(self) -> None:
        self.trackers.log(start_record(self))
        self._notify("sslkit_run_started", recipe=self.recipe, run_dir=self.directory.path)
        if self.step == 0 or not self.evaluation.metrics:  # at the beginning, also of a run with --from
            self._evaluate()
        elif self._is_due(self.trainer.progress(), None, self.recipe.eval.every_epochs):
            self._look()  # unless it was done before the stop

    def _train(self) -> None:
        try:
            train(
                self.trainer,
                self.batches(),
                self.last_step,
                on_record=self._on_record,
                on_step=self._on_step,
                on_pause=self._on_pause,
            )
        except Stopped:
            self._save()
            raise

    def batches(self) -> Iterator[Batch]:
        """What this process still trains on, in order."""
        recipe, place = self.recipe, self.place
        share = recipe.optim.batch_size // place.world_size
        return train_loader(
            self.data,
            seed=recipe.seed,
            batch_size=recipe.optim.batch_size,
            canvas_size=self.facts.canvas_size,
            start_step=self.step,
            end_step=self.last_step,
            rows=slice(place.rank * share, (place.rank + 1) * share),
            data=recipe.data,
            on_skip=self.directory.list_skipped,
        )

    def _on_record(self, record: Mapping[str, Any]) -> None:
        health = self.checkup.see(record)
        if record["step"] % self.recipe.runtime.log_every == 0 or record["step"] == self.last_step:
            self.trackers.log(record)
        if health is not None:
            self._tell(health)

    def _on_step(self, progress: Progress, output: StepOutput) -> None:
        self._notify("sslkit_step_finished", progress=progress, output=output)

    def _on_pause(self, progress: Progress) -> None:
        """Between two steps: evaluation first, so that a checkpoint rarely stands before its evaluation."""
        if progress.step == self.last_step:
            return  # the end does both
        checkpoints = self.recipe.checkpoint
        evaluates = self._is_due(progress, None, self.recipe.eval.every_epochs)
        saves = self._is_due(progress, checkpoints.every_steps, checkpoints.every_epochs)
        if (evaluates or saves) and read_numbers(self.trainer, self._on_record):
            self._save()
            raise Stopped
        if evaluates:
            self._look()
        if saves:
            self._save()

    @staticmethod
    def _is_due(progress: Progress, every_steps: int | None, every_epochs: int | None) -> bool:
        if every_steps is not None and progress.step % every_steps == 0:
            return True
        at_epoch_end = progress.step % progress.steps_per_epoch == 0
        return every_epochs is not None and at_epoch_end and progress.epoch % every_epochs == 0

    def _finish(self) -> None:
        """All is saved before a verdict may end the run with an error."""
        new = self.step not in self.looked
        if new:
            self._evaluate()
        if new or self.step > self.first_step:
            self._save()
        if self.place.is_main:
            self._save_backbone(FILE_NAME)
        barrier()
        if new:
            self._judge()

    # --- what happens at a pause ---------------------------------------------------------------------------

    def _save(self) -> None:
        if self.place.is_main:
            checkpoint.save(
                self.trainer.state,
                self.directory.checkpoints,
                keep=self.recipe.checkpoint.keep,
                spare=self.checkup.spared(),
                doctor=self.checkup.doctor.state(),
            )
            self.directory.update_record(step=self.step, peak_memory_mib=self._peak_memory())
        barrier()

    def _save_backbone(self, name: str) -> None:
        save_backbone(
            self.trainer.method.encoder,
            self.recipe.backbone,
            self.directory.path / name,
            channels=self.recipe.data.channels,
            image_size=self.facts.image_size,
        )

    def _peak_memory(self) -> dict[str, float | None]:
        return peak_memory(self.place.device, self.directory.read_record().get("peak_memory_mib"))

    def _look(self) -> None:
        if self.step not in self.looked:
            self._evaluate()
            self._judge()

    def _evaluate(self) -> None:
        if self.place.is_main:
            method = self.trainer.method
            subject = Subject(method.encoder, method)
            for record in self.evaluation.records(subject, self.step, self.directory.figures):
                self.trackers.log(record)
                if record["kind"] == "eval" and self.best.see(record):
                    self._save_backbone(BEST)
                    self.directory.update_record(best=asdict(self.best))
            for title, path in self.evaluation.figures.items():
                self.trackers.figure(title, path)
            for key, reason in self.evaluation.skipped():
                self.directory.list_skipped(key, reason)
        barrier()

    def _judge(self) -> None:
        self.looked.add(self.step)
        self._tell(self.checkup.after_evaluation(self.step))

    # --- telling -------------------------------------------------------------------------------------------

    def _tell(self, health: Mapping[str, Any]) -> None:
        """Log a verdict; a collapse ends the run where the recipe says so."""
        self.trackers.log(health)
        if self.recipe.health.on_collapse == "stop":
            stop_if_collapsed(health)

    def _notify(self, hook: str, **arguments: Any) -> None:
        if self.place.is_main:
            self.loaded.registry.notify(hook, **arguments)

    def _close(self, status: str, error: BaseException | None) -> None:
        if not self.place.is_main:
            return
        memory = self._peak_memory()  # before pictures are drawn
        message = None if error is None or status == "stopped" else str(error) or type(error).__name__
        self.directory.update_record(
            status=status,
            ended=now(),
            error=message,
            step=self.step,
            metrics=self.evaluation.metrics,
            peak_memory_mib=memory,
        )
        times = self.loaded.registry.hook_times
        self.directory.update_record(hooks=times.as_records())
        self._notify("sslkit_run_finished", run_dir=self.directory.path, error=error)
        self.directory.update_record(hooks=times.as_records())
        self.trackers.log(end_record(self, status, time.monotonic() - self.started, message))
        self.trackers.close()
