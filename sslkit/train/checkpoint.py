"""Checkpoints: written aside, then renamed; checked when read; nothing is pickled."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

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
    counters: dict[str, int] = field(default_factory=dict)
    """What is counted over the run, such as images seen and images skipped."""


def save(state: TrainState, folder: Path, *, keep: int) -> Path:
    """Write `folder/step-XXXXXXXX` and remove all but the `keep` newest; gives back its path."""
    target = folder / f"step-{state.step:08d}"
    aside = folder / f".{target.name}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_file(_own_memory(state.method.state_dict()), aside / FILES[0])
    save_file(_own_memory(_optimizer_tensors(state)), aside / FILES[1])
    (aside / "state.json").write_text(json.dumps(_state_json(state, aside), indent=1))
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


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
    _load_optimizer(state, load_file(path / FILES[1]))
    saved = json.loads((path / "state.json").read_text())
    if saved["scaler"]:
        state.scaler.load_state_dict(saved["scaler"])
    state.step = saved["step"]
    state.counters.update(saved["counters"])


def load_method(method: nn.Module, path: Path) -> None:
    """The method's weights and buffers alone; every tensor must match."""
    saved, own = load_file(path / FILES[0]), method.state_dict()
    wrong = sorted(saved.keys() ^ own.keys())
    wrong += [k for k in saved.keys() & own.keys() if saved[k].shape != own[k].shape]
    if wrong:
        raise RunError(
            f"{path} does not fit this method: {len(wrong)} of {len(own)} tensors are missing, too many or of"
            f" another shape, such as {', '.join(wrong[:3])}\n  resume with the recipe in the run directory"
        )
    method.load_state_dict(saved)


def _state_json(state: TrainState, folder: Path) -> dict[str, Any]:
    return {
        "step": state.step,
        "counters": state.counters,
        "scaler": state.scaler.state_dict(),
        "sha256": {name: _sha256(folder / name) for name in FILES},
    }


def _optimizer_tensors(state: TrainState) -> dict[str, Tensor]:
    """The moments and counts by parameter name; lr and the like are functions of the step."""
    if not state.optimizer.state:  # torch would make one up, with steps counted
        return {}
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    flat: dict[str, Any] = dict(get_optimizer_state_dict(state.method, state.optimizer, options=options))
    return {k: v for k, v in flat.items() if isinstance(v, Tensor) and k.startswith("state.")}


def _load_optimizer(state: TrainState, tensors: Mapping[str, Tensor]) -> None:
    """Not torch's own counterpart: that one fills in states for parameters that never had a gradient."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, entry = key.removeprefix("state.").rsplit(".", 1)
        by_name.setdefault(name, {})[entry] = tensor
    names = {parameter: name for name, parameter in state.method.named_parameters()}
    ordered = [names[p] for group in state.optimizer.param_groups for p in group["params"]]
    target = state.optimizer.state_dict()
    target["state"] = {i: by_name[name] for i, name in enumerate(ordered) if name in by_name}
    state.optimizer.load_state_dict(target)


def _own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own, as safetensors wants them (tied weights are written twice)."""
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
