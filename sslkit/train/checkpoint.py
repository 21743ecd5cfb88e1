"""Checkpoints: written aside, then renamed; checked when read; nothing is pickled."""

import hashlib
import json
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sslkit.errors import RunError

FILES = ("model.safetensors", "optimizer.safetensors")


@dataclass
class TrainState:
    """All of a run that changes from step to step."""

    method: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    """Steps done."""


def save(
    state: TrainState,
    folder: Path,
    *,
    keep: int,
    spare: Collection[int] = (),
    doctor: Mapping[str, Any] | None = None,
) -> Path:
    """Write `folder/step-XXXXXXXX`; remove all but the `keep` newest and those of the steps in `spare`.

    `doctor`: what the doctor remembers, JSON-able.
    """
    target = folder / f"step-{state.step:08d}"
    aside = folder / f".{target.name}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(_own_memory(state.method.state_dict()), aside / FILES[0])
    save_file(_own_memory(_optimizer_tensors(state)), aside / FILES[1])
    (aside / "state.json").write_text(json.dumps({**_state_json(state, aside), "doctor": doctor}))
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)
    for old in checkpoints(folder)[:-keep]:
        if step_of(old) not in spare:
            shutil.rmtree(old)
    return target


def step_of(path: Path) -> int:
    """The step that a checkpoint's name says."""
    return int(path.name.removeprefix("step-"))


def newest_until(folder: Path, step: int) -> Path | None:
    """The newest checkpoint of that step or an earlier one."""
    return next((path for path in reversed(checkpoints(folder)) if step_of(path) <= step), None)


def check_sound(path: Path) -> None:
    """Raise `RunError` for what is no checkpoint, or a damaged one."""
    problem = damage(path)
    if problem is not None:
        raise RunError(
            f"{path} is no sound checkpoint: {problem}\n  name one such as RUN/checkpoints/step-00000500"
        )


def copy_into(source: Path, folder: Path) -> Path:
    """A sound checkpoint of another run as the first one of this run."""
    target = folder / source.name
    aside = folder / f".{source.name}.tmp"
    shutil.copytree(source, aside)
    return aside.rename(target)


def doctor_of(path: Path) -> dict[str, Any] | None:
    """What the doctor remembered at a checkpoint; None for one that keeps nothing of it."""
    kept = json.loads((path / "state.json").read_text()).get("doctor")
    return None if kept is None else dict(kept)


def checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def newest_sound(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose checksums hold, and a sentence for each newer one that was passed over."""
    notes: list[str] = []
    for path in reversed(checkpoints(folder)):
        problem = damage(path)
        if problem is None:
            return path, notes
        notes.append(f"checkpoint {path.name} is damaged ({problem}): going back to the one before")
    return None, notes


def set_aside_damaged(folder: Path, *, after: int) -> None:
    """Rename what stands after the step that a run goes on from, so that it does not count as kept."""
    for path in checkpoints(folder):
        if step_of(path) > after:
            path.rename(folder / f".damaged-{path.name}-{time.time_ns()}")


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        expected = json.loads((path / "state.json").read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        return "state.json is missing or unreadable"
    for name in FILES:
        if not (path / name).is_file():
            return f"{name} is missing"
        if expected.get(name) != _sha256(path / name):
            return f"{name} has another checksum than state.json says"
    return None


def load(state: TrainState, path: Path) -> None:
    """Bring a freshly built state to where the checkpoint left it; every tensor must match."""
    load_method(state.method, path)
    saved = json.loads((path / "state.json").read_text())
    _load_optimizer(state, {**load_file(path / FILES[1]), **saved["optimizer"]})
    if saved["scaler"]:
        state.scaler.load_state_dict(saved["scaler"])
    state.step = saved["step"]


def load_method(method: nn.Module, path: Path) -> None:
    """The method's weights and buffers alone; every tensor must match."""
    saved, own = load_file(path / FILES[0]), method.state_dict()
    if wrong := mismatches(saved, own):
        raise RunError(
            f"{path} does not fit this method: {len(wrong)} of {len(own)} tensors are missing, too many or of"
            f" another shape, such as {', '.join(wrong[:3])}\n  resume with the recipe in the run directory;"
            " a run that starts from a checkpoint has its method and network"
        )
    method.load_state_dict(saved)


def mismatches(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Names that only one side has, or that have another shape."""
    shapes = [k for k in saved.keys() & own.keys() if saved[k].shape != own[k].shape]
    return sorted([*(saved.keys() ^ own.keys()), *shapes])


def _state_json(state: TrainState, folder: Path) -> dict[str, Any]:
    return {
        "step": state.step,
        "optimizer": _optimizer_numbers(state),
        "scaler": state.scaler.state_dict(),
        "sha256": {name: _sha256(folder / name) for name in FILES},
    }


SCHEDULED = ("lr", "weight_decay")
"""Numbers of the optimiser's groups that are functions of the step."""
NUMBERS = (int, float, NoneType)


def _entries(state: TrainState) -> dict[str, Any]:
    """All that the optimiser remembers: "state.PARAMETER.ENTRY" and "group.NUMBER.ENTRY".

    Not torch's get_optimizer_state_dict and its counterpart, though the first kind of name is theirs: they
    take a made-up step to create states, also for parameters that never had a gradient.
    """
    names: dict[Any, str] = {parameter: name for name, parameter in state.method.named_parameters()}
    of_parameters = {
        f"state.{names[parameter]}.{entry}": value
        for parameter, entries in state.optimizer.state.items()
        for entry, value in entries.items()
    }
    of_groups = {
        f"group.{number}.{entry}": value
        for number, group in enumerate(state.optimizer.param_groups)
        for entry, value in group.items()
        if isinstance(value, (Tensor, *NUMBERS)) and entry not in SCHEDULED
    }
    return {**of_parameters, **of_groups}


def _optimizer_tensors(state: TrainState) -> dict[str, Tensor]:
    return {key: value for key, value in _entries(state).items() if isinstance(value, Tensor)}


def _optimizer_numbers(state: TrainState) -> dict[str, Any]:
    """What optimisers keep beside tensors, such as counts."""
    others = {key: value for key, value in _entries(state).items() if not isinstance(value, Tensor)}
    if any(not isinstance(value, NUMBERS) for value in others.values()):
        name = type(state.optimizer).__name__
        raise RunError(f"{name} keeps a state that cannot be saved\n  take another, such as optim.name=adamw")
    return others


def _load_optimizer(state: TrainState, entries: Mapping[str, Any]) -> None:
    target = state.optimizer.state_dict()
    by_name: dict[str, dict[str, Any]] = {}
    for key, value in entries.items():
        kind, rest = key.split(".", 1)
        owner, entry = rest.rsplit(".", 1)
        if kind == "group":
            target["param_groups"][int(owner)][entry] = value
        else:
            by_name.setdefault(owner, {})[entry] = value
    names = {parameter: name for name, parameter in state.method.named_parameters()}
    ordered = [names[p] for group in state.optimizer.param_groups for p in group["params"]]
    target["state"] = {i: by_name[name] for i, name in enumerate(ordered) if name in by_name}
    state.optimizer.load_state_dict(target)


def _own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own, as safetensors wants them (tied weights are written twice)."""
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
