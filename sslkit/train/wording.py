"""A run in words: what is known of it, and the lines that say it."""

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sslkit.core.tracker import Record

SMOOTHED = 20
"""Steps that the speed is averaged over."""


@dataclass
class Where:
    """What is known of the run so far."""

    name: str = "run"
    run_dir: str = ""
    total_steps: int = 0
    start_step: int = 0
    epochs: int | None = None
    classes: int | None = None
    closing: str = ""
    last: Record = field(default_factory=dict)
    """The last step record."""
    knn: list[float] = field(default_factory=list)
    """kNN accuracies in the order of their measurement."""
    first_step_at: float | None = None
    """When the first step was done, seconds of the monotonic clock."""
    first_step: int = 0
    speeds: deque[float] = field(default_factory=lambda: deque(maxlen=SMOOTHED))
    chance_told: bool = False

    def start(self, record: Record) -> None:
        self.name, self.run_dir = record["name"], str(record["run_dir"])
        self.total_steps, self.start_step = record["total_steps"], record.get("start_step", 0)
        self.epochs, self.classes = record.get("epochs"), record.get("classes")
        self.closing = record.get("closing") or ""

    def see(self, record: Record) -> None:
        if self.first_step_at is None:
            self.first_step_at, self.first_step = time.monotonic(), record["step"]
        self.last = record
        speed = record.get("images_per_second")
        if speed is not None and math.isfinite(speed):
            self.speeds.append(speed)

    @property
    def step(self) -> int:
        return int(self.last.get("step", self.start_step))

    @property
    def is_done(self) -> bool:
        return self.step >= self.total_steps

    def count(self) -> str:
        width = len(f"{self.total_steps:,}")
        return f"step {self.step:>{width},}/{self.total_steps:,}"

    def epoch(self) -> str:
        """The epoch in words, counted from 1; empty where it is not known."""
        if "epoch" not in self.last:
            return ""
        return f"epoch {self.last['epoch'] + 1}" + (f"/{self.epochs}" if self.epochs else "")

    def parts(self) -> list[tuple[int, str]]:
        """What there is to say of the last step, in order, each with its importance (0 is the most)."""
        return [(importance, text) for importance, text in self._all_parts() if text]

    def _all_parts(self) -> Iterator[tuple[int, str]]:
        yield 0, self._metric("loss", "loss", 4)
        yield 3, self._metric("teacher_entropy", "teacher entropy", 3)
        yield 4, f"kNN {percent(self.knn[-1])}" if self.knn else ""
        yield 2, f"{number(sum(self.speeds) / len(self.speeds))} images/s" if self.speeds else ""
        yield 1, self._time_left()

    def _metric(self, key: str, label: str, digits: int) -> str:
        return f"{label} {number(self.last[key], digits)}" if key in self.last else ""

    def _time_left(self) -> str:
        done = self.step - self.first_step
        if self.first_step_at is None or done <= 0:
            return ""
        seconds = (time.monotonic() - self.first_step_at) / done * (self.total_steps - self.step)
        return f"{clock(seconds)} left" if not self.is_done else ""

    def moment(self, step: int) -> str:
        """When an evaluation was made, in words."""
        if step == 0:
            return "before training"
        return "after training" if step >= self.total_steps else f"at step {step:,}"

    def chance_once(self) -> str:
        """What guessing would reach, told beside the first result."""
        if self.chance_told or not self.classes:
            return ""
        self.chance_told = True
        return f"  (chance {percent(1 / self.classes)})"


def header(record: Record) -> list[str]:
    """The first lines of a run: what it is, where it computes, on what, with what."""
    variant = record.get("variant")
    lines = [f"sslkit {_version()} · {record['name']}" + (f", variant {variant}" if variant else "")]
    lines += [f"  {label:<9} {text}" for label, text in _facts(record)]
    return lines + [f"  note      {note}" for note in record.get("notes", ())]


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    processes = record.get("world_size", 1)
    several = f", {processes} processes" if processes > 1 else ""
    threads = counted(record["threads"], "thread")
    yield "device", f"{record['device']}, {threads}, {record['precision']}{several}"
    classes = record.get("classes")
    labels = "no labels" if classes is None else counted(classes, "class", "classes")
    images = f"{record['train_images']:,} to train on, {record['test_images']:,} held out"
    yield "data", f"{record['data']}: {images}, {labels}"
    head = f" · head to {record['head']}" if record.get("head") else ""
    yield "model", f"{record['model']}, {_millions(record['parameters'])} parameters{head}"
    yield "run", str(record["run_dir"])
    if record.get("start_step"):
        yield "resumed", f"at step {record['start_step']:,} of {record['total_steps']:,}"


def results(record: Record, most: int = 4) -> list[str]:
    """The numbers of an evaluation in words, the first few of them."""
    accuracy = knn_accuracy(record)
    if accuracy is not None:
        instance = record["metrics"].get(knn_key(record["metrics"], "instance_top1_k"))
        return [percent(accuracy)] + ([] if instance is None else [f"the very object {percent(instance)}"])
    named = [f"{key} {number(value)}" for key, value in record["metrics"].items()]
    return named[:most] + (["..."] if len(named) > most else [])


def knn_accuracy(record: Record) -> float | None:
    """The top-1 accuracy that a kNN record is told by: of k = 20, as the paper does, or its first."""
    if record["evaluator"] != "knn":
        return None
    value = record["metrics"].get(knn_key(record["metrics"], "top1_k"))
    return None if value is None else float(value)


def knn_key(metrics: Mapping[str, float], start: str) -> str | None:
    """The key for k = 20, or else the first that starts so."""
    keys = [key for key in metrics if key.startswith(start)]
    return f"{start}20" if f"{start}20" in keys else next(iter(keys), None)


def finished(record: Record, where: Where) -> list[str]:
    """The last lines of a run that reached its end."""
    lines = [f"  {label:<9} {text}" for label, text in _outcome(record, where)]
    run = where.run_dir
    then = where.closing.rstrip().splitlines()
    return [*lines, *then, f"Look closer: sslkit eval {run}      from Python: sslkit.load_backbone({run!r})"]


def _outcome(record: Record, where: Where) -> Iterator[tuple[str, str]]:
    took = f"{where.total_steps - where.start_step:,} steps in {clock(record['seconds'])}"
    if len(where.knn) > 1:
        chance = f" (chance {percent(1 / where.classes)})" if where.classes else ""
        took += f" · kNN {percent(where.knn[0])} → {percent(where.knn[-1])}{chance}"
    yield "result", took
    if record.get("report"):
        yield "report", record["report"]
    if record.get("figures"):
        yield "pictures", _paths(record["figures"])
    if record.get("backbone"):
        yield "backbone", f"{record['backbone']}   {record.get('timm') or ''}".rstrip()
    if record.get("skipped"):
        images = counted(record["skipped"], "image")
        yield "skipped", f"{images} could not be read: {where.run_dir}/skipped.jsonl"


def broken_off(record: Record, where: Where) -> list[str]:
    """The last lines of a run that was stopped or failed: where, why, and how to go on."""
    lines = [f"{record['status']} at step {where.step:,} of {where.total_steps:,}"]
    if record.get("error"):
        lines[0] += f": {str(record['error']).splitlines()[0]}"
    if record.get("skipped"):
        lines.append(f"  skipped   {counted(record['skipped'], 'image')}: {where.run_dir}/skipped.jsonl")
    if record.get("report"):
        lines.append(f"  report    {record['report']}")
    if record.get("resumable", True):
        lines.append(f"  to go on from the last checkpoint: sslkit run {where.run_dir} --resume")
    return lines


def _paths(paths: Sequence[str]) -> str:
    """The first whole, the others of the same folder by their name."""
    first = Path(paths[0])
    rest = [Path(p).name if Path(p).parent == first.parent else str(p) for p in paths[1:]]
    return ", ".join((str(first), *rest))


def display_name(evaluator: str) -> str:
    return "kNN" if evaluator == "knn" else evaluator


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage."""
    return "not finite" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def number(value: float | None, digits: int = 3) -> str:
    """So many digits, or as many as stand before the point; zeros at the end stay."""
    if value is None or not math.isfinite(value):
        return "not finite"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.0e}" if 0 < abs(value) < 1e-3 else f"{value:#.{digits}g}"


def clock(seconds: float) -> str:
    """Seconds as m:ss, h:mm:ss, or days and hours."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def printable(text: str, encoding: str) -> str:
    """The text as this output can show it."""
    if encoding.lower().startswith("utf"):
        return text
    plain = text.replace("·", "-").replace("→", "->").replace("±", "+-")
    return plain.encode(encoding, "replace").decode(encoding)


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _millions(count: int) -> str:
    digits = 1 if count >= 1e6 else 2
    return f"{count / 1e6:.{digits}f} M" if count >= 1e4 else f"{count:,}"


def _version() -> str:
    try:
        return version("sslkit")
    except PackageNotFoundError:
        return "from source"
