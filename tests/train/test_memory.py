"""What a run says of its memory, whatever way it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import make_photos, tiny_recipe

import sslkit
from sslkit.errors import RunError
from sslkit.train.memory import STATUS, peak_memory

CPU = torch.device("cpu")


HELD_AND_GIVEN_BACK = """
import torch
from sslkit.train.memory import peak_memory
cpu = torch.device("cpu")
before = peak_memory(cpu)["process"]
held = torch.ones(200 * 2**18)  # 200 MiB
del held
after = peak_memory(cpu)
print(after["process"] - before, after["device"])
"""


def test_the_peak_stays_when_memory_is_given_back() -> None:
    """In a process of its own: one that has held more before has room below its peak."""
    done = subprocess.run(
        [sys.executable, "-c", HELD_AND_GIVEN_BACK], capture_output=True, text=True, check=True
    )
    grown, device = done.stdout.split()
    assert 150 < float(grown) < 300
    assert device == "None"


def test_the_larger_of_two_parts_of_a_run_stays() -> None:
    assert peak_memory(CPU, {"process": 1e9, "device": 7.0}) == {"process": 1e9, "device": 7.0}
    assert peak_memory(CPU, {"process": 1.0, "device": None}).keys() == {"process", "device"}
    assert (peak_memory(CPU, {"process": 1.0, "device": None})["process"] or 0) > 20


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.is_file(), reason="only Linux passes a peak on to a new process")
def test_the_memory_of_who_started_it_is_not_its_own() -> None:
    code = (
        "import subprocess, sys; x = bytearray(1200 * 2**20); "
        "subprocess.run([sys.executable, '-c', 'import torch; from sslkit.train.memory import peak_memory; "
        'print(peak_memory(torch.device("cpu"))["process"])\'], check=True)'
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1000


STOPS_AT_3 = """
import json
from dataclasses import dataclass
from sslkit import Tracker, hookimpl

@dataclass
class Config:
    pass

class Stops(Tracker):
    Config = Config

    def __init__(self, config, run_dir, name):
        self.record = run_dir / "run.json"

    def log(self, record):
        if record.get("step") == 3:
            raise KeyboardInterrupt(json.loads(self.record.read_text())["peak_memory_mib"])

@hookimpl
def sslkit_trackers():
    return {"stops": Stops}
"""


@pytest.mark.slow
def test_it_is_written_with_each_checkpoint_and_a_resume_keeps_the_larger(tmp_path: Path) -> None:
    recipe = tiny_recipe(make_photos(tmp_path / "photos"), checkpoint={"every_steps": 2})
    (tmp_path / "stops.py").write_text(STOPS_AT_3)
    with pytest.raises(KeyboardInterrupt) as error:
        sslkit.run(
            recipe, ["trackers=[stops]"], plugins=[str(tmp_path / "stops.py")], out=tmp_path / "a", quiet=True
        )
    at_checkpoint = error.value.args[0]["process"]
    record = json.loads((tmp_path / "a/run.json").read_text())
    assert record["status"] == "stopped"
    assert 20 < at_checkpoint <= record["peak_memory_mib"]["process"]
    record["peak_memory_mib"]["process"] = 1e9
    (tmp_path / "a/run.json").write_text(json.dumps(record))
    sslkit.run(recipe, out=tmp_path / "a", quiet=True, resume=True)
    record = json.loads((tmp_path / "a/run.json").read_text())
    assert record["status"] == "finished"
    assert record["peak_memory_mib"] == {"process": 1e9, "device": None}


@pytest.mark.slow
def test_a_run_that_fails_has_it_too(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        make_photos(tmp_path / "photos"), optim={"lr": 1e38}, checkpoint={"every_epochs": None}
    )
    with pytest.raises(RunError):
        sslkit.run(recipe, ["checkpoint.every_steps=null"], out=tmp_path / "a", quiet=True)
    record = json.loads((tmp_path / "a/run.json").read_text())
    assert record["status"] == "failed"
    assert record["peak_memory_mib"]["process"] > 20
