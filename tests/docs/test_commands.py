"""Every `sslkit` command in the docs is one: the real parser reads it, and its recipe or study resolves.

Where a page names a plugin of this repository that is not installed, what only that one knows is not asked.
"""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pages import PAGES, TOP, blocks, code_words, is_installed, name_of, plugins_on

from sslkit.ablation.study import read_study
from sslkit.ablation.words import read_seeds
from sslkit.catalog import show
from sslkit.cli import app
from sslkit.errors import PluginError, RecipeError
from sslkit.plugins import Registry
from sslkit.recipe.load import load_recipe, packed_recipes, packed_studies

COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
SHELL = ("", "bash", "sh", "console", "text")
START = re.compile(r"^\s*(\$ )?(\w+=\S+ )*(\S*/)?(?P<words>sslkit (?![\d…]).*)$")
"""A line that is a command, behind a prompt, variables or a folder; not the `sslkit 0.1.0` of an output."""
WITHIN = re.compile(rf"(?<![\w-])sslkit (?=({'|'.join(COMMANDS)}) )")
"""A command further on in a line, such as advice in an output; `torchrun ... -m sslkit.cli run ...` too."""
REMARK = re.compile(r"\s{2,}|\s#")


def commands_of_blocks(page: Path) -> Iterator[list[str]]:
    """The words behind `sslkit` of each command; a remark stands two blanks or a # behind it."""
    for block in blocks(page, *SHELL):
        for line in block.text.replace("\\\n", " ").replace("-m sslkit.cli ", "\n sslkit ").splitlines():
            for part in line.split(" && "):
                yield from _commands(part)


def _commands(line: str) -> Iterator[list[str]]:
    start = START.match(line)
    if start:
        line = start["words"]
    starts = [0] if start else []
    for at in dict.fromkeys([*starts, *(found.start() for found in WITHIN.finditer(line))]):
        yield shlex.split(REMARK.split(line[at:])[0])[1:]


def commands_in_text(page: Path) -> Iterator[list[str]]:
    for word in code_words(page):
        if word.startswith("sslkit "):
            yield shlex.split(word)[1:]


def found(words: list[str]) -> tuple[Any, str, list[str]]:
    """The command, its full name, and the words behind it; no command for `sslkit --help` and the like."""
    if words[0].startswith("-"):
        return None, "", []
    assert words[0] in COMMANDS, f"there is no command sslkit {words[0]}"
    command, below = COMMANDS[words[0]], getattr(COMMANDS[words[0]], "commands", {})
    if len(words) > 1 and words[1] in below:
        return below[words[1]], f"{words[0]} {words[1]}", words[2:]
    return command, words[0], words[1:]


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command's full name and its parameters; raises what the real command line would tell."""
    command, name, rest = found(words)
    return name, command.make_context(name, rest).params if command else {}


def check_in_text(words: list[str]) -> None:
    """In running text a command may lack what it needs: then its options exist, else all of it is valid."""
    command, name, rest = found(words)
    if rest and not rest[0].startswith("-"):
        check_meaning(*parsed(words))
    elif command:
        options = {opt for parameter in command.params for opt in parameter.opts} | {"-h", "--help"}
        unknown = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in options]
        assert not unknown, f"sslkit {name} has no {unknown}"


def check_meaning(name: str, given: dict[str, Any]) -> None:
    """That the recipe, study or component is there and takes the changes; a placeholder may be anything."""
    how: dict[str, Any] = {
        "plugins": list(given.get("plugin") or ()),
        "no_plugins": list(given.get("no_plugin") or ()),
    }
    if not all(Path(plugin).is_file() for plugin in how["plugins"]):
        return
    changes = list(given.get("overrides") or ())
    if name in ("run", "reproduce", "recipe") and is_a_recipe(given["recipe"]):
        load_recipe(given["recipe"], changes, variant=given["variant"], **how)
    elif name == "eval":
        load_recipe("dino_pocket", [*asked(given), *changes], variant="none", **how)
    elif name == "ablate" and given["study"] in packed_studies():
        read_seeds(given["seeds"] or "0")
        check_study(given["study"], tuple(changes), tuple(given["metric"] or ()))
    elif name == "plugins show" and "sslkit-" not in given["name"] and given["name"] != "NAME":
        assert show(Registry.load(), given["name"])


@cache
def check_study(study: str, changes: tuple[str, ...], metrics: tuple[str, ...]) -> None:
    read_study(study, changes, metrics=metrics)


def is_a_recipe(name: str) -> bool:
    return name in packed_recipes() or Path(name).is_file()


def asked(given: dict[str, Any]) -> list[str]:
    return [f"eval.evaluators.{name}={{}}" for name in given.get("on") or ()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that has the repository's recipes and plugins."""
    for name in ("recipes", "plugins"):
        (tmp_path / name).symlink_to(TOP / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_files(page: Path, folder: Path) -> None:
    """The files that a page gives names to."""
    titles = {block.title: block.text for block in blocks(page) if block.title is not None}
    for title, text in titles.items():
        (folder / title).parent.mkdir(parents=True, exist_ok=True)
        (folder / title).write_text(text)


WITH_COMMANDS = [page for page in PAGES if any(commands_of_blocks(page)) or any(commands_in_text(page))]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_the_commands_of_a_page_are_valid(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = sorted(plugins_on(page))
    write_files(page, folder)
    may_lack = () if all(map(is_installed, plugins)) else (PluginError, RecipeError)
    for words in commands_of_blocks(page):
        with_a_file = "--plugin" in words  # before it became the package of the same name
        monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", ",".join(["*.py", *([] if with_a_file else plugins)]))
        command = parsed(words)
        with suppress(*may_lack):
            check_meaning(*command)
    for words in commands_in_text(page):
        with suppress(*may_lack):
            check_in_text(words)


METHODS = sorted(Registry.load(allow="").names("methods"))


@pytest.mark.parametrize("method", METHODS)
def test_a_methods_page_has_the_command_of_its_paper(method: str) -> None:
    commands = list(commands_of_blocks(TOP / f"docs/methods/{method}.md"))
    assert ["run", method, "--variant", "imagenet", "data.root=DIR"] in commands or method == "dino"


@pytest.mark.parametrize(
    "line",
    [
        "sslkit run dino_pocket --no-such-option",
        "sslkit runn dino_pocket",
        "sslkit run dino_pocket method.no_such_key=1",
        "sslkit run dino_pocket --variant no_such_variant",
        "sslkit eval RUN --on no_such_evaluator",
        "sslkit ablate temperature --seeds x",
        "new: sslkit run dino_pocket augment.no_such_key=1   a remark",
        "torchrun --nproc-per-node 2 -m sslkit.cli run dino_pocket no.such=1",
    ],
)
def test_a_wrong_command_is_found(line: str, folder: Path) -> None:
    (command,) = _commands(line.replace("-m sslkit.cli ", "sslkit "))
    with pytest.raises(Exception, match=r"no.such|'no'|runn|'x'"):
        check_meaning(*parsed(command))
