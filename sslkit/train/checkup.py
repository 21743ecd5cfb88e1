"""The doctor's rounds during a run: what was said last, what is kept for a new start, and its command."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from sslkit.core.diagnosis import COLLAPSES
from sslkit.errors import RunError
from sslkit.train import checkpoint
from sslkit.train.health import Doctor, Verdict
from sslkit.train.rundir import RunDirectory


@dataclass
class Checkup:
    """Feeds the doctor and writes down what it says."""

    doctor: Doctor
    directory: RunDirectory

    def see(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take in a step record; a health record for metrics.jsonl where the verdict has changed."""
        before = self.doctor.verdict
        self.doctor.see(record)
        verdict = self.doctor.verdict
        changed = (verdict.verdict, verdict.advice) != (before.verdict, before.advice)
        return self._record(verdict, record["step"]) if changed else None

    def after_evaluation(self, step: int) -> dict[str, Any]:
        """The health record that each evaluation ends with, whatever was said before."""
        return {**self._record(self.doctor.verdict, step), "evaluated": True}

    def spared(self) -> tuple[int, ...]:
        """The step of the last healthy checkpoint, which is kept for a new run to start from."""
        healthy = self._last_healthy()
        return () if healthy is None else (checkpoint.step_of(healthy),)

    def _last_healthy(self) -> Path | None:
        return checkpoint.newest_until(self.directory.checkpoints, self.doctor.last_healthy)

    def _record(self, verdict: Verdict, step: int) -> dict[str, Any]:
        record = {"kind": "health", "step": step, **asdict(verdict)}
        return {**record, "command": self._new_run(verdict)} if verdict.overrides else record

    def _new_run(self, verdict: Verdict) -> str:
        """The command of a new run with the advised change, from the last healthy checkpoint if any."""
        words = ["sslkit", "run", str(self.directory.path)]
        healthy = self._last_healthy()
        if healthy is not None:
            words += ["--from", str(healthy)]
        return " ".join((*map(quote, words), verdict.overrides))


def was_at_evaluation(record: Mapping[str, Any]) -> bool:
    """Whether a health record of metrics.jsonl ended an evaluation."""
    return record["kind"] == "health" and bool(record.get("evaluated"))


def stop_if_collapsed(record: Mapping[str, Any]) -> None:
    """Raise `RunError` for a health record of a collapse, with what to change and how."""
    if record["verdict"] in COLLAPSES:
        command = f"\n  a new run with it: {record['command']}" if "command" in record else ""
        raise RunError(
            f"{record['verdict']}: {record['cause']}\n  what to change: {record['advice']}{command}"
        )
