"""Where a process runs: its device, and its place among the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.utils.deterministic

from sslkit.errors import RecipeError
from sslkit.recipe.schema import RuntimeSection


@dataclass(frozen=True)
class Place:
    """One process of a run."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


def is_first_process() -> bool:
    """Whether this is rank 0, known before the processes have met."""
    return os.environ.get("RANK", "0") == "0"


def choose_device(wanted: str, local_rank: int = 0) -> torch.device:
    """The device of `runtime.device`; raises `RecipeError` if the machine lacks it."""
    if wanted == "auto":
        return _best_device(local_rank)
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError(
            f"'runtime.device' is {wanted}, but torch sees no CUDA device here; take auto or cpu"
        )
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise RecipeError("'runtime.device' is mps, but torch sees no Apple GPU here; take auto or cpu")
    device = torch.device(wanted)
    if wanted == "cuda":
        return _numbered(local_rank)
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise RecipeError(
            f"'runtime.device' is {wanted}, but there are {torch.cuda.device_count()} CUDA devices"
        )
    return device


def _best_device(local_rank: int) -> torch.device:
    if torch.cuda.is_available():
        return _numbered(local_rank)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _numbered(local_rank: int) -> torch.device:
    if local_rank >= torch.cuda.device_count():
        raise RecipeError(
            f"process {local_rank + 1} has no CUDA device: there are {torch.cuda.device_count()} here\n"
            "  start as many processes as there are devices: torchrun --nproc-per-node N"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def process_group(runtime: RuntimeSection) -> Iterator[Place]:
    """This process's place; under `torchrun` it joins the others, and leaves them at the end."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = choose_device(runtime.device, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if device.type == "mps" and world_size > 1:
        raise RecipeError("torch cannot train on several Apple GPUs; take runtime.device=cpu, or one process")
    with _torch_settings(runtime, device):
        if world_size == 1:
            yield Place(device)
            return
        if runtime.strategy == "none":
            raise RecipeError(
                f"'runtime.strategy' is none, but torchrun started {world_size} processes; take auto"
            )
        # The others wait while the main process evaluates, which takes longer than torch's ten minutes.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=1))
        try:
            yield Place(device, dist.get_rank(), world_size)
        finally:
            dist.destroy_process_group()


_DETERMINISTIC: Any = torch.utils.deterministic  # its property is not in torch's types


@contextmanager
def _torch_settings(runtime: RuntimeSection, device: torch.device) -> Iterator[None]:
    """Threads and determinism as the recipe says, and as before afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = _DETERMINISTIC.fill_uninitialized_memory
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    if runtime.deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        _DETERMINISTIC.fill_uninitialized_memory = False  # else half of all launches are for this
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        _DETERMINISTIC.fill_uninitialized_memory = fills
