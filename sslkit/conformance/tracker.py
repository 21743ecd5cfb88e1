"""Is this a tracker? It hears a small run, stops, and goes on, told what a real run tells."""

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import wraps
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sslkit.conformance.configs import configured
from sslkit.conformance.findings import Check, Finding, NotChecked, demand, examine, few, pass_gates
from sslkit.conformance.records import NAME, a_run, end, evaluation, start, step
from sslkit.core.tracker import Record, Tracker
from sslkit.errors import SslkitError

FILES = {"metrics.jsonl": "{}\n", "run.json": "{}", "recipe.yaml": "sslkit: 1\nname: checked\n"}
"""What lies in a run directory already."""


@dataclass
class TrackerKit:
    """A tracker's class and configuration, its run directory, and the instance that is at work."""

    cls: type[Tracker]
    config: Any
    run_dir: Path
    tracker: Tracker | None = field(default=None, init=False)

    def open(self) -> Tracker:
        """Start it, or go on with it, in the run directory."""
        self.tracker = self.cls(self.config, self.run_dir, NAME)
        return self.tracker

    def hear(self, records: list[dict[str, Any]]) -> None:
        """Tell it of records one by one; which one it raised at is told."""
        assert self.tracker is not None
        for record in records:
            kept = copy.deepcopy(record)
            self.tracker.log(record)
            demand(_same(record, kept), f"log changes the {record['kind']} record: others hear it too")

    def figure(self) -> Path:
        """A real picture in the run's figures."""
        from PIL import Image

        path = self.run_dir / "figures" / "crops.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 6), (200, 10, 20)).save(path)
        return path


def tracker_findings(cls: type[Tracker], config: Any = None) -> Iterator[Finding]:
    """Check a tracker with a small run in a folder of its own.

    Args:
        config: its configuration; None: `Config.for_checks()`, or its defaults.
    """
    config = yield from configured(cls, config, it_is_built)
    if config is None:
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        kit = TrackerKit(cls, config, Path(folder))
        for name, text in FILES.items():
            (kit.run_dir / name).write_text(text)
        try:
            alive = yield from pass_gates(GATES, {"": kit})
            yield from examine(CHECKS, alive)
        finally:
            if kit.tracker is not None:
                with suppress(Exception):  # told already
                    kit.tracker.close()


# The checks go on with one another's tracker, since many take seconds to reach their server.


def it_is_built(kit: TrackerKit) -> None:
    """`cls(config, run_dir, name)`; a `SslkitError` says what is missing."""
    try:
        tracker = kit.open()
    except SslkitError as error:
        raise NotChecked(f"it cannot start here: {error}") from error
    demand(isinstance(tracker, Tracker), f"it is a {type(tracker).__name__}, not a sslkit.Tracker")


def it_hears_a_run(kit: TrackerKit) -> None:
    """Start, evaluations, steps, a verdict and a note, each a record of plain values."""
    kit.hear(a_run(kit.run_dir))


def it_takes_what_is_not_a_number(kit: TrackerKit) -> None:
    """NaN, infinities and None, alone and within an evaluation's metrics: they never end a training."""
    kit.hear(
        [step(4, kl=math.nan, rankme=math.inf, loss_scale=None), evaluation(4, None), evaluation(4, math.nan)]
    )


def it_ignores_what_it_does_not_know(kit: TrackerKit) -> None:
    """Records of a kind, and keys, that a later version of sslkit may bring."""
    kit.hear(
        [{"kind": "weather", "text": "fine", "list": [1, "two", None]}, step(4, words="some", more=[1, 2])]
    )


def it_takes_figures(kit: TrackerKit) -> None:
    """By a name and a path; the same picture may be told twice, as each evaluation draws it anew."""
    assert kit.tracker is not None
    path = kit.figure()
    kit.tracker.figure("crops", path)
    kit.tracker.figure("crops", path)
    kit.hear([end(kit.run_dir)])
    demand(path.is_file(), "it moves or deletes a figure of the run")


def it_can_be_closed_twice(kit: TrackerKit) -> None:
    """As where a run is stopped while it ends."""
    assert kit.tracker is not None
    kit.tracker.close()
    kit.tracker.close()


def it_goes_on_after_a_stop(kit: TrackerKit) -> None:
    """A new instance in the same directory hears the steps after the checkpoint, some of them again."""
    tracker = kit.open()
    kit.hear([start(kit.run_dir, step=2), step(3), step(4), evaluation(4), end(kit.run_dir)])
    tracker.close()


def the_run_is_left_alone(kit: TrackerKit) -> None:
    """What others keep in the run directory is as it was."""
    wrong = [n for n, text in FILES.items() if not _is_as_it_was(kit.run_dir / n, text)]
    demand(
        not wrong, f"it changes {few(wrong)} in the run directory: keep your own things in a folder of yours"
    )


def _is_as_it_was(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def _same(a: Record, b: Mapping[str, Any]) -> bool:
    return repr(sorted(a.items(), key=str)) == repr(sorted(b.items(), key=str))  # NaN is not equal to itself


def _silent(check: Check[TrackerKit]) -> Check[TrackerKit]:
    """Without what a tracker prints, which is its work."""

    @wraps(check)
    def silent(kit: TrackerKit) -> str | None:
        with redirect_stdout(StringIO()):
            return check(kit)

    return silent


GATES: tuple[Check[TrackerKit], ...] = (_silent(it_is_built), _silent(it_hears_a_run))
CHECKS: tuple[Check[TrackerKit], ...] = tuple(
    _silent(check)
    for check in (
        it_takes_what_is_not_a_number,
        it_ignores_what_it_does_not_know,
        it_takes_figures,
        it_can_be_closed_twice,
        it_goes_on_after_a_stop,
        the_run_is_left_alone,
    )
)
"""What `check_tracker` checks, in this order."""
