"""The documentation as tests read it: pages, and the blocks, commands and links in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

TOP = Path(__file__).parent.parent
PAGES = [
    *sorted(TOP.glob("*.md")),
    *sorted((TOP / "docs").rglob("*.md")),
    *sorted((TOP / "plugins").glob("*/*.md")),
    *sorted((TOP / "plugins").glob("*/docs/**/*.md")),
]


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: Path
    line: int
    """Of its first line of code, from 1."""
    language: str
    title: str | None
    """Name of the file that it is said to be: by ```python title="my_method.py", or by the sentence before,
    "Here it is, as `my_method.py`:"."""
    text: str


def name_of(page: Path) -> str:
    """A page's path from the top of the repository."""
    return page.relative_to(TOP).as_posix()


def place(block: Block) -> str:
    """Where a block is, for a reader of test names."""
    return f"{name_of(block.page)}:{block.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """All blocks of code of some languages; an indented block has none."""
    found, before = [], ""
    for token in _tokens(page):
        if token.type in ("fence", "code_block"):
            found.append(_block(page, token, before))
        before = token.content if token.type in ("inline", "fence") else before
    return [block for block in found if not languages or block.language in languages]


def _block(page: Path, token: Token, before: str) -> Block:
    assert token.map is not None
    language, _, rest = token.info.partition(" ")
    title = re.search(r'title="([^"]+)"', rest) or re.search(r"`([\w-]+\.py)`[^`]*:$", before)
    first = token.map[0] + (2 if token.type == "fence" else 1)
    return Block(page, first, language, title[1] if title else None, token.content)


def links(page: Path) -> list[str]:
    """Targets of all links and pictures, as they are written."""
    attributes = (token.attrs.get("href", token.attrs.get("src")) for token in _inline(page))
    return [str(target) for target in attributes if target]


def code_words(page: Path) -> list[str]:
    """What stands between backticks in running text."""
    return [token.content for token in _inline(page) if token.type == "code_inline"]


def anchors(page: Path) -> set[str]:
    """The names that code hosts give to a page's headings; the second of the same name ends in -1."""
    found: set[str] = set()
    for heading in _headings(page):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(next(n for n in _numbered(name) if n not in found))
    return found


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 1
    while True:
        yield f"{name}-{number}"
        number += 1


def plugins_on(page: Path) -> set[str]:
    """The plugins of this repository that a page is about or names."""
    own = {folder.name for folder in (TOP / "plugins").glob("sslkit-*")}
    return own & set(re.findall(r"sslkit-\w+", f"{page} {page.read_text(encoding='utf-8')}"))


def is_installed(plugin: str) -> bool:
    try:
        return bool(distribution(plugin))
    except PackageNotFoundError:
        return False


def _headings(page: Path) -> Iterator[str]:
    for opening, inline in pairwise(_tokens(page)):
        if opening.type == "heading_open":
            children = inline.children or []
            yield "".join(child.content for child in children if child.type in ("text", "code_inline"))


def _inline(page: Path) -> Iterator[Token]:
    for token in _tokens(page):
        yield from token.children or []


@cache
def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
