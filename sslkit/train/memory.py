"""The most memory that a run has held."""

from collections.abc import Mapping
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def peak_memory(
    device: torch.device, before: Mapping[str, float | None] | None = None
) -> dict[str, float | None]:
    """Peak memory so far, MiB: `process`, without its loader workers, and `device`, None but on CUDA.

    Args:
        before: what an earlier part of the run found; the larger one stays.
    """
    on_device = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    now = {"process": _process(), "device": on_device}
    return {key: _larger(value, (before or {}).get(key)) for key, value in now.items()}


def _larger(a: float | None, b: float | None) -> float | None:
    return max((value for value in (a, b) if value is not None), default=None)


def _process() -> float:
    """On Linux from /proc: there `ru_maxrss` starts at the peak of the process that started this one."""
    if STATUS.is_file():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024  # kB
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
