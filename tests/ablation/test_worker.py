"""The process of one run: it starts, goes on, says how it ended, and ends with its parent."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ablation.studies import WITHOUT_PICTURES, small_study, write_breaking_plugin
from runs import learned, lines

from sslkit.ablation.places import Places
from sslkit.ablation.running import write_recipes
from sslkit.ablation.study import read_study
from sslkit.ablation.worker import one_at_a_time, work


def placed(folder: Path, arms: dict[str, Any], **base: Any) -> Places:
    """A study whose recipes are written, and of which nothing has run."""
    study, places = read_study(small_study(folder, arms, **base)), Places(folder / "out")
    places.jobs.mkdir(parents=True)
    places.plugins.write_text(json.dumps({"no_plugins": WITHOUT_PICTURES}))
    write_recipes(study, places)
    return places


def told(places: Places, name: str) -> dict[str, Any]:
    return dict(json.loads(places.told(name).read_text()))


def test_a_run_that_could_not_start_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = placed(tmp_path, {"a": {"data.root": str(tmp_path / "nowhere")}})
    assert work(places, "a-0") == 2
    said = told(places, "a-0")
    assert said["status"] == "failed"
    assert str(tmp_path / "nowhere") in said["error"]
    assert said["pid"] == os.getpid()
    assert capsys.readouterr().err == f"error: {said['error']}\n"
    assert not places.run("a-0").exists()


@pytest.mark.slow
def test_a_run_that_broke_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin, flag = write_breaking_plugin(tmp_path)
    breaks = {"plugins": [plugin], "method": {"name": "breaks"}}
    places = placed(tmp_path, {"a": breaks, "b": {**breaks, "eval.batch_size": 8}})
    assert work(places, "a-0") == 1
    assert (told(places, "a-0")["status"], told(places, "a-0")["error"]) == ("failed", "ValueError: it broke")
    assert "Traceback" in capsys.readouterr().err
    flag.unlink()
    for name in ("a-0", "b-0"):  # b is the same run, undisturbed
        assert work(places, name) == 0
        assert told(places, name)["status"] == "finished"
    record = json.loads((places.run("a-0") / "run.json").read_text())
    assert (record["status"], len(record["resumed"])) == ("finished", 1)
    assert learned(lines(places.run("a-0"), "step")) == learned(lines(places.run("b-0"), "step"))
    kept = (places.run("a-0") / "metrics.jsonl").read_bytes()
    assert work(places, "a-0") == 0  # once more changes nothing
    assert (places.run("a-0") / "metrics.jsonl").read_bytes() == kept


def test_a_folder_that_a_kill_left_before_anything_was_written_is_no_hindrance(tmp_path: Path) -> None:
    places = placed(tmp_path, {"a": {"runtime.max_steps": 1}})
    (places.run("a-0") / "checkpoints").mkdir(parents=True)
    assert work(places, "a-0") == 0
    assert told(places, "a-0")["status"] == "finished"


def test_two_of_the_same_run_wait_for_each_other(tmp_path: Path) -> None:
    entered, lock = threading.Event(), tmp_path / ".a-0.lock"

    def second() -> None:
        with one_at_a_time(lock):
            entered.set()

    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set()


CHILD = """\
import os, time
from sslkit.ablation.worker import end_with
end_with(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_it_ends_with_its_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        assert wait_for_the_end(child, 10.0)


def wait_for_the_end(pid: int, seconds: float) -> bool:
    """Whether a process is gone, or dead and not yet collected, within some time."""
    end = time.monotonic() + seconds
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state in "ZX":
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)
