"""Whether code works on a GPU and does not wait for it, told also where there is none."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from traceback import StackSummary, extract_stack
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sslkit.conformance.findings import NotChecked, demand, folder_of, is_theirs, raised

META = torch.device("meta")
OTHERS = (META, *([torch.device("cuda")] if torch.cuda.is_available() else []))
"""torch's device without numbers, on which shapes, types, devices and reads are checked; the GPU."""
_MIXED = re.compile(r"is not on the expected device|on the same device|different devices")
_READS = re.compile(r"cannot be called on meta|can't convert meta|can't convert cuda|Cannot copy out of meta")
_FULL = re.compile(r"out of memory|ALLOC_FAILED")
_TORCH = folder_of("torch")


def works_on_another_device(
    call: Callable[[torch.device], object], others: Sequence[torch.device] = OTHERS
) -> None:
    """Make a call that puts everything on the given device, on each of them; the last one decides.

    Raises:
        Unmet: it mixes tensors of two devices, or reads a number from the device, or fails on a real one.
        NotChecked: it needs an operation that only a real device has, or more memory than this one has.
    """
    unknown: NotChecked | None = None
    for other in others:
        try:
            _works_on(other, call)
        except NotChecked as reason:
            unknown = reason
        else:
            unknown = None
    if unknown is not None:
        raise unknown


def _works_on(other: torch.device, call: Callable[[torch.device], object]) -> None:
    try:
        with _without_autocast(other):
            call(other)
    except Exception as error:
        text = str(error)
        demand(
            not _MIXED.search(text),
            f"a tensor is made on the CPU, so that no GPU can run it: {raised(error)}."
            " Give device=x.device to arange, zeros, randn and the like",
        )
        demand(
            not _READS.search(text),
            f"numbers are read from the device: {raised(error)}. A step must not wait for it: no .item(),"
            " .tolist(), .cpu(), .numpy(), float(), bool() or `if` on a tensor; and what is written into is"
            " made with device=x.device",
        )
        if isinstance(error, torch.OutOfMemoryError) or _FULL.search(text):
            raise NotChecked(f"the device {other} has too little memory left: {raised(error)}") from error
        demand(other.type == "meta", f"on the device {other} it {raised(error)}")
        raise NotChecked(f"only a GPU can tell: {raised(error)}") from error


@contextmanager
def _without_autocast(other: torch.device) -> Iterator[None]:
    """`torch.autocast` refuses the device without numbers, also where it is only switched off."""
    if other.type != "meta":
        yield
        return
    real: Any = torch.autocast

    def autocast(device_type: str, *args: Any, **options: Any) -> Any:
        return nullcontext() if device_type == "meta" else real(device_type, *args, **options)

    torch.autocast = autocast  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        torch.autocast = real  # type: ignore[misc]


class Reads(TorchDispatchMode):
    """Notes where a number is read from a tensor by code that is not torch's or timm's."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.places += _place(extract_stack())
        return func(*args, **(kwargs or {}))


def _place(stack: StackSummary) -> list[str]:
    """The line that asked; nothing where a library did for its own ends."""
    asking = next((f for f in reversed(stack) if not _in_between(f.filename)), None)
    if asking is None or not is_theirs(asking.filename):
        return []
    return [f"{Path(asking.filename).name}, line {asking.lineno}"]


def _in_between(file: str) -> bool:
    return file == __file__ or file.startswith(_TORCH)
