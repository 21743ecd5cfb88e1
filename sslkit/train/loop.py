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

from sslkit.core.augmentation import Augmentation, draw_for_step
from sslkit.core.collectives import mean_over_ranks
from sslkit.core.method import Method, Progress, StepOutput, Views
from sslkit.core.randomness import seeded
from sslkit.errors import RunError
from sslkit.losses.spectrum import feature_std, rankme
from sslkit.nn.batch_norm import synchronised
from sslkit.recipe.schema import Recipe
from sslkit.train.checkpoint import TrainState
from sslkit.train.distributed import Place
from sslkit.train.optim import Schedules, build_optimizer, clip_gradients, set_schedules
from sslkit.train.precision import autocast, compute_dtype, gradient_scaler

if TYPE_CHECKING:
    from sslkit.data.loader import Batch


STEP_NUMBERS = (
    *("step", "epoch", "lr", "weight_decay", "loss", "grad_norm", "feature_std", "rankme", "loss_scale"),
    *("images_per_second", "data_wait"),
)
"""What the loop adds to a method's metrics in the record of a step."""
TAKEN = (*STEP_NUMBERS, "kind", "stop", "what", "value", "figures")
"""No names for a metric: it would take the place of what this module or a tracker looks for under them."""


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
    reads_late: bool = False
    """Read each step's numbers while the next one runs, so that no step waits for the device."""
    pending: list["Pending"] = field(default_factory=list)
    """Steps whose numbers have not been read from the device yet."""
    clock: float = 0.0
    """When the last step was read, or training went on after a pause."""

    @property
    def method(self) -> Method:
        assert isinstance(self.state.method, Method)
        return self.state.method

    def progress(self) -> Progress:
        """Of the step that comes next."""
        return Progress(self.state.step, self.schedules.total_steps, self.schedules.steps_per_epoch)


@dataclass(frozen=True)
class Pending:
    """The numbers of one step, on their way from the device."""

    record: dict[str, Any]
    names: tuple[str, ...]
    values: Tensor
    """On the CPU once `arrival` has come."""
    arrival: torch.cuda.Event | None
    """None: they are there, or are waited for where they are read."""
    waited: float
    """Seconds that the step waited for data."""

    def read(self) -> dict[str, float]:
        """Wait for this step, and not for those that were begun after it."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return dict(zip(self.names, self.values.tolist(), strict=True))


def build_trainer(
    recipe: Recipe, method: Method, augmentation: Augmentation, place: Place, steps_per_epoch: int
) -> Trainer:
    """Optimiser, scaler and schedules around a method that is on its device."""
    dtype = compute_dtype(recipe.runtime.precision, place.device)
    state = TrainState(method, build_optimizer(method, recipe.optim), gradient_scaler(place.device, dtype))
    schedules = Schedules(recipe.optim, recipe.optim.epochs * steps_per_epoch, steps_per_epoch)
    devices = [place.device] if place.device.type == "cuda" else None
    synchronised(method)
    forward: nn.Module = method
    if place.world_size > 1:  # buffers (centre, queue, statistics) are the same on all ranks as it is
        forward = DistributedDataParallel(method, device_ids=devices, broadcast_buffers=False)
    late = place.device.type != "cpu"
    return Trainer(recipe, augmentation, place, schedules, state, forward, dtype, reads_late=late)


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

    `on_record` gets each step's record once its numbers are known; `on_step` the progress and the
    last output of each step; `on_pause` is called between steps, with the progress of the step to come.
    Raises `RunError` where a number is not finite, `Stopped` where somebody asked for it.
    """
    state = trainer.state
    trainer.clock = time.perf_counter()
    while state.step < last_step:
        progress = trainer.progress()
        started = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - started
        outputs, numbers = one_step(trainer, batch, progress)
        state.step += 1
        trainer.pending.append(_numbers(trainer, progress, outputs, numbers, waited))
        behind = 1 if trainer.reads_late and state.step < last_step else 0
        is_asked_to_stop = read_numbers(trainer, on_record, leave=behind)
        on_step(progress, outputs[-1])
        if is_asked_to_stop:
            read_numbers(trainer, on_record)
            raise Stopped
        before = time.perf_counter()
        on_pause(trainer.progress())
        after = time.perf_counter()  # a pause is no training time; reading numbers in it has set the clock
        trainer.clock = after if trainer.clock >= before else trainer.clock + after - before


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
    batch_size = trainer.recipe.optim.batch_size
    params = draw_for_step(trainer.augmentation, seed=seed, step=progress.step, batch_size=batch_size)
    rows = len(batch.canvas)
    share = rows // count
    for number in range(count):
        part = slice(number * share, (number + 1) * share)
        in_global_batch = slice(place.rank * rows + part.start, place.rank * rows + part.stop)
        canvas, size = (x[part].to(place.device, non_blocking=True) for x in (batch.canvas, batch.size))
        views = trainer.augmentation.apply(canvas, size, params.rows(in_global_batch))
        labels = None if batch.labels is None else batch.labels[part].to(place.device, non_blocking=True)
        indices = batch.indices[part].to(place.device, non_blocking=True)
        views = replace(views, labels=labels, indices=indices)
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


def _numbers(
    trainer: Trainer,
    progress: Progress,
    outputs: Sequence[StepOutput],
    numbers: Mapping[str, Tensor | float],
    waited: float,
) -> Pending:
    """Average the step's numbers over micro-batches and ranks, without reading them."""
    metrics = [{"loss": output.loss, **output.metrics} for output in outputs]
    means = {name: torch.stack([m[name].float() for m in metrics]).mean() for name in metrics[0]}
    means |= feature_spread(outputs) | (feature_rank(outputs) if progress.step % RANK_EVERY == 0 else {})
    if trainer.state.scaler.is_enabled():
        means["loss_scale"] = torch.full_like(means["loss"], trainer.state.scaler.get_scale())
    known = {name: value for name, value in numbers.items() if isinstance(value, float)}
    means |= {name: value.float() for name, value in numbers.items() if isinstance(value, Tensor)}
    means["stop"] = torch.full_like(means["loss"], float(trainer.stop_asked()))
    values = mean_over_ranks(torch.stack([v.to(trainer.place.device) for v in means.values()]))
    record = {"kind": "step", "step": progress.step + 1, "epoch": progress.epoch, **known}
    return Pending(record, tuple(means), *_sent(values), waited)


def _sent(values: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """The values on their way to the CPU, and what to wait for; `tolist` would wait for later steps too."""
    if values.device.type != "cuda":
        return values, None
    on_cpu = values.to("cpu", non_blocking=True)
    return on_cpu, torch.cuda.current_stream(values.device).record_event()


@torch.no_grad()
def feature_spread(outputs: Sequence[StepOutput]) -> dict[str, Tensor]:
    """`feature_std`, the spread of normalised features over a step: 1 at random, 0 when collapsed."""
    features = [output.features for output in outputs if output.features is not None]
    if sum(len(f) for f in features) < 2:
        return {}
    return {"feature_std": feature_std(torch.cat(features).float())}


RANK_EVERY = 10
"""Steps between two measurements of RankMe, which costs more than the other numbers."""
FEWEST_FOR_RANK = 16
"""Images of a process's batch: a rank of fewer says more of their number than of the network."""
RANK_IMAGES = 256
"""At most so many images of a process's batch are in it."""


@torch.no_grad()
def feature_rank(outputs: Sequence[StepOutput]) -> dict[str, Tensor]:
    """`rankme` of the features of (part of) a process's batch."""
    features = [output.features for output in outputs if output.features is not None]
    if sum(len(f) for f in features) < FEWEST_FOR_RANK:
        return {}
    x = torch.cat(features)[:RANK_IMAGES].float()  # [B, D]
    rank = rankme(x.nan_to_num(0.0, 0.0, 0.0))
    return {"rankme": torch.where(x.isfinite().all(), rank, torch.nan)}


def read_numbers(trainer: Trainer, on_record: Callable[[Mapping[str, Any]], None], *, leave: int = 0) -> bool:
    """Read all but the `leave` newest steps from the device; says whether somebody asked to stop.

    Raises `RunError` on a loss, or without a scaler a gradient, that is not finite.
    """
    stop = False
    while len(trainer.pending) > leave:
        oldest = trainer.pending.pop(0)
        values = oldest.read()
        stop |= values.pop("stop") > 0
        record = {**oldest.record, **_speed(trainer, oldest.waited), **values}
        on_record(record)
        _check_finite(record, trainer.state.scaler)
    return stop


def _speed(trainer: Trainer, waited: float) -> dict[str, float]:
    """Over the time since the step before was read, or since training went on after a pause."""
    now = time.perf_counter()
    seconds, trainer.clock = now - trainer.clock, now
    images = trainer.recipe.optim.batch_size
    return {"images_per_second": images / seconds, "data_wait": min(waited / seconds, 1.0)}


def _check_finite(record: Mapping[str, Any], scaler: torch.amp.GradScaler) -> None:
    if not math.isfinite(record["loss"]):
        raise RunError(_NOT_FINITE.format(what="loss", value=record["loss"], **record))
    if scaler.is_enabled():
        if scaler.get_scale() < SMALLEST_SCALE:
            raise RunError(_NOT_FINITE.format(what="fp16 scale", value=scaler.get_scale(), **record))
    elif not math.isfinite(record["grad_norm"]):
        raise RunError(_NOT_FINITE.format(what="gradient norm", value=record["grad_norm"], **record))


SMALLEST_SCALE = 2.0**-14
"""A scaler that has halved its factor down to this has skipped some thirty steps in a row."""
_NOT_FINITE = """the {what} became {value} at step {step} (lr {lr:.2g}, gradient norm {grad_norm:.3g})
  the checkpoints before it are kept. What usually helps, in this order:
  a third of optim.lr, a longer optim.warmup_epochs, optim.clip.norm=0.3, runtime.precision=fp32"""
