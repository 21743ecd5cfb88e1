"""Real processes and real signals: kill -9, SIGTERM, Ctrl-C, torchrun, one-file plugins, exit codes."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import METHODS, command, learned, lines, make_photos, sslkit, tiny_recipe, tiny_recipe_of

from sslkit import run
from sslkit.plugins import Registry
from sslkit.testing import check_method

TOP = Path(__file__).parent.parent
SIMSIAM = (TOP / "plugins/sslkit-simsiam/src/sslkit_simsiam/__init__.py").read_text()
"""The method of the tutorial, which a test holds the plugin to."""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write(tmp_path, tiny_recipe(make_photos(tmp_path / "photos")))


def write(folder: Path, recipe: dict[str, Any]) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def digest(run_dir: Path) -> str:
    return hashlib.sha256((run_dir / "backbone.safetensors").read_bytes()).hexdigest()


def start(*words: str | Path, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(*words), cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_step(run_dir: Path, step: int, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (run_dir / "metrics.jsonl").is_file():
            steps = (run_dir / "metrics.jsonl").read_text().count('"kind": "step"')
            if steps >= step:
                return
        time.sleep(0.02)
    pytest.fail(f"{run_dir} did not reach step {step}")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_kill_minus_nine_at_any_moment_changes_nothing(tmp_path: Path, method: str) -> None:
    recipe = write(tmp_path, tiny_recipe_of(method, make_photos(tmp_path / "photos")))
    run(recipe, quiet=True, out=tmp_path / "whole")
    moments, steps = random.Random(method), len(lines(tmp_path / "whole", "step"))
    for number in range(2 if method == "dino" else 1):
        run_dir = tmp_path / f"killed{number}"
        process = start("run", recipe, "--out", run_dir, cwd=tmp_path)
        try:  # the first time there is a checkpoint by then
            wait_for_step(run_dir, moments.randint(1 if number else 3, steps - 1))
            time.sleep(moments.random() * 0.2)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL  # and had not ended before
        done = sslkit("run", recipe, "--out", run_dir, "--resume", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert digest(run_dir) == digest(tmp_path / "whole")
        assert learned(lines(run_dir, "step")) == learned(lines(tmp_path / "whole", "step"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_with_a_checkpoint_and_the_line_to_go_on(
    recipe: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    words = ["run", str(recipe), "data.workers=1", "optim.epochs=40", "checkpoint.every_epochs=null"]
    words += ["checkpoint.every_steps=1000", "eval.every_epochs=null"]
    process = start(*words, "--out", "a", cwd=tmp_path)
    try:
        wait_for_step(tmp_path / "a", 3)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, printed
    assert "sslkit run a --resume" in printed
    assert "Traceback" not in printed
    record = json.loads((tmp_path / "a/run.json").read_text())
    assert record["status"] == "stopped"
    newest = sorted((tmp_path / "a/checkpoints").iterdir())[-1]
    assert int(newest.name[5:]) == record["step"] == lines(tmp_path / "a", "step")[-1]["step"]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["vit", "conv"])
def test_two_processes_are_one(tmp_path: Path, network: str) -> None:
    content = tiny_recipe(make_photos(tmp_path / "photos"))
    if network == "conv":  # with batch norm
        content["backbone"] = {"name": "conv_pocket", "args": {"output_stride": 8}}
    recipe = write(tmp_path, content)
    no_draws = "backbone.drop_path_rate=0"  # drop path differs by rank on purpose
    done = sslkit("run", recipe, no_draws, "--out", "one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["-m", "sslkit.cli", "run", str(recipe), no_draws, "--out", "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    one, two = (lines(tmp_path / name, "step") for name in ("one", "two"))
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4), a["step"]
        assert b["center_norm"] == pytest.approx(a["center_norm"], rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_a_method_in_one_file_outside_the_tree_runs_and_is_kept_with_the_run(
    recipe: Path, tmp_path: Path
) -> None:
    assert len(SIMSIAM.splitlines()) < 60
    (tmp_path / "simsiam.py").write_text(SIMSIAM)
    words = ["run", str(recipe), "--plugin", "simsiam.py", "method.name=simsiam"]
    done = sslkit(*words, "--out", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "simsiam.py").unlink()  # what was run is in the run directory
    done = sslkit("run", "a", "--resume", "optim.epochs=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plugins = json.loads((tmp_path / "a/run.json").read_text())["plugins"]
    assert [p for p in plugins if p["sha256"]]
    assert (tmp_path / "a/plugins/simsiam.py").read_text() == SIMSIAM


def test_the_method_of_the_tutorial_conforms(tmp_path: Path) -> None:
    (tmp_path / "simsiam.py").write_text(SIMSIAM)
    cls = Registry.load([str(tmp_path / "simsiam.py")]).get("methods", "simsiam")
    check_method(cls, cls.Config(dim=16))


@pytest.mark.parametrize(
    ("change", "override", "expected"),
    [
        ({"metod": {"name": "dino"}}, "", ["metod", "did you mean 'method'"]),
        ({}, "optim.lr=fast", ["optim.lr", "fast"]),
        ({}, "method.out_dim=-1", ["method.out_dim", "-1"]),
        ({}, "augment.color_jiter.p=0", ["color_jiter", "did you mean 'augment.color_jitter", "grayscale"]),
        ({}, "method.name=dyno", ["dyno", "did you mean 'dino'"]),
        ({}, "backbone.name=vit_smal", ["vit_smal", "did you mean"]),
        ({}, "data.name=folde", ["folde", "did you mean 'folder'"]),
        ({"plugins": ["./missing.py"]}, "", ["missing.py", "does not exist"]),
    ],
)
def test_a_mistake_in_a_recipe_is_one_message(
    tmp_path: Path, change: dict[str, Any], override: str, expected: list[str]
) -> None:
    recipe = write(tmp_path, tiny_recipe(make_photos(tmp_path / "photos"), **change))
    done = sslkit("run", recipe, *([override] if override else []), cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    for words in expected:
        assert words in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_missing_recipe_names_the_packed_ones(tmp_path: Path) -> None:
    done = sslkit("run", "dino_poket", cwd=tmp_path)
    assert done.returncode == 2
    assert "dino_pocket" in done.stderr


def test_a_second_run_never_overwrites(recipe: Path, tmp_path: Path) -> None:
    words = ["run", str(recipe), "runtime.max_steps=1", "--out", "a"]
    assert sslkit(*words, cwd=tmp_path).returncode == 0
    done = sslkit(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "--resume" in done.stderr
