"""What plugins may build on: the page that lists it, the pages on Python, and the code that keeps to it.

The tests of the plugins are left out: they belong to this repository and may look inside.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import PAGES, TOP, Block, blocks, name_of, place

import sslkit
from sslkit import hookspecs
from sslkit.scaffold.kinds import KINDS
from sslkit.scaffold.rendering import Plan

LIST = TOP / "docs" / "api_stability.md"
ROWS = [line for line in LIST.read_text("utf-8").splitlines() if line.startswith("| ")]
PUBLIC = sorted({name for row in ROWS for name in re.findall(r"`(sslkit(?:\.\w+)+)`", row)})
API = re.compile(r"<!-- api: (\S+) ([\w ]+) -->")
PLUGINS = TOP / "plugins"
SOURCES = [*PLUGINS.glob("*.py"), *PLUGINS.glob("*/src/**/*.py"), *PLUGINS.glob("*/docs/*.py")]


def is_public(name: str) -> bool:
    """Whether the page lists it, or a module or package that it is in."""
    whole = any(name == listed or name.startswith(f"{listed}.") for listed in PUBLIC)
    return whole and not re.search(r"\._(?!_version__$)", name)


def uses(source: str) -> Iterator[str]:
    """What a file takes from sslkit, by import or as an attribute of `sslkit`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and re.match(r"sslkit(\.|$)", node.module or ""):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("sslkit."))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sslkit":
            yield f"sslkit.{node.attr}"


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_plugins_use_only_what_is_public(file: Path) -> None:
    assert not [name for name in uses(file.read_text("utf-8")) if not is_public(name)]


@pytest.mark.parametrize("block", [b for page in PAGES for b in blocks(page, "python", "py")], ids=place)
def test_the_code_of_the_docs_uses_only_what_is_public(block: Block) -> None:
    assert not [name for name in uses(block.text) if not is_public(name)]


@pytest.mark.parametrize("single_file", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_new_plugins_and_their_tests_use_only_what_is_public(kind: str, single_file: bool) -> None:
    texts = Plan(kind, "probe", single_file).files()
    used = [name for file, text in texts.items() if file.endswith(".py") for name in uses(text)]
    assert used
    assert not [name for name in used if not is_public(name)]


def test_other_uses_would_be_found() -> None:
    source = (
        "import sslkit, sslkit.session\nfrom sslkit import plugins as p\nsslkit.core._x, sslkit.train.loop"
    )
    assert [name for name in uses(source) if not is_public(name)] == [
        *("sslkit.session", "sslkit.plugins", "sslkit.train")
    ]
    assert not is_public("sslkit.core.method._x")
    assert not is_public("sslkit.eval.knn")
    assert sum(1 for file in SOURCES for _ in uses(file.read_text("utf-8"))) > 50


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_there(name: str) -> None:
    home, _, own = name.rpartition(".")
    assert hasattr(importlib.import_module(home), own) or importlib.import_module(name)


def test_all_of_import_sslkit_is_public() -> None:
    assert {f"sslkit.{name}" for name in sslkit.__all__} <= set(PUBLIC)


# --- the pages on Python -----------------------------------------------------------------------------------

DOCUMENTED = {
    f"{found[1]}.{name}"
    for page in (TOP / "docs" / "api").glob("*.md")
    for found in API.finditer(page.read_text("utf-8"))
    for name in found[2].split()
}


def test_the_pages_on_python_have_what_is_public_and_nothing_else() -> None:
    offered = {f"{sslkit._HOME_OF[name]}.{name}" for name in sslkit._HOME_OF}
    assert not [name for name in DOCUMENTED if not is_public(name) and name not in offered]
    inside = {
        name for name in PUBLIC if name.count(".") > 1 or name.removeprefix("sslkit.") not in sslkit.__all__
    }
    assert not [
        name for name in inside if not any(f"{found}.".startswith(f"{name}.") for found in DOCUMENTED)
    ]


# --- hooks -------------------------------------------------------------------------------------------------

HOOKS = {name for name in vars(hookspecs) if name.startswith("sslkit_")}


def test_every_hook_is_used_by_a_plugin_of_the_repository() -> None:
    assert {hook for file in SOURCES for hook in implemented(file)} == HOOKS


def implemented(file: Path) -> set[str]:
    """The hooks that a file answers."""
    return {
        node.name
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and "hookimpl" in map(ast.unparse, node.decorator_list)
    }
