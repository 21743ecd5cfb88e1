"""The one-file plugin background.py: the conformance kit, and the priority of real jobs."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sslkit.core.executor import Job, Resources
from sslkit.errors import RecipeError
from sslkit.plugins import Registry
from sslkit.testing import check_executor

FILE = Path(__file__).parent.parent / "background.py"
TELLS = """
import os, subprocess
from pathlib import Path

session = Path("/proc/self/autogroup")
print(os.nice(0), session.read_text().split()[-1] if session.exists() else "none", flush=True)
subprocess.run(["ionice"], check=False)
"""


@pytest.fixture(scope="module")
def cls() -> Any:
    return Registry.load([str(FILE)]).get("executors", "background")


def ended(executor: Any, count: int) -> dict[str, str]:
    limit = time.monotonic() + 60
    while len(executor.ended()) < count and time.monotonic() < limit:
        time.sleep(0.05)
    return dict(executor.ended())


def test_it_conforms(cls: Any) -> None:
    check_executor(cls)


def test_every_job_stands_behind_all_others(cls: Any, tmp_path: Path) -> None:
    """Several at a time, since Linux lets only one session in .1 s lower itself."""
    jobs = [Job(f"job-{i}", (sys.executable, "-c", TELLS), tmp_path / f"{i}.log", False) for i in range(3)]
    executor = cls(cls.Config(niceness=19), Resources(3, tmp_path))
    executor.start(jobs)
    assert ended(executor, 3) == {job.name: "" for job in jobs}
    for job in jobs:
        own, session, *disk = job.log.read_text().split()
        assert own == "19"
        assert session in ("19", "none")  # none: a Linux without them, or macOS
        assert disk in ([], ["idle"])


def test_the_keys_of_local_hold_and_a_niceness_is_from_1_to_19(cls: Any, tmp_path: Path) -> None:
    tells = "import os; print(os.environ['OMP_NUM_THREADS'])"
    executor = cls(cls.Config(threads=3, niceness=1), Resources(1, tmp_path))
    executor.start([Job("job", (sys.executable, "-c", tells), tmp_path / "log", False)])
    assert ended(executor, 1) == {"job": ""}
    assert (tmp_path / "log").read_text() == "3\n"
    for niceness in (0, 20):
        with pytest.raises(RecipeError, match=f"'niceness' is {niceness}, but must be from 1 to 19"):
            cls.Config(niceness=niceness)
    with pytest.raises(RecipeError, match="'threads' is 0"):
        cls.Config(threads=0)
