"""Two real processes over gloo against torch's own batch norm on the joined batch."""

import copy
from collections.abc import Callable
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from tolerances import assert_close
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from sslkit.nn.batch_norm import synchronised

RANKS = 2
ROWS = (3, 5)
"""Of each rank: its part counts by its size."""
Case = tuple[Callable[[], nn.Module], tuple[int, ...], torch.dtype, float]


def flat() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False))


def sequences() -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3, momentum=0.3))


def images() -> nn.Module:
    first = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)]
    return nn.Sequential(*first, nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3, momentum=None))


def with_activation() -> nn.Module:
    plain = BatchNormAct2d(4)  # ReLU in place
    both = BatchNormAct2d(3, act_layer=nn.Tanh, act_kwargs={"inplace": False}, drop_layer=nn.Sigmoid)
    return nn.Sequential(nn.Conv2d(3, 4, 3), plain, nn.Conv2d(4, 3, 1), both)


def volumes() -> nn.Module:
    return nn.Sequential(nn.BatchNorm3d(2), nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3, track_running_stats=False))


def one_norm() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(3))


CASES: dict[str, Case] = {
    "flat": (flat, (4,), torch.float64, 0),
    "sequences": (sequences, (2, 5), torch.float64, 0),
    "images": (images, (3, 6, 6), torch.float64, 0),
    "activation": (with_activation, (3, 6, 6), torch.float64, 0),
    "volumes": (volumes, (2, 3, 3, 3), torch.float64, 0),
    "float32": (one_norm, (3, 6, 6), torch.float32, 0),
    "bfloat16": (one_norm, (3, 6, 6), torch.bfloat16, 0),
    "far from zero": (one_norm, (3, 6, 6), torch.float32, 1000),
}

COARSE = {"far from zero": (1e-3, 1e-3), "bfloat16": (2e-2, 2e-2)}
"""float32 keeps four digits behind the point at 1000; the networks of torch round bfloat16 elsewhere."""
SUMS = 100
"""Gradients are sums over hundreds of values that nearly cancel."""


def build(case: Case) -> nn.Module:
    torch.manual_seed(0)
    network = case[0]()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.double() if case[2] == torch.float64 else network


def rows(case: Case, rank: int) -> Tensor:
    """Ranks differ in mean and spread, so that neither's own statistics will do."""
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(ROWS[rank], *case[1], generator=generator, dtype=torch.float64)
    return (case[3] + rank + (rank + 1) * x).to(case[2])


def measure(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What a student, a teacher (train mode, no gradient) and an evaluation see."""
    x = x.clone().requires_grad_(True)
    student = network(x)
    (student**3).sum().backward()
    with torch.no_grad():
        teacher = network.train()(x.detach() * 2)
    assert x.grad is not None
    inner = network.module if isinstance(network, DistributedDataParallel) else network
    result = {f"gradient of {n}": p.grad for n, p in inner.named_parameters() if p.grad is not None}
    result |= {f"buffer {n}": b.clone() for n, b in inner.named_buffers()}
    evaluated = inner.eval()(x.detach())
    inner.train()
    return {"student": student, "teacher": teacher, "input": x.grad, "evaluated": evaluated, **result}


def identities(network: nn.Module) -> dict[str, int]:
    return {k: v.data_ptr() for k, v in network.state_dict().items()} | {
        k: id(v) for k, v in (*network.named_parameters(), *network.named_buffers())
    }


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", timeout=timedelta(seconds=60), rank=rank, world_size=RANKS
    )
    try:
        results = {}
        for name, case in CASES.items():
            network = build(case)
            before, keys = identities(network), list(network.state_dict())
            assert synchronised(synchronised(network)) is network
            assert (identities(network), list(network.state_dict())) == (before, keys)
            for kind, module in (("", network), (" copy", copy.deepcopy(network))):
                result = measure(DistributedDataParallel(module), rows(case, rank))
                results[name + kind] = {k: v.detach() for k, v in result.items()}
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(worker, (str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize("kind", ["", " copy"])
@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one_with_the_joined_batch(
    ranks: list[dict[str, dict[str, Tensor]]], name: str, kind: str
) -> None:
    case = CASES[name]
    wanted = measure(build(case), torch.cat([rows(case, rank) for rank in range(RANKS)]))
    tolerance = COARSE.get(name)
    for rank, results in enumerate(ranks):
        got = results[name + kind]
        assert got.keys() == wanted.keys()
        for key, value in wanted.items():
            if key.startswith("gradient"):
                expected = value / RANKS  # DistributedDataParallel averages
            elif key.startswith("buffer"):
                expected = value
            elif name == "volumes" and key == "evaluated":
                continue  # without running statistics an evaluation takes those of its own batch
            else:
                expected = value.split(ROWS)[rank]
            actual = got[key] if got[key].is_floating_point() else got[key].double()
            assert_close(actual, expected, tolerance=tolerance, scale=SUMS)


def test_on_one_process_nothing_changes() -> None:
    for case in CASES.values():
        network = build(case)
        types = [type(m) for m in network.modules()]
        assert synchronised(network) is network
        assert [type(m) for m in network.modules()] == types
