"""A tracker that conforms, and for each check one that does not."""

import json
from dataclasses import dataclass
from pathlib import Path

from sslkit.core.tracker import Record, Tracker
from sslkit.errors import RecipeError


@dataclass
class Nothing:
    """No settings."""


class Plain(Tracker):
    """A file of lines; the mistakes below inherit from it."""

    Config = Nothing

    def __init__(self, config: Nothing, run_dir: Path, name: str) -> None:
        self.run_dir = run_dir
        self.file = (run_dir / "lines.txt").open("a", encoding="utf-8")

    def log(self, record: Record) -> None:
        self.file.write(f"{record}\n")

    def close(self) -> None:
        self.file.close()


class IsNotInstalled(Plain):
    def __init__(self, config: Nothing, run_dir: Path, name: str) -> None:
        raise RecipeError("the tracker 'cloud' needs the package cloud\n  pip install cloud")


class WantsMore(Plain):
    def __init__(self, config: Nothing, run_dir: Path, name: str, project: str) -> None:
        super().__init__(config, run_dir, name)


class KnowsStepsAlone(Plain):
    def log(self, record: Record) -> None:
        self.file.write(f"{record['step']} {record['loss']}\n")


class ChangesRecords(Plain):
    def log(self, record: Record) -> None:
        record.pop("lr", None)  # type: ignore[attr-defined]
        super().log(record)


class WritesStrictJSON(Plain):
    def log(self, record: Record) -> None:
        self.file.write(json.dumps(record, allow_nan=False) + "\n")


class KnowsEveryKind(Plain):
    def log(self, record: Record) -> None:
        width = {"start": 1, "step": 2, "eval": 3, "health": 4, "note": 5, "end": 6}[record["kind"]]
        self.file.write(f"{width}\n")


class MovesFigures(Plain):
    def figure(self, name: str, path: Path) -> None:
        path.rename(self.run_dir / f"{name}.png")


class ClosesOnce(Plain):
    def close(self) -> None:
        self.file.write("the end\n")
        super().close()


class StartsOnce(Plain):
    def __init__(self, config: Nothing, run_dir: Path, name: str) -> None:
        (run_dir / "own").mkdir()
        super().__init__(config, run_dir, name)


class TakesTheRunsFile(Plain):
    def __init__(self, config: Nothing, run_dir: Path, name: str) -> None:
        self.file = (run_dir / "metrics.jsonl").open("a", encoding="utf-8")
