"""Two real processes, half of the batch each, against one with the whole.

`python -m` this file starts the two: what they import is imported once, and forked where that is safe.
"""

# B images

import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sslkit.conformance.findings import NotChecked, demand, few, raised
from sslkit.conformance.method_kit import CPU, MethodKit, state_of
from sslkit.conformance.source import Source, sources_of
from sslkit.core.randomness import seeded
from sslkit.train.distributed import Place

LOG = "log"
RANKS = 2
STEPS = 2
PATIENCE = timedelta(seconds=90)
"""How long one process waits for the other in one exchange."""
LOSS, NORM, FLOOR = 1e-4, 2e-3, 1e-5
"""What may differ, by the order in which float32 sums: of a loss, of a tensor's norm, of the largest norm."""
STATE_FLOOR = 1e-6
"""The same of a tensor of the state, in its own unit."""
RANKS_NORM = 1e-6
"""Of a tensor's norm, what may differ between the processes, which compute the very same."""


@dataclass(frozen=True)
class Trace:
    """What the steps of one process did."""

    losses: list[float]
    gradients: list[dict[str, Tensor]]
    states: list[dict[str, Tensor]]


@dataclass(frozen=True)
class Pair:
    """Two processes for each setting, one setting after another, in a folder."""

    folder: Path
    parent: "subprocess.Popen[bytes]"
    """Starts them, and ends when all have ended."""
    settings: tuple[str, ...]

    def traces(self, where: str) -> list[Trace]:
        """What the two did at a setting.

        Raises:
            Unmet: one of them raised, or ended without a word.
        """
        self.parent.wait()
        number = self.settings.index(where)
        files = [_result(self.folder, rank, number) for rank in range(RANKS)]
        found = [_read(file) for file in files if file.is_file()]
        errors = [trace for trace in found if isinstance(trace, str)]
        demand(not errors, f"in two processes a step {min(errors, key=_is_an_echo, default='')}")
        log = (self.folder / LOG).read_text(errors="replace").strip()
        heard = log.splitlines()[-1] if log else "nothing"
        demand(
            len(found) == RANKS, f"two processes do not get through a step; the last heard of them: {heard}"
        )
        return [trace for trace in found if isinstance(trace, Trace)]


_ECHO = re.compile(r"by peer|timed out|connection|socket|gloo", re.IGNORECASE)


def _is_an_echo(error: str) -> bool:
    """Whether an error only says that the other process is gone."""
    return bool(_ECHO.search(error))


@contextmanager
def started(kits: Mapping[str, MethodKit]) -> Iterator[Pair | NotChecked]:
    """Two processes that take steps at each setting, while this one does something else."""
    try:
        job = _packed(kits)
    except NotChecked as reason:
        yield reason
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job").write_bytes(job)
        parent = _start(folder)
        try:
            yield Pair(folder, parent, tuple(kits))
        finally:
            parent.terminate()  # and it ends both
            parent.wait()


def _packed(kits: Mapping[str, MethodKit]) -> bytes:
    quiet = {where: _without_draws(kit) for where, kit in kits.items()}
    things = [thing for kit in quiet.values() for thing in (kit.cls, type(kit.config), kit.setup.network)]
    sources = sources_of(thing for thing in things if not isinstance(thing, str))
    try:
        return pickle.dumps((sources, pickle.dumps(quiet)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise NotChecked(f"it cannot be handed to a second process: {error}") from error


def _without_draws(kit: MethodKit) -> MethodKit:
    """Drop path differs from process to process on purpose."""
    return replace(kit, setup=replace(kit.setup, drop_path_rate=0.0))


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


# --- in the processes --------------------------------------------------------------------------------------


def main(folder: Path) -> None:
    """Have two ranks take the steps of each setting; where one raises, the other is not waited for."""
    kits = _unpacked(folder)
    kit = next(iter(kits.values()))
    kit.trainer(kit.build())  # imports what every rank needs, once
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for number in range(len(kits)):
        ranks = [_rank(folder, number, rank, kits) for rank in range(RANKS)]
        try:
            _await(ranks)
        finally:
            for process in ranks:
                process.kill()
                process.join()


def _rank(folder: Path, number: int, rank: int, kits: Mapping[str, MethodKit]) -> BaseProcess:
    """Forked on Linux, where nothing that was imported is in the way; elsewhere it imports all anew."""
    process: BaseProcess
    if sys.platform == "linux":
        context = multiprocessing.get_context("fork")
        process = context.Process(target=take_part, args=(folder, number, rank, kits))
    else:
        process = multiprocessing.get_context("spawn").Process(target=take_part, args=(folder, number, rank))
    process.start()
    return process


def _await(ranks: Sequence[BaseProcess]) -> None:
    """Until both have ended, or one has failed, or whoever asked is gone."""
    asking = os.getppid()
    while any(rank.is_alive() for rank in ranks) and not any(rank.exitcode for rank in ranks):
        if os.getppid() != asking:
            sys.exit(1)
        time.sleep(0.02)


def take_part(folder: Path, number: int, rank: int, kits: Mapping[str, MethodKit] | None = None) -> None:
    """Take the steps of a setting as one of the ranks, and leave what they did in a file."""
    torch.set_num_threads(1)
    kit = list((kits or _unpacked(folder)).values())[number]
    store = f"file://{folder}/store-{number}"
    dist.init_process_group("gloo", store, timeout=PATIENCE, rank=rank, world_size=RANKS)
    try:
        found: dict[str, Any] | str = vars(trace(kit, Place(CPU, rank, RANKS)))
    except Exception as error:
        found = raised(error)
    aside = folder / f"{rank}.tmp"
    torch.save(found, aside)
    aside.rename(_result(folder, rank, number))  # whole, or not there
    if isinstance(found, str):
        os._exit(1)  # an orderly exit waits for the other one
    dist.destroy_process_group()


def _unpacked(folder: Path) -> dict[str, MethodKit]:
    sources, packed = pickle.loads((folder / "job").read_bytes())
    for source in sources:
        assert isinstance(source, Source)
        source.load()
    kits: dict[str, MethodKit] = pickle.loads(packed)
    return kits


def _result(folder: Path, rank: int, number: int) -> Path:
    return folder / f"{rank}-{number}.pt"


def _read(path: Path) -> Trace | str:
    found = torch.load(path, weights_only=True)
    return found if isinstance(found, str) else Trace(**found)


def trace(kit: MethodKit, place: Place) -> Trace:
    """Some steps of the product's loop."""
    trainer = kit.trainer(kit.build(), place, optimizer="sgd")
    done = Trace([], [], [])
    for _ in range(STEPS):
        done.losses.append(kit.step(trainer))
        done.gradients.append({n: p.grad for n, p in trainer.method.named_parameters() if p.grad is not None})
        done.states.append(state_of(trainer.method))
    return done


# --- the comparison ----------------------------------------------------------------------------------------


def compare(kit: MethodKit, two: Sequence[Trace]) -> str | None:
    """Two processes equal one.

    Raises:
        Unmet: they differ in losses, gradients or state, or from each other.
    """
    for step in range(STEPS):
        first, second = (each.states[step] for each in two)
        apart = _apart(first, second, RANKS_NORM, floor=0.0)
        demand(
            not apart,
            f"after step {step + 1} {few(apart)} is not the same on both processes: what after_step follows"
            " must be that of all processes (collectives.mean_over_ranks, all_gather)",
        )
    quiet = _without_draws(kit)
    if draws(quiet):
        return "forward draws numbers, others on each process: only their states were compared"
    one = trace(quiet, Place(CPU))
    for step in range(STEPS):
        _compare_step(one, two, step)
    return None


def _compare_step(one: Trace, two: Sequence[Trace], step: int) -> None:
    loss = sum(each.losses[step] for each in two) / len(two)
    wanted = one.losses[step]
    demand(
        abs(loss - wanted) <= LOSS * max(abs(wanted), 1e-2),
        f"the loss of step {step + 1} is {loss:.6g} on two processes with half of the batch each, but"
        f" {wanted:.6g} on one with all of it: something is computed over a process's own images alone."
        " What is compared across the batch goes through collectives.all_gather, a count or a mean that the"
        " loss divides by through mean_over_ranks",
    )
    largest = max((x.float().norm().item() for x in one.gradients[step].values()), default=0.0)
    apart = _apart(one.gradients[step], two[0].gradients[step], NORM, FLOOR * largest)
    demand(
        not apart,
        f"the loss of two processes is that of one, but the gradient of {few(apart)} is not: the other"
        " process's rows must keep their gradient (collectives.all_gather has it, torch.distributed's not)",
    )
    apart = _apart(one.states[step], two[0].states[step], NORM, STATE_FLOOR)
    demand(
        not apart,
        f"after step {step + 1} {few(apart)} differs between two processes and one: after_step must follow"
        " the whole batch (collectives.mean_over_ranks for a mean, all_gather for rows)",
    )


def _apart(a: Mapping[str, Tensor], b: Mapping[str, Tensor], norm: float, floor: float) -> list[str]:
    """Tensors that differ by more than rounding."""
    return [key for key in {**a, **b} if key not in a or key not in b or _differ(a[key], b[key], norm, floor)]


def _differ(a: Tensor, b: Tensor, norm: float, floor: float) -> bool:
    if a.shape != b.shape or not a.is_floating_point():
        return not torch.equal(a, b)
    apart = torch.where((a == b) | (a.isnan() & b.isnan()), 0, a - b).float().norm()
    size = a.float().nan_to_num(0.0, 0.0, 0.0).norm()
    return not bool(apart <= norm * size + floor)  # so that NaN differs from any number


def draws(kit: MethodKit) -> bool:
    """Whether a forward pass draws from torch's generator."""
    method = kit.build()
    with seeded(0, "model"):
        before = torch.get_rng_state()
        method(kit.views, kit.progress())
        return not torch.equal(before, torch.get_rng_state())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # torch's orderly exit takes seconds, and somebody waits
