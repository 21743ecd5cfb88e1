"""The tutorial, literally: its files and commands in order in an empty folder, and what it says they tell."""

import json
import os
import re
import resource
import shlex
import subprocess
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pages import TOP, Block, blocks

TUTORIAL = TOP / "docs/tutorial.md"
PLUGIN = TOP / "plugins/sslkit-simsiam"
NETWORK = "# needs the network"
SCRIPTS = ("sslkit", "pip", "pytest")


@dataclass(frozen=True)
class Command:
    """What stands behind one prompt."""

    line: int
    text: str
    shown: tuple[str, ...]
    """What it prints according to the page; `…` stands for anything."""

    @property
    def needs_network(self) -> bool:
        return self.text.endswith(NETWORK)


def commands(block: Block) -> Iterator[Command]:
    lines = block.text.replace("\\\n", " ").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    for start, stop in zip(starts, [*starts[1:], None], strict=True):
        yield Command(block.line + start, lines[start][2:], tuple(lines[start + 1 : stop]))


STEPS: list[Block | Command] = []
"""Files to write and commands to run, in the page's order."""
for block in blocks(TUTORIAL):
    STEPS += [block] if block.title else commands(block)
COMMANDS = [step for step in STEPS if isinstance(step, Command)]
FILES = {step.title: step.text for step in STEPS if isinstance(step, Block)}


def test_the_plugin_is_the_tutorials() -> None:
    assert FILES["simsiam.py"] == (PLUGIN / "src/sslkit_simsiam/__init__.py").read_text()
    assert FILES["sslkit-simsiam/tests/test_simsiam.py"] == (PLUGIN / "tests/test_simsiam.py").read_text()


def test_the_interface_makes_it_short() -> None:
    assert len(FILES["simsiam.py"].splitlines()) < 60


def test_its_commands_go_all_the_way() -> None:
    told = [command.text for command in COMMANDS]
    for words in (
        "sslkit new",
        "sslkit check",
        "sslkit run",
        "sslkit compare",
        "pip install",
        "sslkit plugins",
        "sslkit check sslkit-simsiam",
    ):
        assert any(text.startswith(words) for text in told), words


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.needs_network], ids=lambda c: str(c.text))
def test_a_command_that_needs_the_network_is_valid_shell(command: Command) -> None:
    assert shlex.split(command.text, comments=True)
    pytest.skip("it needs the network, so it is not run")


# --- an environment in which nothing of ours but sslkit is installed ---------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which commands run in a new virtual environment that sees this one's packages.

    All but plugins of sslkit: links to everything else, so that pip can install and remove one.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(with_pip=False).create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    for there in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(there).iterdir():
            if "sslkit_" not in path.name.removesuffix("_sslkit.pth"):
                (site / path.name).symlink_to(path)
    for name in SCRIPTS:
        write_script(folder / "bin" / name)
    ours = {k: v for k, v in os.environ.items() if k not in ("SSLKIT_PLUGINS_ALLOW", "PYTHONPATH")}
    search = os.pathsep.join([str(folder / "bin"), ours["PATH"]])
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**ours, **offline, "PATH": search, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}


def write_script(path: Path) -> None:
    """What pip writes for a console script."""
    module, _, function = entry_points(group="console_scripts")[path.name].value.partition(":")
    python = path.with_name("python")
    path.write_text(f"#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    path.chmod(0o755)


# --- following it ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_following_it_literally(
    tmp_path: Path,
    environment: dict[str, str],
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    started = time.monotonic()
    for step in STEPS:
        if isinstance(step, Block):
            assert step.title is not None
            (tmp_path / step.title).write_text(step.text)
        elif not step.needs_network:
            follow(step, tmp_path, environment)
    seconds = time.monotonic() - started
    record_property("seconds", round(seconds))
    with capsys.disabled():
        print(f"\nall commands of {TUTORIAL.name} took {seconds / 60:.1f} min")
    ended = sorted((tmp_path / "runs").iterdir())
    assert [path.name for path in ended] == ["dino", "packaged", "simsiam"]
    assert all(status(path) == "finished" for path in ended)
    assert (tmp_path / "runs/simsiam/plugins/simsiam.py").read_text() == FILES["simsiam.py"]
    assert not (tmp_path / "runs/packaged/plugins").exists()


def status(run_dir: Path) -> str:
    return str(json.loads((run_dir / "run.json").read_text())["status"])


def follow(command: Command, folder: Path, environment: dict[str, str]) -> None:
    started, worked = time.monotonic(), computed()
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"{time.monotonic() - started:6.1f} s, CPU {computed() - worked:6.1f} s  {command.text}")
    told = f"{TUTORIAL.name}, line {command.line}: {command.text}\n{done.stdout}"
    fails = any(line.startswith("error:") for line in command.shown)
    assert done.returncode == (2 if fails else 0), told
    missing = missing_line(command.shown, done.stdout)
    assert missing is None, f"the page shows {missing!r}, which is not printed there\n{told}"


def computed() -> float:
    """CPU seconds of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def missing_line(shown: tuple[str, ...], printed: str) -> str | None:
    """The first shown line that is not printed, or not after the one before it."""
    rest = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in shown:
        pieces = [re.escape(" ".join(piece.split())) for piece in line.split("…")]
        pattern = re.compile(r"\s?.*?\s?".join(pieces))
        if any(pieces) and not any(pattern.fullmatch(candidate) for candidate in rest):
            return line
    return None


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        (("a", "…", "b 1 s"), None),
        (("a", "b … s"), None),
        (("  c…",), None),
        (("b", "a"), "b"),
        (("a", "b 2 s"), "b 2 s"),
        (("c",), "c"),
        (("b 1 s", "a"), "a"),
    ],
)
def test_a_line_that_is_not_printed_would_be_found(shown: tuple[str, ...], missing: str | None) -> None:
    assert missing_line(shown, "a\nx\nb  1 s\nc and more\n") == missing
