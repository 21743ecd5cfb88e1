"""Samples read in worker processes, broken ones replaced; what a worker meets comes back as data."""

import os
import re
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from sslkit.core.dataset import Dataset, Sample
from sslkit.errors import DataError

T = TypeVar("T")
B = TypeVar("B")
Skipped = tuple[str, str]
"""Key of a broken image, and the reason."""

_LONGEST_RUN = 10_000
_JUDGED_FROM = 1000
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid")


@dataclass(frozen=True)
class Read(Generic[T]):
    """One image that could be read."""

    index: int
    """Its position, which is not the one asked for where that was broken."""
    value: T
    skipped: list[Skipped]
    """The broken images met on the way to it."""


@dataclass(frozen=True)
class Failure:
    """Why the run has to end; raised by the main process, so that no worker's traceback is in the way."""

    reason: str


@dataclass
class Reading(TorchDataset[Read[T] | Failure], Generic[T]):
    """`reading[i]` is image i, prepared, or else the next readable one."""

    dataset: Dataset
    prepare: Callable[[Sample], T]
    """What is made of a sample in the worker."""
    on_error: str = "skip"
    """skip or stop."""
    max_broken: float = 0.1
    """Share of broken images that is put up with; bounds how many are passed over in a row."""

    def __getitem__(self, index: int) -> Read[T] | Failure:
        skipped: list[Skipped] = []
        count = len(self.dataset)
        most = min(count, int(self.max_broken * count) + 1, _LONGEST_RUN)
        for candidate in range(index, index + most):
            position = candidate % count
            try:
                return Read(position, self.prepare(self.dataset[position]), skipped)
            except DataError as error:
                skipped.append((self.dataset.key(position), str(error)))
                if self.on_error == "stop":
                    return Failure(_stopped(*skipped[0]))
        return Failure(_unreadable_run(skipped, count))


def read_batches(
    reading: Reading[T],
    rows: Iterable[list[int]],
    stack: Callable[[list[Read[T]]], B],
    workers: int,
) -> Iterator[B]:
    """One stacked batch for each list of positions, in order; the same for any number of workers.

    Raises:
        DataError: images cannot be read, or a worker process was killed.
    """
    with warnings.catch_warnings():  # so many workers were asked for, however few cores there are
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        batches: Iterator[B | Failure] = iter(
            DataLoader(
                reading,
                batch_sampler=rows,
                num_workers=workers,
                collate_fn=partial(_stack_or_fail, stack=stack),
                pin_memory=torch.cuda.is_available(),
                worker_init_fn=_start_worker,
                generator=torch.Generator(),  # from which it draws a seed, and not from the run's
            )
        )
    try:
        for batch in batches:
            if isinstance(batch, Failure):
                raise DataError(batch.reason)
            yield batch
    except RuntimeError as error:
        if not _DEAD_WORKER.search(str(error)):
            raise
        raise DataError(
            f"a process that decodes images has died: {error}\n"
            "  often the memory was used up: try fewer processes (data.workers) or a smaller data.canvas; "
            "data.workers=0 decodes in the main process and shows what happens"
        ) from error
    finally:
        _end_workers(batches)


def _end_workers(batches: Iterator[Any]) -> None:
    """Here and now. Left to the garbage collector, it may happen in a later worker, whose queues it closes.

    torch has no public name for it; without workers there is nothing to end.
    """
    end = getattr(batches, "_shutdown_workers", None)
    if end is not None:
        end()


class Tally:
    """Counts broken images, each once, and stops a run that has too many."""

    def __init__(self, images: int, max_broken: float) -> None:
        self._images, self._max_broken = images, max_broken
        self._seen = 0
        self._broken: dict[str, str] = {}

    def add(self, rows: int, skipped: Iterable[Skipped]) -> list[Skipped]:
        """Count a batch; gives the broken images that were not known yet.

        Raises `DataError` if more than the share allowed is broken, of the images seen or of the first
        thousand: a single one in the first batch does not end a run.
        """
        new = list({key: reason for key, reason in skipped if key not in self._broken}.items())
        self._seen += rows
        self._broken.update(new)
        seen = min(self._seen, self._images)
        if len(self._broken) > self._max_broken * max(seen, min(self._images, _JUDGED_FROM)):
            raise DataError(_too_many(self._broken, seen, self._max_broken))
        return new


def _stack_or_fail(reads: list[Read[T] | Failure], stack: Callable[[list[Read[T]]], B]) -> B | Failure:
    good = [read for read in reads if isinstance(read, Read)]
    failures = [read for read in reads if isinstance(read, Failure)]
    return failures[0] if failures else stack(good)


def _start_worker(_: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process; the main one decides what becomes of the workers.

    SIGTERM from the main process itself has to work: at its exit it ends the workers that are left by it, and
    waits for them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(
        signal, "sigwaitinfo"
    ):  # not on macOS and Windows, where a SIGTERM to all ends the run at once
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_end_when_the_main_process_says, args=(os.getppid(),), daemon=True).start()


def _end_when_the_main_process_says(main: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main:
        pass
    os._exit(0)


def _stopped(key: str, reason: str) -> str:
    return f"{key} cannot be read: {reason}\n  mend or remove it, or go on without it: data.on_error=skip"


def _unreadable_run(skipped: list[Skipped], count: int) -> str:
    key, reason = skipped[0]
    many = (
        f"none of the {count} images"
        if len(skipped) == count
        else f"{len(skipped)} images in a row (of {count})"
    )
    verb = "can" if len(skipped) == count else "cannot"
    return (
        f"{many} {verb} be read; the first, {key}: {reason}\n"
        "  mend or remove them, check data.root and data.channels, or raise data.max_broken"
    )


def _too_many(broken: dict[str, str], seen: int, allowed: float) -> str:
    key, reason = next(reversed(broken.items()))
    return (
        f"{len(broken)} broken images among the first {seen}, more than data.max_broken={allowed:g} allows; "
        f"the last, {key}: {reason}\n  mend or remove them, or raise data.max_broken"
    )
