"""The script that runs the README's test command, on a small repository in place of this one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pages import TOP

FILES = ("pyproject.toml", "constraints.txt", "plugins/requirements.txt", "plugins/a/pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository whose test command finds the environment busy if another one is in it."""
    top = tmp_path / "checkout"
    for name in FILES:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("")
    (top / ".ci").mkdir()
    shutil.copy(TOP / ".ci" / "run", top / ".ci")
    test = "mkdir .venv/busy && sleep 1 && rmdir .venv/busy  # pytest"
    (top / "README.md").write_text(f"python3 -m venv --without-pip .venv && {test}\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "a"]):
        subprocess.run(["git", *words], cwd=top, check=True)
    (tmp_path / "bin").mkdir()
    shutil.copy(shutil.which("true") or "", tmp_path / "bin" / "chromium")  # else one would be installed
    return top


def start(checkout: Path) -> subprocess.Popen[str]:
    own = {"SSLKIT_CI_CACHE": str(checkout.parent / "cache"), "TMPDIR": str(checkout.parent)}
    path = {"PATH": f"{checkout.parent / 'bin'}:{os.environ['PATH']}"}
    out = subprocess.PIPE
    return subprocess.Popen(
        [checkout / ".ci" / "run"],
        env=os.environ | own | path,
        stdout=out,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(running: subprocess.Popen[str]) -> str:
    told, _ = running.communicate(timeout=120)
    assert running.returncode == 0, told
    return told


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock, which goes without a lock otherwise")
def test_two_runs_that_share_an_environment_take_turns(checkout: Path) -> None:
    for running in [start(checkout), start(checkout)]:
        finished(running)


def test_an_environment_that_was_left_half_installed_is_made_anew(checkout: Path) -> None:
    finished(start(checkout))
    [packages] = (checkout.parent / "cache").glob("*/lib/python3*/site-packages")
    whole, half = (packages / f"{name}-1.0.dist-info" for name in ("whole", "half"))
    whole.mkdir()
    (whole / "INSTALLER").write_text("")
    finished(start(checkout))
    assert whole.is_dir()
    half.mkdir()
    finished(start(checkout))
    assert packages.is_dir()
    assert not half.exists()
