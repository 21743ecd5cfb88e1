"""The house rules: formatting, types, imports that point down, and docs that name everything."""

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent


def tool(*words: str) -> subprocess.CompletedProcess[str]:
    binary = Path(sys.executable).with_name(words[0])
    return subprocess.run([binary, *words[1:]], cwd=TOP, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("lint-imports",),
        pytest.param(("mypy",), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_the_tool_finds_nothing(words: tuple[str, ...]) -> None:
    done = tool(*words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "docs/make_reference.py", "--check"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rooms_have_empty_inits() -> None:
    filled = [p for p in (TOP / "sslkit").glob("*/__init__.py") if p.read_text().strip()]
    assert not filled


def test_the_version_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import tomllib

    import sslkit

    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert sslkit.__version__ == project["version"]
    assert f"## {project['version']}" in (TOP / "CHANGELOG.md").read_text()
