"""The queue's content after each step against a plain list, and against lightly's memory bank."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import make
from tolerances import assert_close
from torch import Tensor

from sslkit.nn.queue import KeyQueue

LIGHTLY: dict[str, Any] = json.loads(Path(make.OUT).read_text(encoding="utf-8"))["nt_xent_with_bank"]


def normalised(rows: Tensor) -> list[list[float]]:
    return [[v / sum(w * w for w in row) ** 0.5 for v in row] for row in rows.double().tolist()]


def oldest_first(queue: KeyQueue) -> Tensor:
    at = int(queue.position)
    return torch.cat([queue.keys[at:], queue.keys[:at]])


@pytest.mark.parametrize("count", [1, 2, 3, 6, 12])
def test_it_holds_the_last_keys(count: int) -> None:
    queue = KeyQueue(12, 4).double()
    wanted = queue.keys.tolist()
    for step in range(12 // count * 2 + 1):
        keys = torch.randn(count, 4, dtype=torch.float64) * (step + 1)
        queue.enqueue(keys)
        wanted = [*wanted[count:], *normalised(keys)]
        assert_close(oldest_first(queue), np.asarray(wanted))


@pytest.mark.parametrize("case", LIGHTLY)
def test_its_content_is_lightlys(case: str) -> None:
    batch, size, _ = case.split()
    queue = KeyQueue(int(size), make.DIM).double()
    queue.keys.copy_(torch.tensor(make.bank_start(int(size))))
    for step, wanted in enumerate(LIGHTLY[case]):
        queue.enqueue(torch.tensor(make.pair_inputs(int(batch), step)[1]))
        for name, value in make.summary(queue.keys).items():
            assert_close(torch.tensor(value, dtype=torch.float64), np.asarray(wanted["bank_after"][name]))


def test_it_starts_with_random_directions() -> None:
    queue = KeyQueue(500, 8)
    assert queue.keys.shape == (500, 8)
    assert int(queue.position) == 0
    assert_close(queue.keys.norm(dim=1), np.ones(500))
    assert queue.keys.mean(0).abs().max() < 0.1
    assert (queue.keys @ queue.keys.T).fill_diagonal_(0).abs().max() < 1 - 1e-3


def test_a_checkpoint_holds_it() -> None:
    queue, keys = KeyQueue(6, 4), torch.randn(3, 2, 4)
    queue.enqueue(keys[0])
    state = {k: v.clone() for k, v in queue.state_dict().items()}
    assert set(state) == {"keys", "position"}
    again = KeyQueue(6, 4)
    again.load_state_dict(state)
    for rows in keys[1:]:
        queue.enqueue(rows)
        again.enqueue(rows)
    assert torch.equal(again.keys, queue.keys)
    assert torch.equal(again.position, queue.position)
    assert not list(queue.parameters())


def test_keys_of_another_type_come_without_gradient() -> None:
    queue = KeyQueue(4, 3)
    queue.enqueue(torch.randn(2, 3, dtype=torch.bfloat16, requires_grad=True))
    assert queue.keys.dtype == torch.float32
    assert not queue.keys.requires_grad
    assert_close(queue.keys[:2].norm(dim=1), np.ones(2))


@pytest.mark.parametrize("count", [5, 8, 24])
def test_batches_that_do_not_divide_it(count: int) -> None:
    queue = KeyQueue(12, 4)
    before = queue.keys.clone()
    with pytest.raises(ValueError, match=f"a queue of 12 does not divide into batches of {count}"):
        queue.enqueue(torch.randn(count, 4))
    assert torch.equal(queue.keys, before)
