"""Two real processes over gloo: what one process would compute of all their rows."""

# M masked patches, K prototypes, B images, D features

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from sslkit import Progress
from sslkit.core.collectives import all_gather, own_rows
from sslkit.core.randomness import seeded
from sslkit.testing import SmallSetup, make_views
from sslkit_ibot import IBOT, IBOTConfig, koleo_loss, sinkhorn_knopp
from sslkit_ibot.patch_head import patch_head_of

pytestmark = pytest.mark.slow

RANKS = 2
ROWS = (5, 3)
"""Masked patches of each rank."""


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LOGITS, FEATURES = drawn(sum(ROWS), 4), drawn(6, 3)


def ibot() -> IBOT:
    config = IBOTConfig(out_dim=6, hidden_dim=8, bottleneck_dim=4, mask_ratio=0.4, mask_ratio_spread=0.3)
    with seeded(0, "weights"):
        return IBOT(config, SmallSetup()).double().train()


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", timeout=timedelta(minutes=10), rank=rank, world_size=RANKS
    )
    try:
        torch.save({**losses(rank), **step(rank)}, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def losses(rank: int) -> dict[str, Tensor]:
    start = sum(ROWS[:rank])
    balanced = sinkhorn_knopp(LOGITS[start : start + ROWS[rank]], teacher_temperature=0.5)
    own = FEATURES[3 * rank : 3 * rank + 3].clone().requires_grad_()
    spread = koleo_loss(own, all_gather(own), own_rows(own))
    spread.backward()
    assert own.grad is not None
    return {"balanced": balanced, "koleo": spread.detach(), "gradient": own.grad}


def step(rank: int) -> dict[str, Tensor]:
    """A step with masks of this rank's own."""
    method, views = ibot(), make_views(0)
    said: list[Tensor] = []
    patch_head_of(method.dino.teacher_head).register_forward_hook(lambda _m, _a, out: said.append(out))
    half = slice(4 * rank, 4 * rank + 4)
    with seeded(0, "model", 0, 0, rank):
        output = method(type(views)(views.global_views[:, half].double()), Progress(0, 4, 4))
    method.after_step(Progress(0, 4, 4), [output])
    return {"said": said[0][8:], "center": method.patch_center}  # after the head's 8 images


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    spawn(worker, (str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def test_targets_are_balanced_over_the_rows_of_all(ranks: list[dict[str, Any]]) -> None:
    got = torch.cat([rank["balanced"] for rank in ranks])
    np.testing.assert_allclose(got, sinkhorn_knopp(LOGITS, teacher_temperature=0.5), rtol=1e-10)


def test_neighbours_are_sought_among_all(ranks: list[dict[str, Any]]) -> None:
    whole = FEATURES.clone().requires_grad_()
    loss = koleo_loss(whole)
    loss.backward()
    assert whole.grad is not None
    got = torch.stack([rank["koleo"] for rank in ranks]).mean()
    np.testing.assert_allclose(got, loss.detach(), rtol=1e-10)
    gradient = torch.cat([rank["gradient"] for rank in ranks]) / RANKS  # as gradients are averaged
    np.testing.assert_allclose(gradient, whole.grad, rtol=1e-9, atol=1e-12)


def test_the_centre_is_that_of_all_masked_patches(ranks: list[dict[str, Any]]) -> None:
    said = [rank["said"] for rank in ranks]
    assert len(said[0]) != len(said[1])
    for rank in ranks:
        np.testing.assert_allclose(rank["center"], 0.1 * torch.cat(said).mean(0), rtol=1e-10, atol=1e-12)
