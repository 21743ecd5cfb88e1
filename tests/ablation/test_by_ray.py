"""One study by two executors: the same numbers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ablation.studies import small_study, without_times

pytest.importorskip("ray")


def run_by(executor: str, study: Path) -> Any:
    """The study's record, less what is about time."""
    out = study.parent / executor
    words = ("ablate", str(study), "--executor", executor, "--jobs", "2", "--out", str(out))
    done = subprocess.run([sys.executable, "-m", "sslkit.cli", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return without_times(json.loads((out / "study.json").read_text()))


@pytest.mark.slow
def test_a_study_by_ray_gives_the_numbers_of_one_on_this_machine(tmp_path: Path) -> None:
    study = small_study(tmp_path, {"sharp": {"method.teacher_temperature": 0.02}}, seeds=(0, 1))
    here, by_ray = run_by("local", study), run_by("ray", study)
    assert here["complete"]
    assert by_ray == here
