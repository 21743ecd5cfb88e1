"""One process, and two real ones over gloo."""

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from sslkit.core import collectives

RANKS = 2


def test_one_process_is_the_identity() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert (collectives.rank(), collectives.world_size()) == (0, 1)
    assert collectives.all_gather(x) is x
    for same in (collectives.mean_over_ranks(x), collectives.broadcast(x)):
        assert torch.equal(same, x)
        assert not same.requires_grad
    collectives.barrier()


def loss_of_rank(own: Tensor, everyone: Tensor) -> Tensor:
    """Each rank compares its rows with all rows, as contrastive losses do."""
    return (own @ everyone.T).exp().sum(1).log().mean()


def rows_of(rank: int) -> Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", timeout=timedelta(seconds=60), rank=rank, world_size=RANKS
    )
    try:
        own = rows_of(rank).requires_grad_(True)
        everyone = collectives.all_gather(own)
        loss_of_rank(own, everyone).backward()
        transposed = torch.arange(6.0).reshape(2, 3).T + 10 * rank  # not contiguous
        result = {
            "rank": torch.tensor([collectives.rank(), collectives.world_size()]),
            "everyone": everyone.detach(),
            "gradient": own.grad,
            "gathered": collectives.all_gather(transposed),
            "mean": collectives.mean_over_ranks(transposed),
            "from_last": collectives.broadcast(transposed, source=1),
            "untouched": transposed,
        }
        collectives.barrier()
        torch.save(result, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    spawn(worker, (str(tmp_path),), nprocs=RANKS)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]

    rows = [rows_of(rank).requires_grad_(True) for rank in range(RANKS)]
    everyone = torch.cat(rows)
    total = sum(loss_of_rank(own, everyone) for own in rows)
    assert isinstance(total, Tensor)
    gradients = torch.autograd.grad(total, rows)
    base = torch.arange(6.0).reshape(2, 3).T
    for rank, got in enumerate(results):
        assert got["rank"].tolist() == [rank, RANKS]
        assert torch.equal(got["everyone"], everyone)
        torch.testing.assert_close(got["gradient"], gradients[rank])
        assert torch.equal(got["gathered"], torch.cat([base, base + 10]))
        assert torch.equal(got["mean"], base + 5)
        assert torch.equal(got["from_last"], base + 10)
        assert torch.equal(got["untouched"], base + 10 * rank)
