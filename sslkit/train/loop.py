"""The training loop: one optimiser step after another, from wherever the state stands.

The inputs of step n are a function of (recipe, seed, n): the order of the data, the augmentation's draws, the
schedules. Nothing random is carried along, so a resume is exact by construction.
"""

# B images of the global batch, M images of one micro-batch

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sslkit.core.augmentation import Augmentation
from sslkit.core.collectives import mean_over_ranks
from sslkit.core.method import Method, Progress, StepOutput, Views
from sslkit.core.randomness import seeded
from sslkit.errors import RunError
from sslkit.recipe.schema import Recipe
from sslkit.train.checkpoint import TrainState
from sslkit.train.distributed import Place
from sslkit.train.optim import Schedules, build_optimizer, clip_gradients, set_schedules
from sslkit.train.precision import autocast, compute_dtype, gradient_scaler

if TYPE_CHECKING:
    from sslkit.data.loader import Batch


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The run was asked to stop; the state is whole."""


@dataclass
class Trainer:
    """What a step needs, and what it changes (`state`)."""

    recipe: Recipe
    augmentation: Augmentation
    place: Place
    schedules: Schedules
    state: TrainState
    forward: Callable[[Views, Progress], StepOutput]
    """The method, or the method under DistributedDataParallel."""
    dtype: torch.dtype
    stop_asked: Callable[[], bool] = lambda: False
    pending: list["Pending"] = field(default_factory=list)
    """Steps whose numbers have not been read from the device yet."""

    @property
    def method(self) -> Method:
        assert isinstance(self.state.method, Method)
        return self.state.method

    def progress(self) -> Progress:
        """Of the step that comes next."""
        return Progress(self.state.step, self.schedules.total_steps, self.schedules.steps_per_epoch)


@dataclass(frozen=True)
class Pending:
    """The numbers of one step, still on the device."""

    record: dict[str, Any]
    names: tuple[str, ...]
    values: Tensor


def build_trainer(
    recipe: Recipe, method: Method, augmentation: Augmentation, place: Place, steps_per_epoch: int
) -> Trainer:
    """Optimiser, scaler and schedules around a method that is on its device."""
    dtype = compute_dtype(recipe.runtime.precision, place.device)
    state = TrainState(method, build_optimizer(method, recipe.optim), gradient_scaler(place.device, dtype))
    schedules = Schedules(recipe.optim, recipe.optim.epochs * steps_per_epoch, steps_per_epoch)
    devices = [place.device] if place.device.type == "cuda" else None
    forward = DistributedDataParallel(method, device_ids=devices) if place.world_size > 1 else method
    return Trainer(recipe, augmentation, place, schedules, state, forward, dtype)


def train(
    trainer: Trainer,
    batches: Iterator["Batch"],
    last_step: int,
    *,
    on_record: Callable[[Mapping[str, Any]], None],
    on_step: Callable[[Progress, StepOutput], None],
    on_pause: Callable[[Progress], None],
) -> None:
    """Train up to `last_step`.

    `on_record` gets each step's record once its numbers are known and finite; `on_step` the progress and the
    last output of each step; `on_pause` is called between steps, with the progress of the step to come.
    Raises `RunError` on a non-finite loss, `Stopped` where somebody asked for it.
    """
    state = trainer.state
    while state.step < last_step:
        progress = trainer.progress()
        started = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - started
        outputs, numbers = one_step(trainer, batch, progress)
        state.step += 1
        read_numbers(trainer, on_record)  # of the step before: this one is not waited for
        speed = Speed(trainer.recipe.optim.batch_size, time.perf_counter() - started, waited)
        trainer.pending.append(_numbers(trainer, progress, outputs, numbers, speed))
        if trainer.place.device.type == "cpu" or state.step == last_step:
            read_numbers(trainer, on_record)
        on_step(progress, outputs[-1])
        on_pause(trainer.progress())


def one_step(
    trainer: Trainer, batch: "Batch", progress: Progress
) -> tuple[Sequence[StepOutput], dict[str, Tensor | float]]:
    """Forward and backward by micro-batches, unscale, clip, optimise; then the method's own updates."""
    method, optimizer, scaler = trainer.method, trainer.state.optimizer, trainer.state.scaler
    lr, weight_decay = set_schedules(optimizer, trainer.schedules, progress.step)
    optimizer.zero_grad(set_to_none=True)
    outputs = [
        _forward_backward(trainer, part, progress) for part in _micro_batches(trainer, batch, progress)
    ]
    scaler.unscale_(optimizer)
    grad_norm = clip_gradients(method, trainer.recipe.optim.clip)
    method.before_step(progress)
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    if scaler.get_scale() >= scale:  # a smaller scale says that this step was skipped
        method.after_step(progress, outputs)
    return outputs, {"lr": lr, "weight_decay": weight_decay, "grad_norm": grad_norm}


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass: its views, its number and whether it is the last of its step."""

    views: Views
    number: int
    is_last: bool


def _micro_batches(trainer: Trainer, batch: "Batch", progress: Progress) -> Iterator[MicroBatch]:
    """Draw for the global batch, then apply this process's rows, micro-batch by micro-batch."""
    seed, count, place = trainer.recipe.seed, trainer.recipe.optim.accumulate, trainer.place
    with seeded(seed, "augment", progress.step):
        params = trainer.augmentation.draw(trainer.recipe.optim.batch_size)
    rows = len(batch.canvas)
    size = rows // count
    for number in range(count):
        part = slice(number * size, (number + 1) * size)
        in_global_batch = slice(place.rank * rows + part.start, place.rank * rows + part.stop)
        canvas = batch.canvas[part].to(place.device, non_blocking=True)  # [M, C, S, S]
        views = trainer.augmentation.apply(
            canvas, batch.size[part].to(place.device), params.rows(in_global_batch)
        )
        labels = None if batch.labels is None else batch.labels[part].to(place.device)
        views = replace(views, labels=labels, indices=batch.indices[part].to(place.device))
        yield MicroBatch(views, number, number == count - 1)


def _forward_backward(trainer: Trainer, part: MicroBatch, progress: Progress) -> StepOutput:
    place, forward = trainer.place, trainer.forward
    if isinstance(forward, DistributedDataParallel):
        forward.require_backward_grad_sync = part.is_last
    draws = (trainer.recipe.seed, "model", progress.step, part.number, place.rank)
    with seeded(*draws, device=place.device), autocast(place.device, trainer.dtype):
        output = forward(part.views, progress)
    trainer.state.scaler.scale(output.loss / trainer.recipe.optim.accumulate).backward()
    return replace(output, loss=output.loss.detach())


@dataclass(frozen=True)
class Speed:
    """How long a step took, and how much of it went into waiting for data."""

    images: int
    seconds: float
    waited: float

    def record(self) -> dict[str, float]:
        return {"images_per_second": self.images / self.seconds, "data_wait": self.waited / self.seconds}


def _numbers(
    trainer: Trainer,
    progress: Progress,
    outputs: Sequence[StepOutput],
    numbers: Mapping[str, Tensor | float],
    speed: Speed,
) -> Pending:
    """Average the step's numbers over micro-batches and ranks, without reading them."""
    metrics = [_metrics_of(output) for output in outputs]
    means = {name: torch.stack([m[name].float() for m in metrics]).mean() for name in metrics[0]}
    known = {name: value for name, value in numbers.items() if isinstance(value, float)}
    means |= {name: value.float() for name, value in numbers.items() if isinstance(value, Tensor)}
    means["stop"] = torch.tensor(float(trainer.stop_asked()))
    values = mean_over_ranks(torch.stack([v.to(trainer.place.device) for v in means.values()]))
    record = {"kind": "step", "step": progress.step + 1, "epoch": progress.epoch, **speed.record(), **known}
    return Pending(record, tuple(means), values)


def _metrics_of(output: StepOutput) -> dict[str, Tensor]:
    spread = {} if output.features is None else {"feature_std": feature_std(output.features)}
    return {"loss": output.loss, **output.metrics, **spread}


@torch.no_grad()
def feature_std(features: Tensor) -> Tensor:
    """Spread of normalised features [B, D] over a batch, []: 1 at random, 0 for collapsed ones."""
    x: Tensor = nn.functional.normalize(features.float(), dim=1)  # [B, D]
    spread: Tensor = x.std(0, correction=0).mean() * x.shape[1] ** 0.5
    return spread


def read_numbers(trainer: Trainer, on_record: Callable[[Mapping[str, Any]], None]) -> None:
    """Read the waiting steps from the device; raises on a non-finite loss or a wish to stop."""
    while trainer.pending:
        oldest = trainer.pending.pop(0)
        values = dict(zip(oldest.names, oldest.values.tolist(), strict=True))
        stop = values.pop("stop") > 0
        record = {**oldest.record, **values}
        on_record(record)
        if not math.isfinite(record["loss"]):
            raise RunError(_NOT_FINITE.format(**record))
        if stop:
            raise Stopped


_NOT_FINITE = """the loss became {loss} at step {step} (lr {lr:.2g}, gradient norm {grad_norm:.3g})
  the checkpoints before it are kept. What usually helps, in this order:
  a third of optim.lr, a longer optim.warmup_epochs, optim.clip.norm=0.3, runtime.precision=fp32"""
