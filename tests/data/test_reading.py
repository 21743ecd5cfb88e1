"""Broken images and dead workers: what becomes of them, and that nothing spins."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

import sslkit
from sslkit.core.dataset import Dataset, Sample
from sslkit.data.reading import Failure, Read, Reading, Tally, read_batches
from sslkit.errors import DataError


class Levels(Dataset):
    """Image i is one pixel of level i; some are broken, one kills its process."""

    def __init__(self, count: int, broken: Collection[int] = (), deadly: int | None = None) -> None:
        self.count, self.broken, self.deadly = count, broken, deadly
        self.tries = 0

    def __len__(self) -> int:
        return self.count

    def key(self, index: int) -> str:
        return f"{index}.png"

    def __getitem__(self, index: int) -> Sample:
        self.tries += 1
        if index in self.broken:
            raise DataError("no good")
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return Sample(np.full((1, 1, 1), index, np.uint8), None, self.key(index))


def level(sample: Sample) -> int:
    return int(sample.image[0, 0, 0])


def test_a_broken_image_is_replaced_by_the_next_readable_one() -> None:
    reading = Reading(Levels(10, broken={3, 4, 9}), level, max_broken=0.5)
    assert reading[3] == Read(5, 5, [("3.png", "no good"), ("4.png", "no good")])
    assert reading[9] == Read(0, 0, [("9.png", "no good")])
    assert reading[2] == Read(2, 2, [])


def test_stop_names_the_file() -> None:
    failure = Reading(Levels(10, broken={3}), level, on_error="stop")[3]
    assert isinstance(failure, Failure)
    assert re.search(r"^3.png cannot be read: no good\n.*data.on_error=skip", failure.reason)


def test_nothing_spins_where_all_are_broken() -> None:
    everything = Levels(50, broken=range(50))
    failure = Reading(everything, level, max_broken=1.0)[7]
    assert isinstance(failure, Failure)
    assert failure.reason.startswith("none of the 50 images can be read; the first, 7.png: no good")
    assert everything.tries == 50
    endless = Levels(10_000_000, broken=range(10_000_000))
    failure = Reading(endless, level, max_broken=0.1)[0]
    assert isinstance(failure, Failure)
    assert "10000 images in a row (of 10000000) cannot be read" in failure.reason


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_whatever_the_workers(workers: int) -> None:
    reading = Reading(Levels(20, broken={4}), level, max_broken=0.5)
    rows = [[3, 4], [19], [0, 1, 2], [5, 5]]
    batches = list(read_batches(reading, rows, lambda reads: [read.value for read in reads], workers))
    assert batches == [[3, 5], [19], [0, 1, 2], [5, 5]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_is_raised_without_a_workers_traceback(workers: int) -> None:
    reading = Reading(Levels(20, broken={4}), level, on_error="stop")
    with pytest.raises(DataError) as error:
        list(read_batches(reading, [[3, 4]], list, workers))
    assert str(error.value).startswith("4.png cannot be read: no good")
    assert "Traceback" not in str(error.value)


def test_a_killed_worker_is_told() -> None:
    reading = Reading(Levels(20, deadly=4), level)
    with pytest.raises(
        DataError, match=r"(?s)process that decodes images has died: DataLoader worker.*data.workers=0"
    ):
        list(read_batches(reading, [[1], [4], [5]], list, 1))


def test_other_errors_of_a_worker_are_not_dressed_up() -> None:
    def broken_code(sample: Sample) -> int:
        raise RuntimeError("a bug")

    for workers in (0, 1):
        with pytest.raises(RuntimeError, match="a bug"):
            list(read_batches(Reading(Levels(5), broken_code), [[1]], list, workers))


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_workers_leave_ctrl_c_to_the_main_process() -> None:
    [[read]] = read_batches(
        Reading(Levels(5), lambda sample: signal.getsignal(signal.SIGINT)), [[1]], list, 1
    )
    assert read.value == signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN


def test_a_sigterm_to_all_leaves_the_workers_at_work() -> None:
    rows = [[number] for number in range(50)]
    batches = read_batches(Reading(Levels(50), lambda sample: (level(sample), os.getpid())), rows, list, 1)
    worker = next(batches)[0].value[1]
    stranger = subprocess.run(["kill", "-TERM", str(worker)], check=False)  # not the main process itself
    assert stranger.returncode == 0
    rest = [read.value for [read] in batches]
    assert rest == [(number, worker) for number in range(1, 50)]


def test_the_main_process_can_exit_with_workers_at_work(tmp_path: Path) -> None:
    script = tmp_path / "leaves.py"
    script.write_text(
        "import numpy as np\n"
        "from sslkit.core.dataset import Dataset, Sample\n"
        "from sslkit.data.reading import Reading, read_batches\n"
        "class Ones(Dataset):\n"
        "    def __init__(self): pass\n"
        "    def __len__(self): return 1000\n"
        "    def key(self, index): return str(index)\n"
        "    def __getitem__(self, index): return Sample(np.ones((1, 1, 1), np.uint8), None, str(index))\n"
        "batches = read_batches(Reading(Ones(), id), [[i] for i in range(1000)], list, 2)\n"
        "next(batches)\n"
        "raise SystemExit(3)\n"
    )
    place = {**os.environ, "PYTHONPATH": str(Path(sslkit.__file__).parents[1])}
    assert subprocess.run([sys.executable, script], env=place, timeout=60, check=False).returncode == 3


def test_workers_end_with_the_reading_however_it_ends() -> None:
    def break_down(sample: Sample) -> int:
        raise RuntimeError("a bug")

    endings: list[tuple[Reading[int], type[Exception]]] = [
        (Reading(Levels(9, broken={0}), level, on_error="stop"), DataError),
        (Reading(Levels(9, deadly=0), level), DataError),
        (Reading(Levels(9), break_down), RuntimeError),
    ]
    for reading, kind in endings:
        with pytest.raises(kind) as kept:
            list(read_batches(reading, [[0], [1], [2]], list, 2))
        assert multiprocessing.active_children() == []
        assert kept.value.__traceback__ is not None  # whose frames would keep the workers
    early = read_batches(Reading(Levels(9), level), [[0], [1], [2]], list, 2)
    next(early)
    assert len(multiprocessing.active_children()) == 2
    early.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_the_tally_counts_each_broken_image_once() -> None:
    tally = Tally(100, max_broken=0.1)
    assert tally.add(10, [("a", "x"), ("b", "y"), ("a", "x")]) == [("a", "x"), ("b", "y")]
    assert tally.add(10, [("b", "y")]) == []
    for _ in range(100):
        tally.add(10, [("a", "x"), ("b", "y")])


def test_the_tally_stops_at_the_share_with_numbers() -> None:
    tally = Tally(100, max_broken=0.1)
    tally.add(20, [(str(number), "bad") for number in range(10)])  # a tenth of all, though half of those seen
    with pytest.raises(
        DataError,
        match=r"11 broken images among the first 40, more than data.max_broken=0.1 allows; the last, k: r",
    ):
        tally.add(20, [("k", "r")])


def test_of_many_images_the_first_thousand_are_judged() -> None:
    tally = Tally(1_000_000, max_broken=0.01)
    tally.add(64, [(str(number), "bad") for number in range(10)])
    with pytest.raises(DataError, match="11 broken"):
        tally.add(64, [("k", "r")])
    later = Tally(1_000_000, max_broken=0.01)
    later.add(5000, [(str(number), "bad") for number in range(50)])


def test_no_broken_image_is_allowed_at_zero() -> None:
    tally = Tally(10, max_broken=0)
    tally.add(10, [])
    with pytest.raises(DataError, match="1 broken"):
        tally.add(1, [("k", "r")])
