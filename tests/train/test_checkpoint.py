"""Checkpoints are whole or absent, checked when read, and bring back all that matters."""

import json
from pathlib import Path

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from sslkit.errors import RunError
from sslkit.train.checkpoint import (
    TrainState,
    checkpoints,
    damage,
    load,
    newest_sound,
    save,
    set_aside_damaged,
)


def make_state(seed: int) -> TrainState:
    torch.manual_seed(seed)
    method = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.1, fused=True)
    return TrainState(method, optimizer, torch.amp.GradScaler("cpu", enabled=False))


def step(state: TrainState, *, frozen: bool = False) -> float:
    x = torch.arange(12.0).view(4, 3) / 12
    loss = state.method(x).square().sum()
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if frozen:
        state.method[2].weight.grad = None  # type: ignore[index]
    state.optimizer.step()
    state.step += 1
    value: float = loss.item()
    return value


def test_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    state = make_state(0)
    for _ in range(3):
        step(state)
    save(state, tmp_path, keep=1)
    wanted = [step(state) for _ in range(3)]
    again = make_state(1)
    load(again, tmp_path / "step-00000003")
    assert again.step == 3
    assert [step(again) for _ in range(3)] == wanted


def test_a_parameter_that_never_had_a_gradient_has_no_state_after_loading(tmp_path: Path) -> None:
    state = make_state(0)
    step(state, frozen=True)
    save(state, tmp_path, keep=1)
    wanted = [step(state) for _ in range(3)]
    again = make_state(1)
    load(again, tmp_path / "step-00000001")
    frozen = again.method[2].weight  # type: ignore[index]
    assert frozen not in again.optimizer.state
    assert [step(again) for _ in range(3)] == wanted


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb", "adafactor", "madgrad", "novograd", "lion"])
def test_any_optimiser_goes_on_exactly(tmp_path: Path, name: str) -> None:
    states = [make_state(0), make_state(1)]
    for state in states:
        state.optimizer = create_optimizer_v2(list(state.method.parameters()), opt=name, lr=0.01)
    for _ in range(3):
        step(states[0])
    save(states[0], tmp_path, keep=1)
    load(states[1], tmp_path / "step-00000003")
    assert [step(states[1]) for _ in range(3)] == [step(states[0]) for _ in range(3)]


def test_what_stands_after_the_step_gone_on_from_is_set_aside(tmp_path: Path) -> None:
    state = make_state(0)
    for _ in range(3):
        step(state)
        save(state, tmp_path, keep=3)
    set_aside_damaged(tmp_path, after=1)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000001"]


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    state = make_state(0)
    for _ in range(4):
        step(state)
        save(state, tmp_path, keep=2)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000003", "step-00000004"]


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path: Path) -> None:
    state = make_state(0)
    for _ in range(2):
        step(state)
        save(state, tmp_path, keep=2)
    model = tmp_path / "step-00000002" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    path, notes = newest_sound(tmp_path)
    assert path == tmp_path / "step-00000001"
    assert len(notes) == 1
    assert "step-00000002" in notes[0]
    assert "checksum" in notes[0]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_missing_file_is_damage(tmp_path: Path, name: str) -> None:
    path = save(make_state(0), tmp_path, keep=1)
    assert damage(path) is None
    (path / name).unlink()
    assert name in (damage(path) or "")


def test_an_interrupted_write_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".step-00000005.tmp").mkdir()
    assert checkpoints(tmp_path) == []
    assert newest_sound(tmp_path) == (None, [])


def test_weights_of_another_method_are_refused_whole(tmp_path: Path) -> None:
    path = save(make_state(0), tmp_path, keep=1)
    other = make_state(0)
    other.method = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = {k: v.clone() for k, v in other.method.state_dict().items()}
    with pytest.raises(RunError, match="does not fit this method"):
        load(other, path)
    assert all(torch.equal(v, before[k]) for k, v in other.method.state_dict().items())


def test_tied_weights_are_written_and_read(tmp_path: Path) -> None:
    state = make_state(0)
    state.method[0].weight = nn.Parameter(torch.ones(3, 3))  # type: ignore[index]
    tied = nn.ModuleDict({"a": state.method, "b": state.method})
    path = save(TrainState(tied, state.optimizer, state.scaler), tmp_path, keep=1)
    assert damage(path) is None


def test_state_json_is_plain(tmp_path: Path) -> None:
    saved = json.loads((save(make_state(0), tmp_path, keep=1) / "state.json").read_text())
    assert set(saved["sha256"]) == {"model.safetensors", "optimizer.safetensors"}
