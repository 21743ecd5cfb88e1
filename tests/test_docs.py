"""What the docs promise is there: pages, pictures, links, recipes and commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslkit.plugins import Registry
from sslkit.recipe.load import load_recipe, packed_recipes

TOP = Path(__file__).parent.parent
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
METHODS = sorted(Registry.load(allow="").names("methods"))
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return page.relative_to(TOP).as_posix()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page_with_its_picture(method: str) -> None:
    page = (TOP / f"docs/methods/{method}.md").read_text()
    assert re.search(rf"^!\[.{{40,}}\]\(\.\./images/methods/{method}\.png\)$", page, re.MULTILINE)
    assert f"<!-- ours: {method} -->" in page
    assert f"(methods/{method}.md)" in (TOP / "docs/methods.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(CODE.sub("", page.read_text())) if "://" not in link]
    dead = [link for link in links if not _is_there(page, link)]
    assert not dead


def _is_there(page: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (page.parent / file) if file else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """GitHub's names for a page's headings."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands(page: Path) -> Iterator[list[str]]:
    """The words after each `sslkit run`; remarks stand two blanks or more behind."""
    for command in re.findall(r"sslkit run (\S.*)", page.read_text()):
        yield shlex.split(re.split(r"\s{2,}|\s#|[`);,]", command)[0])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_run_in_the_docs_names_a_packed_recipe(page: Path) -> None:
    names = [words[0].removeprefix("recipes/").removesuffix(".yaml") for words in _commands(page)]
    unknown = [name for name in names if name not in packed_recipes() and not name.startswith("runs/")]
    assert not unknown


@pytest.mark.parametrize("method", METHODS)
def test_the_commands_of_a_methods_page_are_valid(method: str) -> None:
    commands = list(_commands(TOP / f"docs/methods/{method}.md"))
    assert [method, "--variant", "imagenet", "data.root=DIR"] in commands or method == "dino"
    for recipe, *words in commands:
        variant = words[1] if words[:1] == ["--variant"] else None
        load_recipe(recipe, words[2:] if variant else words, variant=variant)
