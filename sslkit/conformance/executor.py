"""Is this an executor? Every check of it, with small real commands."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sslkit.conformance.configs import configured
from sslkit.conformance.findings import Check, Finding, NotChecked, demand, examine, few, pass_gates
from sslkit.core.executor import Executor, Job, Resources
from sslkit.errors import SslkitError

PATIENCE = 120.0
"""Seconds within which small jobs begin and end, also on a busy machine."""
AT_ONCE = 60.0
"""Seconds within which `start` comes back, also where it has to reach a cluster."""
AFTERWARDS = 1.0
"""Seconds after which nothing is left of what was killed, and in which what is left is seen."""
SPEAKS = "import sys; print('to stdout', flush=True); print('to stderr', file=sys.stderr)"
FAILS = "raise SystemExit(3)"
TAKES_ITS_TIME = """
import sys, time
from pathlib import Path
folder, name = Path(sys.argv[1]), sys.argv[2]
others = [path.name for path in folder.glob("*.running")]
(folder / f"{name}.running").touch()
with (folder / "order").open("a") as file:
    print(name, file=file)
time.sleep(0.5)
(folder / f"{name}.running").unlink()
print("met", *others)
"""
"""Tells which others were running when it began, and adds its name to those that have begun."""
SAVES = """
import signal, sys, time
from pathlib import Path

saved, beats = map(Path, sys.argv[1:])
asked = []

def save(number, frame):
    asked.append(number)
    if len(asked) == 1:
        time.sleep(0.5)
        saved.write_text(str(len(asked)))
        sys.exit(143)

signal.signal(signal.SIGTERM, save)
beats.touch()
print("up", flush=True)
for _ in range(6000):
    with beats.open("r+") as file:
        file.seek(0, 2)
        file.write(".")
    time.sleep(0.05)
"""
"""Runs for minutes, or until its beats are deleted, to which it adds all the time; at SIGTERM takes half a
second to save how often it was asked."""


@dataclass
class ExecutorKit:
    """An executor's class and configuration, and a folder for its jobs."""

    cls: type[Executor]
    config: Any
    folder: Path
    open: list[Executor] = field(default_factory=list)

    def build(self, jobs: int | None = None) -> Executor:
        """An executor of at most so many jobs at a time, which `end` ends."""
        built = self.cls(self.config, Resources(jobs, self.folder / "own"))
        self.open.append(built)
        return built

    def job(self, name: str, code: str, *words: str | Path) -> Job:
        """A job that runs this code with these words in `sys.argv`."""
        command = (sys.executable, "-c", code, *map(str, words))
        return Job(name, command, self.folder / f"{name}.log", wants_gpu=False)

    def end(self) -> None:
        """Nothing that a check has begun is left, also where the executor ends nothing."""
        for path in self.folder.glob("*.beats"):
            path.unlink()
        for executor in self.open:
            thread = threading.Thread(target=executor.kill, daemon=True)
            thread.start()
            thread.join(PATIENCE)
        self.open.clear()


def executor_findings(cls: type[Executor], config: Any = None) -> Iterator[Finding]:
    """Check an executor; it runs some ten small commands of this Python.

    Args:
        config: its configuration; None: `Config.for_checks()`, or its defaults.
    """
    config = yield from configured(cls, config, it_is_built)
    if config is None:
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        kit = ExecutorKit(cls, config, Path(folder))
        try:
            alive = yield from pass_gates(GATES, {"": kit})
            yield from examine(CHECKS, alive)
        finally:
            kit.end()


# --- the checks --------------------------------------------------------------------------------------------


def it_is_built(kit: ExecutorKit) -> None:
    """`cls(config, resources)`; a `SslkitError` says what is missing."""
    try:
        built = kit.build()
    except SslkitError as error:
        raise NotChecked(f"it cannot run anything here: {error}") from error
    demand(isinstance(built, Executor), f"it is a {type(built).__name__}, not an Executor of sslkit.core")
    kit.end()


def jobs_run_and_it_says_how_they_ended(kit: ExecutorKit) -> None:
    """ "" for exit code 0, words for anything else; what a job prints is added to its log."""
    executor = kit.build()
    lost = Job("lost", (str(kit.folder / "no-such-command"),), kit.folder / "lost.log", wants_gpu=False)
    jobs = [kit.job("good", SPEAKS), kit.job("bad", FAILS), lost]
    jobs[0].log.write_text("before\n")
    started = time.monotonic()
    executor.start(jobs)
    demand(time.monotonic() - started < AT_ONCE, "start waits for its jobs; it returns at once")
    how = _await(executor, jobs)
    demand(how["good"] == "", f"a job with exit code 0 ended as {how['good']!r}; that is '', nothing")
    for name in ("bad", "lost"):
        demand(how[name], f"the job '{name}' failed, but ended() says '': say how, as in 'exit code 3'")
    log = jobs[0].log.read_text()
    for text in ("before", "to stdout", "to stderr"):
        demand(text in log, f"the log of a job lacks {text!r}: add what it prints on both to Job.log")


def no_more_run_than_are_allowed(kit: ExecutorKit) -> None:
    """With one job at a time they run one after another, in their order."""
    executor = kit.build(jobs=1)
    jobs = [kit.job(f"one-{i}", TAKES_ITS_TIME, kit.folder, str(i)) for i in range(3)]
    executor.start(jobs)
    how = _await(executor, jobs)
    demand(not any(how.values()), f"of jobs one after another some failed: {how}")
    met = [job.name for job in jobs if job.log.read_text().split()[1:]]
    demand(not met, f"with Resources(jobs=1) {few(met)} ran beside another one")
    order = (kit.folder / "order").read_text().split()
    demand(
        order == ["0", "1", "2"],
        f"jobs 0, 1, 2 were begun as {', '.join(order)}: begin them in the order that start gets them in",
    )


def stop_lets_jobs_save(kit: ExecutorKit) -> None:
    """SIGTERM to what runs, once; it returns when they have saved; nothing more is begun."""
    executor = kit.build(jobs=1)
    saved = kit.folder / "saved"
    runs, waits = kit.job("runs", SAVES, saved, kit.folder / "runs.beats"), kit.job("waits", SPEAKS)
    executor.start([runs, waits])
    _until(lambda: _has_begun(executor, runs), "a job is not begun")
    _within(PATIENCE, executor.stop, "stop does not return")
    demand(saved.is_file(), "stop returned before a job had saved: send SIGTERM, once, and wait for its end")
    times = saved.read_text()
    demand(
        times == "1",
        f"a job got SIGTERM {times} times before it had saved: send it once, since at a second one a run ends"
        " without saving",
    )
    demand(executor.ended().get("runs"), "a job that was stopped is missing in ended(), or told as a success")
    demand(not _spoke(waits), "stop began a job that was still waiting")


def kill_ends_what_runs(kit: ExecutorKit) -> None:
    """For the second Ctrl-C: nothing runs any more when it returns."""
    executor, beats = kit.build(jobs=1), kit.folder / "killed.beats"
    runs = kit.job("killed", SAVES, kit.folder / "perhaps", beats)
    executor.start([runs])
    _until(lambda: _has_begun(executor, runs), "a job is not begun")
    _within(PATIENCE, executor.kill, "kill does not return")
    demand(
        executor.ended().get("killed"), "a job that was killed is missing in ended(), or told as a success"
    )
    time.sleep(AFTERWARDS)
    before = beats.read_text()
    time.sleep(AFTERWARDS)
    demand(beats.read_text() == before, "a job still runs after kill: end it (SIGKILL), then return")


def _has_begun(executor: Executor, job: Job) -> bool:
    executor.ended()
    return _spoke(job)


def _spoke(job: Job) -> bool:
    return job.log.is_file() and bool(job.log.read_text().strip())


def _await(executor: Executor, jobs: Sequence[Job]) -> Mapping[str, str]:
    names = [job.name for job in jobs]
    _until(lambda: {*names} <= executor.ended().keys(), f"not all of {few(names)} are in ended()")
    return executor.ended()


def _until(condition: Callable[[], bool], told: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        demand(time.monotonic() < limit, f"{told} after {PATIENCE:.0f} s")
        time.sleep(0.05)


def _within(seconds: float, call: Callable[[], None], told: str) -> None:
    failed: list[BaseException] = []

    def watched() -> None:
        try:
            call()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=watched, daemon=True)
    thread.start()
    thread.join(seconds)
    demand(not thread.is_alive(), f"{told} within {seconds:.0f} s")
    if failed:
        raise failed[0]


GATES: tuple[Check[ExecutorKit], ...] = (it_is_built,)
CHECKS: tuple[Check[ExecutorKit], ...] = (
    jobs_run_and_it_says_how_they_ended,
    no_more_run_than_are_allowed,
    stop_lets_jobs_save,
    kill_ends_what_runs,
)
"""What `check_executor` checks, in this order."""
