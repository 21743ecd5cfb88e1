"""What docs/plugins.md says that a user sees when a plugin is wrong is what the user sees."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from runs import make_photos, sslkit, tiny_recipe
from test_plugins import HEAD, Site, method_source

PAGE = Path(__file__).parents[1] / "docs/plugins.md"
SHOWN = dict(re.findall(r"<!-- shown: (\w+) -->\n```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
PACKAGE = "sslkit-theirmethod"


def a_file(source: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "theirs.py").write_text(source)


def a_package(version: str, source: str) -> Callable[[Path], object]:
    def install(folder: Path) -> None:
        (folder / "site").mkdir()
        Site(folder / "site").install(PACKAGE, version, source, entry="theirs")

    return install


def a_recipe(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "recipe.yaml").write_text(f"sslkit: 1\n{text}\n")


DEMANDING = a_recipe(f'plugins: ["{PACKAGE}>=0.1,<1"]')


def a_tiny_run(folder: Path) -> None:
    recipe = tiny_recipe(make_photos(folder / "photos"), runtime={"max_steps": 2})
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))


LEAVING = """
import pluggy
from sslkit import hookspecs

goes = DeprecationWarning("sslkit_heard goes in 0.3: implement sslkit_run_finished")
hookspecs.sslkit_heard = pluggy.HookspecMarker(hookspecs.PROJECT)(warn_on_impl=goes)(lambda text: None)
"""
"""Stands for a version of sslkit in which a hook is going away: none is in this one."""
WATCHER = f"{HEAD}\n@hookimpl\ndef sslkit_step_finished(progress):\n    raise ValueError('cannot watch')\n"
CASES: dict[str, list[Callable[[Path], object]]] = {
    "missing": [DEMANDING],
    "version": [DEMANDING, a_package("1.2", method_source("theirs"))],
    "api": [a_file(method_source("theirs") + 'SSLKIT_API = "2"\n')],
    "import": [a_file("import not_there\n")],
    "installed": [a_package("0.1", "import not_there\n")],
    "hook": [a_file(f"{HEAD}@hookimpl\ndef sslkit_method():\n    return {{}}\n")],
    "conflict": [a_file(method_source("dino")), a_recipe("method:\n  name: dino")],
    "allow": [a_file(method_source("theirs"))],
    "stranger": [a_file("raise SystemExit('it was executed')\n"), a_recipe("plugins: [./theirs.py]")],
    "watch": [a_file(WATCHER), a_tiny_run],
    "leaving": [
        a_package("0.1", LEAVING),
        a_file(f"{HEAD}\n@hookimpl\ndef sslkit_heard(text):\n    pass\n"),
    ],
}


def test_every_case_of_the_page_is_tried() -> None:
    assert sorted(SHOWN) == sorted(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_page_shows_what_is_seen(case: str, tmp_path: Path) -> None:
    for prepare in CASES[case]:
        prepare(tmp_path)
    command, wanted = SHOWN[case].removeprefix("$ ").split("\n", 1)
    words = shlex.split(command)
    environment = dict(word.split("=", 1) for word in words[: words.index("sslkit")])
    environment |= {"PYTHONPATH": str(tmp_path / "site")} if (tmp_path / "site").is_dir() else {}
    environment.setdefault("SSLKIT_PLUGINS_ALLOW", f"{PACKAGE},theirs.py")
    done = sslkit(*words[words.index("sslkit") + 1 :], cwd=tmp_path, **environment)
    assert done.returncode == (2 if wanted.startswith("error") else 0), done.stderr
    assert wanted in done.stderr.replace(f"{tmp_path}/", "")
