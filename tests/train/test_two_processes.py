"""Two real processes over gloo take the five steps of one process with the joined batch, for every method."""

from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from train import golden, papers

from sslkit.train.distributed import Place

RANKS = 2
MICRO_BATCHES = ("dino", "mocov2", "patch")
"""The others' losses are other ones then: batch norm in the head, negatives of the batch, known labels."""
RUNS = [(name, 1) for name in golden.CASES] + [(name, 2) for name in MICRO_BATCHES]
METRICS = {"grad_norm", "accuracy", "contrast_accuracy", "teacher_entropy", "kl", "center_norm"}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", timeout=timedelta(minutes=5), rank=rank, world_size=RANKS
    )
    try:
        place = Place(torch.device("cpu"), rank, RANKS)
        runs = [golden.run(name, accumulate=parts, place=place) for name, parts in RUNS]
        results = [{"records": run.records, "state": run.method.state_dict()} for run in runs]
        torch.save(dict(zip(RUNS, results, strict=True)), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, int], Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(worker, (str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize(("name", "parts"), RUNS)
def test_two_processes_take_the_steps_of_one(
    ranks: list[dict[tuple[str, int], Any]], name: str, parts: int
) -> None:
    one = golden.run(name)
    for results in ranks:
        two = results[name, parts]
        papers.assert_same(one, two["records"], {**two["state"], **queue_in_order(two["state"], parts)})
        metrics = METRICS & one.records[0].keys()
        for metric in metrics:
            got, wanted = ([r[metric] for r in records] for records in (two["records"], one.records))
            assert got == pytest.approx(wanted, rel=1e-5), metric


def queue_in_order(state: dict[str, Tensor], parts: int) -> dict[str, Tensor]:
    """The queue's keys rank by rank: it takes micro-batch by micro-batch, each from all ranks."""
    if "queue.keys" not in state:
        return {}
    keys = state["queue.keys"]  # [N, D]
    by_part = keys.view(-1, parts, RANKS, golden.BATCH // parts // RANKS, keys.shape[1])
    return {"queue.keys": by_part.transpose(1, 2).reshape(keys.shape)}
