"""The process of one run of a study: `python -m sslkit.ablation.worker STUDY_DIR NAME`.

It may be started at any time, by anybody, again and again: it goes on where the run was, and two at once wait
for each other.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sslkit.ablation.places import Places
from sslkit.errors import SslkitError
from sslkit.train.rundir import RunDirectory, next_free, now, write_aside

PR_SET_PDEATHSIG = 1
"""Linux: the signal that a process gets when its parent dies (prctl(2))."""


def main(folder: str, name: str) -> int:
    """Start or continue one run; returns its exit code: 0 finished, 130 or 143 stopped, else failed."""
    places = Places(Path(folder))
    end_with(os.getppid())
    with one_at_a_time(places.lock(name)):
        return work(places, name)


def end_with(parent: int) -> None:
    """Have SIGTERM sent to this process when its parent dies, however it dies; on Linux."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died meanwhile
        sys.exit(128 + signal.SIGTERM)


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait for another process of the same run, which may still be saving."""
    import fcntl

    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def work(places: Places, name: str) -> int:
    """Start or continue one run in this process, and tell in a file how it ended; returns its exit code."""
    import sslkit.run as door

    directory = RunDirectory(places.run(name))
    resume = directory.holds_a_run
    if directory.path.exists() and not resume:  # killed before it had written its recipe
        directory.path.rename(next_free(directory.path.with_name(f"{name}.unfinished")))
    _tell(places, name, "running")
    plugins = json.loads(places.plugins.read_text("utf-8"))
    try:
        result = door.run(
            places.recipe(name),
            no_plugins=plugins["no_plugins"],
            out=directory.path,
            resume=resume,
            quiet=True,
        )
    except SslkitError as error:
        print(f"error: {error}", file=sys.stderr)
        _tell(places, name, "failed", str(error))
        return 2
    except Exception as error:
        traceback.print_exc()
        _tell(places, name, "failed", f"{type(error).__name__}: {error}")
        return 1
    _tell(places, name, result.status)
    return result.exit_code


def _tell(places: Places, name: str, status: str, error: str | None = None) -> None:
    """What became of it, where the study looks: also of a run that failed before it had a directory."""
    told = {"status": status, "error": error, "host": socket.gethostname(), "pid": os.getpid(), "at": now()}
    write_aside(places.told(name), json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
