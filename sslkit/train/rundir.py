"""The run directory: where it is, and what its `run.json` says."""

import json
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sslkit.errors import RunError

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "kornia",
    "pluggy",
    "omegaconf",
    "numpy",
    "pillow",
)


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside one run's folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def record(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def skipped(self) -> Path:
        return self.path / "skipped.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def holds_a_run(self) -> bool:
        return self.recipe.is_file()

    def list_skipped(self, key: str, reason: str) -> None:
        """Add a file that could not be read to `skipped.jsonl`: once, also over resumes."""
        if key not in self.skipped_keys():
            with self.skipped.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "reason": reason}, ensure_ascii=False) + "\n")

    def skipped_keys(self) -> set[str]:
        """The files that are listed in `skipped.jsonl`."""
        if not self.skipped.is_file():
            return set()
        keys = set()
        for line in self.skipped.read_text("utf-8").splitlines():
            with suppress(ValueError):  # a line that a killed run left half written
                keys.add(json.loads(line)["key"])
        return keys

    def read_record(self) -> dict[str, Any]:
        """What `run.json` says; empty where there is none or it cannot be read."""
        try:
            return dict(json.loads(self.record.read_text()))
        except (OSError, ValueError):
            return {}

    def update_record(self, **changes: Any) -> None:
        """Change some of `run.json`, written aside and renamed."""
        write_aside(self.record, json.dumps({**self.read_record(), **changes}, indent=1, default=str) + "\n")


def write_aside(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def choose_directory(name: str, out: str | Path | None, *, resume: bool) -> RunDirectory:
    """`out`, or the next free `runs/<name>`.

    Raises `RunError` where a run would be overwritten, or where there is none to resume.
    """
    if resume:
        return _existing(Path(out) if out is not None else _newest(name))
    if out is None:
        return RunDirectory(next_free(Path("runs") / name))
    directory = RunDirectory(Path(out))
    if directory.path.exists() and (not directory.path.is_dir() or any(directory.path.iterdir())):
        raise RunError(_taken(directory))
    return directory


def claim(directory: RunDirectory, *, free_name: bool) -> RunDirectory:
    """Create the directory of a new run; of two that start at once, each gets its own.

    `free_name`: take the next free name where somebody was quicker; else that is a `RunError`.
    """
    path = directory.path
    while True:
        try:
            path.mkdir(parents=True)
            return RunDirectory(path)
        except FileExistsError:
            if not free_name:
                return choose_directory("", path, resume=False)
            path = next_free(directory.path)
        except OSError as error:
            raise RunError(f"cannot create {path}: {error.strerror}\n  choose another --out") from error


def _taken(directory: RunDirectory) -> str:
    record = directory.read_record()
    if not directory.holds_a_run:
        what = "holds other files already" if directory.path.is_dir() else "is a file"
        return f"{directory.path} {what}\n  choose a different --out"
    steps = f", {record['step']:,} steps" if record.get("step") else ""
    return (
        f"{directory.path} holds a run already ({record.get('status', 'status unknown')}{steps})\n"
        "  to continue or extend it: add --resume      to start another: choose a different --out"
    )


def _existing(path: Path) -> RunDirectory:
    directory = RunDirectory(path)
    if not directory.holds_a_run:
        raise RunError(
            f"there is no run to resume in {path} (no recipe.yaml)\n  name its directory with --out DIR"
        )
    return directory


def next_free(path: Path) -> Path:
    """The path itself, or the first of path-2, path-3, ... that does not exist."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _newest(name: str) -> Path:
    ours = re.compile(rf"{re.escape(name)}(-\d+)?")
    found = [p for p in Path("runs").glob("*") if ours.fullmatch(p.name) and RunDirectory(p).holds_a_run]
    return max(found, key=lambda p: RunDirectory(p).record.stat().st_mtime, default=Path("runs") / name)


@dataclass(frozen=True)
class Origin:
    """What a run was started with; a part of `run.json`."""

    seed: int
    device: str
    precision: str
    threads: int
    world_size: int
    variant: str | None
    plugins: list[Mapping[str, Any]]
    command: str = field(default_factory=lambda: " ".join(sys.argv))
    sslkit: str = field(default_factory=lambda: _version("sslkit"))
    python: str = field(default_factory=platform.python_version)
    platform: str = field(default_factory=platform.platform)
    packages: Mapping[str, str] = field(default_factory=lambda: {name: _version(name) for name in PACKAGES})
    git_commit: str | None = field(default_factory=lambda: _git_commit())

    def as_record(self) -> dict[str, Any]:
        """With the start's time, as `run.json` keeps it."""
        return {"status": "running", "started": now(), "ended": None, "error": None, **asdict(self)}


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _git_commit() -> str | None:
    """The commit of the current folder's repository, if it is in one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
