"""Where the time of a training step goes: profiles a few steps of a run, as a plugin that watches.

    sslkit run dino_pocket --plugin plugins/profile_steps.py

writes `<run>/profile/steps-11-13.md`, the parts of a step and its slowest operations, and the same steps as a
trace for https://ui.perfetto.dev. From the environment: SSLKIT_PROFILE_STEPS, how many steps (3), and
SSLKIT_PROFILE_AFTER, how many come before them (10; at least 1, in which the profiler warms up).
"""

import os
from collections.abc import Iterable
from contextvars import ContextVar
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, schedule

from sslkit import Progress, StepOutput, hookimpl

SSLKIT_API = "1"
PARTS = {"data": "enumerate(DataLoader)", "backward": "autograd::engine", "optimiser": "Optimizer.step"}
"""How torch's names for parts of a step begin; there is none for the making of views and the forward pass."""


class StepProfile:
    """The profile of one run, from before its first step to its end."""

    def __init__(self, run_dir: Path, max_steps: int | None) -> None:
        self.folder, self.max_steps = run_dir / "profile", max_steps
        self.asked, self.after = _setting("SSLKIT_PROFILE_STEPS", 3), _setting("SSLKIT_PROFILE_AFTER", 10)
        self.seconds: list[float] = []
        self.number, self.is_open, self.summary = 0, True, ""
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # else a machine without a GPU is told as an error
        activities = {ProfilerActivity.CPU, ProfilerActivity.CUDA} & torch.profiler.supported_activities()
        when = schedule(wait=self.after - 1, warmup=1, active=self.asked, repeat=1)
        self.profiler = profile(activities=activities, schedule=when, on_trace_ready=self._write)
        self.profiler.start()
        self.left = perf_counter()

    def step(self, progress: Progress) -> None:
        """A step is done; it has taken the time since this was left, with a pause that lay between."""
        if not self.is_open:
            return
        self.seconds.append(perf_counter() - self.left)
        self.number = progress.step + 1
        if self.number == min(progress.total_steps, self.max_steps or progress.total_steps):
            self.close()  # what comes after the last step is no step
        else:
            self.profiler.step()
        if self.summary:
            self.close()
        self.left = perf_counter()

    def close(self) -> None:
        """Stop, and write the steps that are being recorded."""
        if self.is_open:
            self.is_open = False
            self.profiler.stop()

    def _write(self, profiler: profile) -> None:
        steps = self.seconds[self.after :]
        if not steps:
            return
        events, file = profiler.events(), f"steps-{self.number - len(steps) + 1}-{self.number}"
        told = self._told(steps, events or ())
        on = "cpu" if all(map(_on_cpu, events or ())) else "device"
        table = profiler.key_averages().table(sort_by=f"self_{on}_time_total", row_limit=30)
        self.folder.mkdir(exist_ok=True)
        profiler.export_chrome_trace(str(self.folder / f"{file}.json.gz"))
        (self.folder / f"{file}.md").write_text(f"# {file}\n{told}\n\n```\n{table}```\n", encoding="utf-8")
        self.summary = f"{told} · {self.folder / file}.md"

    def _told(self, steps: list[float], events: Iterable[FunctionEvent]) -> str:
        count = f"{len(steps)}" + (f" of {self.asked}" if len(steps) < self.asked else "")
        before = self.seconds[1 : self.after]  # the first has the evaluation before it
        usual = f" ({1000 * median(before):.1f} ms before)" if before else ""
        shares = " · ".join(f"{part} {share:.0%}" for part, share in parts(events, sum(steps)).items())
        return f"{count} steps of {1000 * mean(steps):.1f} ms{usual}: {shares}"


def parts(events: Iterable[FunctionEvent], seconds: float) -> dict[str, float]:
    """Shares of the steps' seconds by what they went into; with a GPU, also of those in which it worked."""
    own = [event for event in events if event.cpu_parent is None or _is_step(event.cpu_parent)]
    end = min(event.time_range.start for event in own if _is_step(event)) + 1e6 * seconds
    own = [event for event in own if event.time_range.start < end]  # a run that breaks off records more
    kernels = [event for event in own if not _on_cpu(event) and not event.is_user_annotation]
    named = {
        part: _sum(event for event in own if _on_cpu(event) and event.name.startswith(name))
        for part, name in PARTS.items()
    }
    spent = {"views and forward": 1e6 * seconds - sum(named.values()), **named}
    spent |= {"GPU at work": _sum(kernels)} if kernels else {}
    return {part: microseconds / (1e6 * seconds) for part, microseconds in spent.items()}


def _is_step(event: FunctionEvent) -> bool:
    return event.name.startswith("ProfilerStep")


def _on_cpu(event: FunctionEvent) -> bool:
    return str(event.device_type.name) == "CPU"


def _sum(events: Iterable[FunctionEvent]) -> float:
    return float(sum(event.time_range.elapsed_us() for event in events))


def _setting(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"{name} is '{value}', but must be a number of steps, at least 1")
    return int(value)


_current: ContextVar[StepProfile] = ContextVar("profile_steps")
"""Of the run that this thread is in: one process may have several, one after another."""


@hookimpl
def sslkit_run_started(recipe: Any, run_dir: Path) -> None:
    """Make the profile of this run."""
    _current.set(StepProfile(run_dir, recipe.runtime.max_steps))


@hookimpl
def sslkit_step_finished(progress: Progress, output: StepOutput) -> None:
    """Count a step."""
    _current.get().step(progress)


@hookimpl
def sslkit_run_finished(run_dir: Path, error: BaseException | None) -> None:
    """Write what there is, and say so in a line."""
    profiled = _current.get()
    profiled.close()
    few = f"nothing, {len(profiled.seconds)} steps were too few: set SSLKIT_PROFILE_AFTER lower"
    print(f"  profile   {profiled.summary or few}")
