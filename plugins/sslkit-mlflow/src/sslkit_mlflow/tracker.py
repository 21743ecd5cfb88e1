"""The tracker `mlflow`: a run of sslkit is a run on an MLflow server."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Self

import yaml

from sslkit import Tracker, __version__
from sslkit.core.tracker import Record
from sslkit.train.trackers import read_records
from sslkit_mlflow.sending import Sender
from sslkit_mlflow.server import Experiment, Point, ServerRun
from sslkit_mlflow.values import measured, parameters, verdict

ENDS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
"""MLflow's word for how a run ended."""


@dataclass
class MLflowConfig:
    """Parameters, curves and pictures for MLflow."""

    tracking_uri: str | None = None
    """Server, such as http://127.0.0.1:5000; null: what MLFLOW_TRACKING_URI says, or without it MLflow's
    default, a database `mlflow.db` in the current folder (needs `pip install 'sslkit-mlflow[server]'`)."""
    experiment: str = "sslkit"
    """Experiment that the run is filed under; made if the server has none of that name."""
    run_name: str | None = None
    """Name of the run; null: the recipe's."""
    tags: dict[str, str] = field(default_factory=dict)
    """Words to find the run by, such as {team: vision}."""
    log_figures: bool = True
    """Store the pictures of the run as artifacts, under `figures`."""
    log_artifacts: bool = False
    """At the end, store `backbone.safetensors`, `report.html` and `recipe.yaml` as artifacts."""
    flush_seconds: float = 5.0
    """Longest time that a number waits before it is sent, seconds, >= 0; 0: each step is a request."""

    def __post_init__(self) -> None:
        if not self.experiment.strip():
            raise ValueError("'experiment' is empty, but must be a name")
        if self.flush_seconds < 0:
            raise ValueError(f"'flush_seconds' is {self.flush_seconds}, but must be >= 0")

    @classmethod
    def for_checks(cls) -> Self:
        """What `sslkit check mlflow` logs is filed apart from runs."""
        return cls(experiment="sslkit-checks")


class MLflow(Tracker):
    """An MLflow run of its own; a resume goes on with it, by the id that `<run>/mlflow/run-id` keeps.

    A resume sends what `metrics.jsonl` has and the server lacks, and repeats nothing that the server has.
    All is sent in the background; a server that stays away ends the tracker, not the run.

    Raises:
        RecipeError: the server does not answer when the run starts.
    """

    Config = MLflowConfig

    def __init__(self, config: MLflowConfig, run_dir: Path, name: str) -> None:
        self.config, self.run_dir, self.name = config, run_dir, config.run_name or name
        self.experiment = Experiment(config.tracking_uri, config.experiment)
        self._sender = Sender()
        self._run: ServerRun | None = None
        self._points: list[Point] = []
        self._flushed = monotonic()
        self._figures: dict[Path, int] = {}
        self._status = "KILLED"

    def log(self, record: Record) -> None:
        self._sender.check()
        run = self._run or self._begin(record)
        self._take(run, record)
        if record["kind"] == "end":
            self._end(run, record)
        if record["kind"] != "step" or monotonic() - self._flushed >= self.config.flush_seconds:
            self._flush(run)

    def figure(self, name: str, path: Path) -> None:
        run = self._run or self._begin({})
        changed = path.stat().st_mtime_ns
        if self.config.log_figures and self._figures.get(path) != changed:
            self._figures[path] = changed
            self._sender.send(run.keep, path, self._folder(path))

    def close(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            self._flush(run)
            self._sender.send(run.end, self._status)
        self._sender.close()

    # --- the records ---------------------------------------------------------------------------------------

    def _begin(self, record: Record) -> ServerRun:
        """Go on with the run that is known, or make one; `record` is the run's first."""
        run, file = None, self.run_dir / "mlflow" / "run-id"
        if file.exists():
            run = self.experiment.run(file.read_text())
            if run is None:
                told = f"the MLflow run {file.read_text()} is not on {self.experiment.address} any more"
                warnings.warn(f"{told}: a new one gets the whole run", stacklevel=2)
        if run is None:
            run = self.experiment.new_run(self.name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(run.id)
        self._run = run
        self._sender.send(run.describe, self._parameters(), self._tags(record))
        if (known := self.run_dir / "metrics.jsonl").exists():
            for kept in read_records(known):
                self._take(run, kept)
        return run

    def _take(self, run: ServerRun, record: Record) -> None:
        for name, value in measured(record).items():
            if run.lacks(name, record["step"]):
                self._points.append((name, value, record["step"]))
        if record.get("kind") == "health":
            self._sender.send(run.describe, {}, {"sslkit.health": verdict(record)})
        for path in map(Path, record.get("figures", ())):
            self.figure(path.stem, path)

    def _end(self, run: ServerRun, record: Record) -> None:
        self._status = ENDS[record["status"]]
        if record.get("error"):
            self._sender.send(run.describe, {}, {"sslkit.error": str(record["error"])})
        if self.config.log_artifacts:
            kept = (record.get("backbone"), record.get("report"), self.run_dir / "recipe.yaml")
            for path in map(Path, filter(None, kept)):
                self._sender.send(run.keep, path)

    def _flush(self, run: ServerRun) -> None:
        if self._points:
            self._sender.send(run.measure, self._points)
            self._points = []
        self._flushed = monotonic()

    # --- what the run is -----------------------------------------------------------------------------------

    def _parameters(self) -> dict[str, str]:
        path = self.run_dir / "recipe.yaml"
        return parameters(yaml.safe_load(path.read_text("utf-8"))) if path.exists() else {}

    def _tags(self, record: Record) -> dict[str, str]:
        known = {"version": __version__, "run_dir": self.run_dir.resolve()}
        known |= {key: record.get(key) for key in ("variant", "device", "world_size", "data")}
        tags = {f"sslkit.{key}": str(value) for key, value in known.items() if value is not None}
        return tags | self.config.tags

    def _folder(self, path: Path) -> str:
        """`figures`, and below it as in the run directory."""
        figures = self.run_dir / "figures"
        below = path.parent.relative_to(figures) if path.is_relative_to(figures) else Path()
        return (Path("figures") / below).as_posix()
