"""What the docs promise is there: pages, pictures, links."""

import os
import re
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pages import PAGES, TOP, anchors, links, name_of

from sslkit.plugins import Registry

METHODS = sorted(Registry.load(allow="").names("methods"))
NETWORK = "SSLKIT_CHECK_LINKS"
"""Environment variable: set, the links to other hosts are asked for."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page_with_its_picture(method: str) -> None:
    page = (TOP / f"docs/methods/{method}.md").read_text()
    assert re.search(rf"^!\[.{{40,}}\]\(\.\./images/methods/{method}\.png\)$", page, re.MULTILINE)
    assert f"<!-- ours: {method} -->" in page
    assert f"(methods/{method}.md)" in (TOP / "docs/methods.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    dead = [link for link in links(page) if not urlsplit(link).scheme and not is_there(page, link)]
    assert not dead


def is_there(page: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (page.parent / file) if file else page
    if not target.exists() or not target.resolve().is_relative_to(TOP):
        return False
    return not anchor or (target.suffix == ".md" and anchor in anchors(target))


OUTSIDE = sorted({link for page in PAGES for link in links(page) if urlsplit(link).scheme})


def test_links_to_other_hosts_are_well_formed() -> None:
    wrong = []
    for link in OUTSIDE:
        parts = urlsplit(link)
        host_is_one = re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc)
        if parts.scheme != "https" or not host_is_one or re.search(r"\s", link):
            wrong.append(link)
    assert OUTSIDE
    assert not wrong


@pytest.mark.skipif(NETWORK not in os.environ, reason=f"asks other hosts only with {NETWORK}=1")
def test_links_to_other_hosts_answer() -> None:
    dead = [f"{link}: {told}" for link in OUTSIDE if (told := _refused(link))]
    assert not dead


def _refused(link: str) -> str:
    """Why a link has no answer; empty where it has one."""
    asked = urllib.request.Request(link, headers={"User-Agent": "sslkit's tests"})
    try:
        with urllib.request.urlopen(asked, timeout=30):
            return ""
    except OSError as error:
        return str(error)


def test_a_dead_link_would_be_found(tmp_path: Path) -> None:
    page = TOP / "README.md"
    assert is_there(page, "docs/methods.md#the-built-in-methods")
    assert not is_there(page, "docs/methods.md#nothing-of-that-name")
    assert not is_there(page, "docs/no_such_page.md")
    assert not is_there(page, str(tmp_path))


def test_every_page_can_be_reached_from_the_front_pages() -> None:
    reached, waiting = set(), [TOP / "README.md", TOP / "docs/index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.is_file():
            reached.add(page)
            files = [link.partition("#")[0] for link in links(page) if not urlsplit(link).scheme]
            waiting += [(page.parent / file).resolve() for file in files if file]
    lost = [name_of(page) for page in PAGES if page.is_relative_to(TOP / "docs") and page not in reached]
    assert not lost
