"""One run, from its first evaluation to its last file."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sslkit.augment.build import build_augmentation
from sslkit.core.collectives import barrier, broadcast_text
from sslkit.core.dataset import Dataset
from sslkit.core.evaluator import EvalData, Evaluator, Result, Subject
from sslkit.core.method import Progress
from sslkit.core.tracker import Trackers
from sslkit.data.loader import Batch, canvas_side, check_enough, train_loader
from sslkit.data.open import open_train
from sslkit.errors import RunError
from sslkit.eval.evaluate import Skipped, eval_record, evaluate
from sslkit.eval.features import Context
from sslkit.recipe.load import Loaded, to_yaml
from sslkit.recipe.schema import Recipe
from sslkit.stations import (
    Facts,
    build_evaluators,
    build_method,
    check_batch,
    check_sizes,
    open_eval_sets,
)
from sslkit.train import checkpoint
from sslkit.train.distributed import Place
from sslkit.train.export import FILE_NAME, save_backbone, timm_call
from sslkit.train.health import Watch
from sslkit.train.loop import Stopped, Trainer, build_trainer, read_numbers, train
from sslkit.train.precision import autocast
from sslkit.train.rundir import Origin, RunDirectory, now, write_aside
from sslkit.train.signals import StopRequest
from sslkit.train.trackers import JsonLines, cut_after


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    run_dir: Path
    status: str
    """finished or stopped; a run that fails raises."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The last evaluation, such as {"knn/top1_k20": 0.81}."""
    exit_code: int = 0


def prepare(loaded: Loaded, place: Place, stop: StopRequest) -> "Session":
    """Build every station; whatever cannot work is said here, before anything is written."""
    recipe, registry = loaded.recipe, loaded.registry
    check_batch(recipe, place)
    data = open_train(recipe, registry)
    check_enough(len(data), recipe.optim.batch_size)
    steps_per_epoch = len(data) // recipe.optim.batch_size
    eval_data, evaluators = open_eval_sets(recipe, registry), build_evaluators(recipe, registry)
    augmentation = build_augmentation(recipe, registry).to(place.device)
    classes = None if data.classes is None else len(data.classes)
    facts = Facts(augmentation.image_size, steps_per_epoch, classes)
    method = build_method(recipe, registry, facts).to(place.device)
    check_sizes(method.encoder, {*augmentation.view_sizes, recipe.eval.crop}, recipe, place)
    trainer = build_trainer(recipe, method, augmentation, place, steps_per_epoch)
    trainer.stop_asked = lambda: stop.asked
    return Session(loaded, place, stop, trainer, facts, data, eval_data, evaluators)


@dataclass
class Session:
    """A run that is prepared: what it consists of, and what happens to it."""

    loaded: Loaded
    place: Place
    stop: StopRequest
    trainer: Trainer
    facts: Facts
    data: Dataset
    eval_data: EvalData
    evaluators: dict[str, Evaluator]
    trackers: Trackers = field(default_factory=Trackers)
    directory: RunDirectory = field(default_factory=lambda: RunDirectory(Path()))
    metrics: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    """Evaluators whose absence was told."""
    first_step: int = 0
    """Where this session starts: the step of the checkpoint that it goes on from."""
    watch: Watch = field(init=False)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.watch = Watch(getattr(self.recipe.method.config, "out_dim", None))
        self.notes = list(self.loaded.notes)

    @property
    def recipe(self) -> Recipe:
        return self.loaded.recipe

    @property
    def last_step(self) -> int:
        steps, limit = self.trainer.schedules.total_steps, self.recipe.runtime.max_steps
        return steps if limit is None else min(steps, limit)

    # --- opening -------------------------------------------------------------------------------------------

    def open(self, directory: RunDirectory, *, resume: bool, quiet: bool) -> None:
        """Create the directory, or bring the state to where its newest sound checkpoint left it.

        Rank 0's directory counts: the others looked for a free name at another moment.
        """
        directory = RunDirectory(Path(broadcast_text(str(directory.path))))
        self.directory = directory
        if resume:
            self.load_newest()
        if self.place.is_main:
            directory.path.mkdir(parents=True, exist_ok=True)
            cut_after(directory.metrics, self.trainer.state.step)
            self.loaded.registry.save_files(directory.path)
            write_aside(directory.recipe, to_yaml(self.recipe, run_dir=directory.path))
            directory.update_record(**self._origin().as_record(), setup=asdict(self.facts))
            self._open_trackers(quiet)
        barrier()

    def load_newest(self) -> None:
        """Bring the state to where the directory's newest sound checkpoint left it."""
        path, notes = checkpoint.newest_sound(self.directory.checkpoints)
        self.notes += notes
        if path is None:
            self.notes.append("no checkpoint was written yet: starting again from step 0")
        else:
            checkpoint.load(self.trainer.state, path)
            self.first_step = self.trainer.state.step

    def _origin(self) -> Origin:
        return Origin(
            seed=self.recipe.seed,
            device=str(self.place.device),
            precision=str(self.trainer.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            world_size=self.place.world_size,
            variant=self.loaded.variant,
            plugins=[asdict(p) for p in self.loaded.registry.plugins],
        )

    def _open_trackers(self, quiet: bool) -> None:
        registry, path, name = self.loaded.registry, self.directory.path, self.recipe.name
        named = [(c.name, c.config) for c in self.recipe.trackers]
        if not quiet:
            named.append(("terminal", registry.get("trackers", "terminal").Config()))
        others = [registry.get("trackers", kind)(config, path, name) for kind, config in named]
        self.trackers = Trackers([JsonLines(self.directory.metrics), *others])

    # --- the run -------------------------------------------------------------------------------------------

    def go(self) -> RunResult:
        """From the first evaluation to the last file; whatever happens, `run.json` says how it ended."""
        try:
            with self._recorded():
                self._start()
                self._train()
                self._finish()
        except Stopped:
            return RunResult(self.directory.path, "stopped", self.metrics, self.stop.exit_code)
        return RunResult(self.directory.path, "finished", self.metrics)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._close(_status_of(error), error)
            raise
        self._close("finished", None)

    def _start(self) -> None:
        self.trackers.log(self.start_record())
        self._notify("sslkit_run_started", recipe=self.recipe, run_dir=self.directory.path)
        if self.trainer.state.step == 0:
            self._evaluate()

    def _train(self) -> None:
        state = self.trainer.state
        try:
            train(
                self.trainer,
                self._batches(),
                self.last_step,
                on_record=self._on_record,
                on_step=lambda progress, output: self._notify(
                    "sslkit_step_finished", progress=progress, output=output
                ),
                on_pause=self._on_pause,
            )
        except Stopped:
            self._save()
            raise
        assert state.step >= self.last_step

    def _batches(self) -> Iterator[Batch]:
        recipe, place, augmentation = self.recipe, self.place, self.trainer.augmentation
        share = recipe.optim.batch_size // place.world_size
        wanted = augmentation.canvas_size if recipe.data.canvas is None else recipe.data.canvas
        return train_loader(
            self.data,
            seed=recipe.seed,
            batch_size=recipe.optim.batch_size,
            canvas_size=canvas_side(self.data, wanted),
            start_step=self.trainer.state.step,
            end_step=self.last_step,
            rows=slice(place.rank * share, (place.rank + 1) * share),
            data=recipe.data,
            on_skip=self.directory.list_skipped,
        )

    def _on_record(self, record: Mapping[str, Any]) -> None:
        self.watch.see(record)
        if record["step"] % self.recipe.runtime.log_every == 0 or record["step"] == self.last_step:
            self.trackers.log(record)

    def _on_pause(self, progress: Progress) -> None:
        """Between two steps: evaluation first, so that a checkpoint never stands before its evaluation."""
        if progress.step == self.last_step:
            return  # the end does both
        evaluates = self._is_due(progress, None, self.recipe.eval.every_epochs)
        saves = self._is_due(
            progress, self.recipe.checkpoint.every_steps, self.recipe.checkpoint.every_epochs
        )
        if evaluates or saves:
            read_numbers(self.trainer, self._on_record)
        if evaluates:
            self._evaluate()
            self._judge()
        if saves:
            self._save()

    @staticmethod
    def _is_due(progress: Progress, every_steps: int | None, every_epochs: int | None) -> bool:
        if every_steps is not None and progress.step % every_steps == 0:
            return True
        at_epoch_end = progress.step % progress.steps_per_epoch == 0
        return every_epochs is not None and at_epoch_end and progress.epoch % every_epochs == 0

    def _finish(self) -> None:
        if self.trainer.state.step > self.first_step or self.first_step == 0:
            self._evaluate()
            self._judge()
            self._save()
        if self.place.is_main:
            method, size = self.trainer.method, self.trainer.augmentation.image_size
            path = self.directory.path / FILE_NAME
            save_backbone(
                method.encoder,
                self.recipe.backbone,
                path,
                channels=self.recipe.data.channels,
                image_size=size,
            )
        barrier()

    # --- what happens at a pause ---------------------------------------------------------------------------

    def _save(self) -> None:
        if self.place.is_main:
            checkpoint.save(self.trainer.state, self.directory.checkpoints, keep=self.recipe.checkpoint.keep)
            self.directory.update_record(step=self.trainer.state.step)
        barrier()

    def _evaluate(self) -> None:
        if self.place.is_main:
            method = self.trainer.method
            subject = Subject(method.encoder, method)
            for name, result in self._results(subject):
                self._on_result(name, result)
        barrier()

    def _results(self, subject: Subject) -> Iterator[tuple[str, Result | Skipped]]:
        context = Context(
            subject,
            self.place.device,
            self.directory.figures,
            partial(autocast, self.place.device, self.trainer.dtype),
        )
        return evaluate(self.evaluators, subject, self.eval_data, context)

    def _on_result(self, name: str, result: Result | Skipped) -> None:
        if isinstance(result, Skipped):
            if name not in self.told:
                self.trackers.log({"kind": "note", "text": f"{name} is skipped: {result.reason}"})
            self.told.add(name)
            return
        self.metrics |= {f"{name}/{key}": value for key, value in result.metrics.items()}
        self.trackers.log(eval_record(self.trainer.state.step, name, self.eval_data.test, result))
        for title, path in result.figures.items():
            self.trackers.figure(title, path)

    def _judge(self) -> None:
        verdict = self.watch.verdict()
        self.trackers.log({"kind": "health", "step": self.trainer.state.step, **asdict(verdict)})
        if verdict.is_collapse and self.recipe.health.on_collapse == "stop":
            raise RunError(f"{verdict.verdict}: {verdict.cause}\n  what to change: {verdict.advice}")

    # --- telling -------------------------------------------------------------------------------------------

    def _notify(self, hook: str, **arguments: Any) -> None:
        if self.place.is_main:
            self.loaded.registry.notify(hook, **arguments)

    def start_record(self) -> dict[str, Any]:
        """What the run is, as trackers are told at its start."""
        method, schedules = self.trainer.method, self.trainer.schedules
        out_dim = getattr(self.recipe.method.config, "out_dim", None)
        return {
            "kind": "start",
            "name": self.recipe.name,
            "variant": self.loaded.variant,
            "device": str(self.place.device),
            "threads": torch.get_num_threads(),
            "precision": self.recipe.runtime.precision,
            "world_size": self.place.world_size,
            "data": describe_data(self.recipe),
            "train_images": len(self.data),
            "test_images": len(self.eval_data.test),
            "classes": None if self.data.classes is None else len(self.data.classes),
            "model": self.recipe.backbone.name,
            "parameters": sum(p.numel() for p in method.encoder.parameters()),
            "head": None if out_dim is None else f"{out_dim:,} outputs",
            "run_dir": str(self.directory.path),
            "total_steps": self.last_step,
            "steps_per_epoch": schedules.steps_per_epoch,
            "epochs": self.recipe.optim.epochs,
            "start_step": self.first_step,
            "closing": self.recipe.closing,
            "notes": self.notes,
        }

    def _close(self, status: str, error: BaseException | None) -> None:
        if not self.place.is_main:
            return
        self._notify("sslkit_run_finished", run_dir=self.directory.path, error=error)
        message = None if error is None or status == "stopped" else str(error) or type(error).__name__
        self.directory.update_record(
            status=status, ended=now(), error=message, step=self.trainer.state.step, metrics=self.metrics
        )
        self.trackers.log(self._end_record(status, message))
        self.trackers.close()

    def _end_record(self, status: str, message: str | None) -> dict[str, Any]:
        path = self.directory.path
        backbone = path / FILE_NAME
        return {
            "kind": "end",
            "status": status,
            "seconds": time.monotonic() - self.started,
            "run_dir": str(path),
            "backbone": str(backbone) if backbone.is_file() else None,
            "timm": timm_call(self.trainer.method.encoder),
            "figures": [str(p) for p in sorted(self.directory.figures.glob("*.png"))],
            "skipped": len(self.directory.skipped_keys()),
            "error": message,
        }


def _status_of(error: BaseException) -> str:
    return "stopped" if isinstance(error, Stopped | KeyboardInterrupt) else "failed"


def describe_data(recipe: Recipe) -> str:
    """The data in a few words."""
    return recipe.data.name if recipe.data.root is None else f"{recipe.data.name} {recipe.data.root}"
