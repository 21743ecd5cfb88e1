"""Who hears of a run: `metrics.jsonl` always, TensorBoard and Weights & Biases where a recipe asks."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sslkit.core import extras
from sslkit.core.tracker import Record, Tracker
from sslkit.errors import RecipeError
from sslkit.hookspecs import hookimpl

KEPT = ("step", "eval", "health")
"""Kinds of record that `metrics.jsonl` keeps."""


# --- metrics.jsonl -----------------------------------------------------------------------------------------


class JsonLines(Tracker):
    """Appends step, eval and health records to a file, one JSON object a line; what is not finite is null."""

    def __init__(self, path: Path) -> None:
        self.path = path
        torn = _ends_within_a_line(path)
        self._file = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def log(self, record: Record) -> None:
        if record["kind"] in KEPT:
            self._file.write(json.dumps(_finite(record), ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def cut_after(path: Path, step: int) -> None:
    """Drop the records of later steps, and half-written lines, from a `metrics.jsonl`; all or nothing.

    At step 0 the run starts anew, evaluation included, so nothing is kept.
    """
    if not path.exists():
        return
    aside = path.with_name(f".{path.name}.tmp")
    with path.open(encoding="utf-8", errors="replace") as old, aside.open("w", encoding="utf-8") as new:
        new.writelines(line for line in old if _belongs(line, step))
    aside.replace(path)


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a `metrics.jsonl`, oldest first, without lines that a killed run left half-written."""
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from (record for record in map(_parsed, file) if record is not None)


def on_own_data(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Without what `sslkit eval` measured on other data: a run's first evaluation says which are its own."""
    own = None
    for record in records:
        if record["kind"] == "eval":
            own = own or record.get("dataset")
            if record.get("dataset") != own:
                continue
        yield record


def _belongs(line: str, step: int) -> bool:
    record = _parsed(line)
    return record is not None and step > 0 and record["step"] <= step


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    is_whole = line.endswith("\n") and isinstance(record, dict) and isinstance(record.get("step"), int)
    return record if is_whole else None


def _ends_within_a_line(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


# --- TensorBoard -------------------------------------------------------------------------------------------


@dataclass
class TensorBoardConfig:
    """Curves and pictures for TensorBoard, in `<run>/tensorboard`."""

    flush_seconds: int = 30
    """Longest time that a record waits before it is written, seconds, > 0."""


class TensorBoard(Tracker):
    """Event files that `tensorboard --logdir runs` shows; a resumed run goes on where its checkpoint was."""

    Config = TensorBoardConfig

    def __init__(self, config: TensorBoardConfig, run_dir: Path, name: str) -> None:
        _require("tensorboard")
        self.config = config
        self.folder = run_dir / "tensorboard"
        self.step = 0
        self._writer: Any = None
        self._pictures = Pictures()

    def log(self, record: Record) -> None:
        if record["kind"] == "start":
            self.step = record["start_step"]
            self._open()
        self.step = record.get("step", self.step)
        for tag, value in scalars(record).items():
            self._open().add_scalar(tag, value, self.step)
        if record["kind"] == "health":
            self._open().add_text("health", _health(record), self.step)
        for path in map(Path, record.get("figures", ())):
            self.figure(path.stem, path)

    def figure(self, name: str, path: Path) -> None:
        if self._pictures.is_new(path):
            self._open().add_image(name, _pixels(path), self.step, dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self.step + 1 if self.folder.exists() else None
            self._writer = SummaryWriter(self.folder, purge_step=purge, flush_secs=self.config.flush_seconds)
        return self._writer


class Pictures:
    """Which pictures were sent already. An evaluator draws to the same path again and again."""

    def __init__(self) -> None:
        self._drawn: dict[Path, int] = {}

    def is_new(self, path: Path) -> bool:
        """Whether it is not the picture that was asked about last under this path."""
        drawn = path.stat().st_mtime_ns
        known, self._drawn[path] = self._drawn.get(path), drawn
        return known != drawn


def scalars(record: Record) -> dict[str, float]:
    """What can be drawn of a step or eval record, by names such as `train/loss` and `knn/top1_k20`."""
    if record["kind"] not in ("step", "eval"):
        return {}
    is_step = record["kind"] == "step"
    group, values = ("train", record) if is_step else (record["evaluator"], record["metrics"])
    return {f"{group}/{key}": float(value) for key, value in values.items() if _is_drawn(key, value)}


def _is_drawn(key: str, value: Any) -> bool:
    return key != "step" and isinstance(value, int | float) and math.isfinite(value)


def _health(record: Record) -> str:
    return ": ".join(str(record[key]) for key in ("verdict", "cause", "advice") if record.get(key))


def _pixels(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))  # [H, W, 3]


# --- Weights & Biases --------------------------------------------------------------------------------------


@dataclass
class WandbConfig:
    """Curves and pictures for Weights & Biases."""

    project: str = "sslkit"
    """Project that the run is filed under."""
    entity: str | None = None
    """User or team; null: the account's own."""
    mode: str = "online"
    """online, or offline: kept in `<run>/wandb` until `wandb sync` sends it."""
    group: str | None = None
    """Runs that belong together, such as the seeds of one arm."""
    tags: list[str] = field(default_factory=list)
    """Words to find the run by."""

    @classmethod
    def for_checks(cls) -> Self:
        """Without a server."""
        return cls(mode="offline")

    def __post_init__(self) -> None:
        if self.mode not in ("online", "offline"):
            raise RecipeError(f"'mode' of the tracker wandb is '{self.mode}', but must be online or offline")


class Wandb(Tracker):
    """A run of its own on Weights & Biases; resumed under the same id, which `<run>/wandb/run-id` keeps.

    Steps that a resume repeats are dropped by W&B, which takes only growing steps; they are the same anyway.
    """

    Config = WandbConfig

    def __init__(self, config: WandbConfig, run_dir: Path, name: str) -> None:
        self._wandb = _require("wandb")
        self.step = 0
        self._pictures = Pictures()
        self.run = self._wandb.init(
            project=config.project,
            entity=config.entity,
            mode=config.mode,
            group=config.group,
            tags=config.tags or None,
            name=name,
            id=_run_id(run_dir / "wandb" / "run-id"),
            resume="allow" if config.mode == "online" else None,
            dir=run_dir,
            config=_recipe(run_dir),
            settings=self._wandb.Settings(console="off", x_disable_stats=True),
        )

    def log(self, record: Record) -> None:
        self.step = record.get("step", record.get("start_step", self.step))
        values = scalars(record)
        if values:
            self.run.log(values, step=self.step)
        if record["kind"] == "health":
            self.run.summary["health"] = _health(record)
        for path in map(Path, record.get("figures", ())):
            self.figure(path.stem, path)

    def figure(self, name: str, path: Path) -> None:
        if self._pictures.is_new(path):
            self.run.log({name: self._wandb.Image(str(path))}, step=self.step)

    def close(self) -> None:
        self.run.finish()


def _run_id(path: Path) -> str:
    if not path.exists():
        from secrets import token_hex

        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token_hex(4))
    return path.read_text()


def _recipe(run_dir: Path) -> dict[str, Any]:
    import yaml

    path = run_dir / "recipe.yaml"
    return dict(yaml.safe_load(path.read_text("utf-8"))) if path.exists() else {}


def _require(package: str) -> Any:
    """The package behind a tracker, or what to install."""
    advice = f"pip install 'sslkit[{package}]', or take it out of 'trackers'"
    return extras.required(package, f"the tracker '{package}'", advice, RecipeError)


@hookimpl
def sslkit_trackers() -> dict[str, type[Tracker]]:
    return {"tensorboard": TensorBoard, "wandb": Wandb}
