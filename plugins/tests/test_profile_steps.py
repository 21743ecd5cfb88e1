"""The one-file plugin profile_steps.py on real, tiny runs."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.autograd.profiler_util import FunctionEvent

import sslkit

DeviceType: Any = torch.autograd.DeviceType  # type: ignore[attr-defined]
FILE = Path(__file__).parent.parent / "profile_steps.py"
PAGE = FILE.parent.parent / "docs" / "hooks.md"
BARE = ("report.page", "report.crops", "report.attention", "report.curves")
"""What draws pictures, which nobody looks at here."""


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_PROFILE_STEPS", "2")
    monkeypatch.setenv("SSLKIT_PROFILE_AFTER", "3")


def recipe(folder: Path, **runtime: Any) -> dict[str, Any]:
    """SimCLR on 24 images of noise, 6 steps an epoch."""
    rng = np.random.default_rng(0)
    for number in range(32):
        folder.joinpath("photos").mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{number:02d}.png")
    return {
        "sslkit": 1,
        "name": "tiny",
        "method": {"name": "simclr", "hidden_dim": 8, "out_dim": 8},
        "backbone": {"name": "vit_pocket"},
        "augment": {"name": "multicrop", "global_size": 16, "local_count": 0},
        "data": {"name": "folder", "root": str(folder / "photos"), "labels": "none", "workers": 0},
        "optim": {"batch_size": 4, "epochs": 2, "warmup_epochs": 0},
        "runtime": {"threads": 1, **runtime},
        "checkpoint": {"every_epochs": None},
        "eval": {"resize": 16, "crop": 16, "every_epochs": None, "evaluators": {"knn": None}},
    }


def run(folder: Path, *plugins: Path, **runtime: Any) -> Path:
    out = folder / "run"
    files = list(map(str, plugins or (FILE,)))
    sslkit.run(recipe(folder, **runtime), plugins=files, no_plugins=BARE, out=out, quiet=True)
    return out / "profile"


def test_it_says_where_the_time_of_a_step_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = run(tmp_path)
    assert sorted(path.name for path in profile.iterdir()) == ["steps-4-5.json.gz", "steps-4-5.md"]
    page = (profile / "steps-4-5.md").read_text()
    assert re.match(r"# steps-4-5\n2 steps of \d+\.\d ms \(\d+\.\d ms before\): views and forward \d+%", page)
    assert re.search(r"^ +aten::addmm( +\d+\.\d+%| +\d+\.\d+[mu]?s| +\d+)+ *$", page, re.MULTILINE)
    shares = [int(share) for share in re.findall(r"(\d+)%", page.splitlines()[1])]
    assert sum(shares) == pytest.approx(100, abs=2)
    assert len(shares) == 4
    assert min(shares[0], shares[2]) > 0  # forward, backward
    events = json.loads(gzip.decompress((profile / "steps-4-5.json.gz").read_bytes()))["traceEvents"]
    assert [e["name"] for e in events if e["name"].startswith("Optimizer.step")] == 2 * [
        "Optimizer.step#AdamW.step"
    ]
    told = capsys.readouterr().out
    assert told == f"  profile   {page.splitlines()[1]} · {profile}/steps-4-5.md\n"


def test_a_run_that_ends_earlier_gives_fewer_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its end is in the middle of what was asked for, and what comes after its last step is left out."""
    profile = run(tmp_path, max_steps=4)
    assert sorted(path.name for path in profile.iterdir()) == ["steps-4-4.json.gz", "steps-4-4.md"]
    assert capsys.readouterr().out.startswith("  profile   1 of 2 steps of ")
    events = json.loads(gzip.decompress((profile / "steps-4-4.json.gz").read_bytes()))["traceEvents"]
    steps = [e for e in events if e.get("cat") == "user_annotation" and "ProfilerStep" in e["name"]]
    assert len(steps) == 1


@pytest.mark.parametrize("last", [2, 3])
def test_a_run_that_is_too_short_says_so(
    last: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = run(tmp_path, max_steps=last)
    assert not profile.exists()
    told = f"  profile   nothing, {last} steps were too few: set SSLKIT_PROFILE_AFTER lower\n"
    assert capsys.readouterr().out == told


STOPPER = """
import os, signal
from sslkit import hookimpl

@hookimpl
def sslkit_step_finished(progress, output):
    if progress.step == {last}:
        os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_stop_in_the_middle_keeps_the_steps_so_far(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKIT_PROFILE_STEPS", "5")
    (tmp_path / "stopper.py").write_text(STOPPER.format(last=3))
    profile = run(tmp_path, FILE, tmp_path / "stopper.py")
    assert json.loads((profile.parent / "run.json").read_text())["status"] == "stopped"
    assert [path.name for path in profile.glob("*.md")] == ["steps-4-5.md"]
    told = capsys.readouterr().out
    assert told.startswith("  profile   2 of 5 steps of ")
    assert sum(int(share) for share in re.findall(r"(\d+)%", told)) == pytest.approx(100, abs=2)


def test_a_stop_before_the_first_step_of_them_keeps_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stopper.py").write_text(STOPPER.format(last=1))
    profile = run(tmp_path, FILE, tmp_path / "stopper.py")
    assert json.loads((profile.parent / "run.json").read_text())["status"] == "stopped"
    assert capsys.readouterr().out.startswith("  profile   nothing, 3 steps were too few")


def test_an_impossible_setting_ends_the_profile_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKIT_PROFILE_AFTER", "0")
    with pytest.warns(RuntimeWarning, match="SSLKIT_PROFILE_AFTER is '0', but must be a number of steps"):
        profile = run(tmp_path, max_steps=2)
    assert json.loads((profile.parent / "run.json").read_text())["status"] == "finished"


# --- the parts ---------------------------------------------------------------------------------------------


def load() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "profile_steps"}
    exec(compile(FILE.read_text(), str(FILE), "exec"), names)
    return names


def event(name: str, start: int, end: int, parent: Any = None, device: Any = DeviceType.CPU) -> FunctionEvent:
    made = FunctionEvent(start, name, 1, start, end, device_type=device)
    made.cpu_parent = parent
    return made


def test_parts_are_shares_of_the_steps() -> None:
    step = event("ProfilerStep*", 1000, 2000)
    data = event("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", 1000, 1100, step)
    backward = event("autograd::engine::evaluate_function: MulBackward0", 1500, 1800, step)
    inside = event("autograd::engine::evaluate_function: inner", 1600, 1700, backward)
    optimiser = event("Optimizer.step#AdamW.step", 1800, 1900, step)
    later = event("autograd::engine::evaluate_function: MulBackward0", 2100, 2500)
    shares = load()["parts"]([step, data, backward, inside, optimiser, later], 0.001)
    wanted = {"views and forward": 0.5, "data": 0.1, "backward": 0.3, "optimiser": 0.1}
    assert shares == pytest.approx(wanted)


def test_a_gpu_is_at_work_while_its_kernels_run() -> None:
    step = event("ProfilerStep*", 0, 1000)
    backward = event(
        "autograd::engine::evaluate_function: MulBackward0", 500, 900
    )  # in autograd's own thread
    kernels = [event("gemm", at, at + 200, device=DeviceType.CUDA) for at in (100, 600)]
    noted = event("Optimizer.step#AdamW.step", 0, 900, device=DeviceType.CUDA)
    noted.is_user_annotation = True
    shares = load()["parts"]([step, backward, *kernels, noted], 0.001)
    wanted = {"views and forward": 0.6, "data": 0.0, "backward": 0.4, "optimiser": 0.0, "GPU at work": 0.4}
    assert shares == pytest.approx(wanted)


# --- docs/hooks.md -----------------------------------------------------------------------------------------


def test_the_page_shows_the_file_itself() -> None:
    assert f"```python\n{FILE.read_text('utf-8')}```" in PAGE.read_text("utf-8")


def test_the_first_example_of_the_page_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "loss.py").write_text(example)
    run(tmp_path, tmp_path / "loss.py", max_steps=2)
    assert re.fullmatch(r"step 0: loss \d\.\d{3}\n", capsys.readouterr().out)
