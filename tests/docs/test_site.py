"""The documentation as a site: it builds, its links lead somewhere, and nothing comes from other hosts."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from pages import PAGES, TOP

API = re.compile(r"<!-- api: (\S+) ([\w ]+) -->")
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")}
"""What a browser fetches by itself; a link is only followed."""


def build(configuration: Path, site: Path) -> subprocess.CompletedProcess[str]:
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        configuration,
        "-d",
        site,
    ]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, env=quiet, capture_output=True, text=True, timeout=600, check=False)


@dataclass
class Html(HTMLParser):
    """The names and the links of a page."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("id", "name"):
                self.ids.add(value)
            elif value and (tag, name) in LOADED:
                self.loaded.append(value)
            elif value and (tag, name) == ("a", "href"):
                self.links.append(value)

    @classmethod
    def of(cls, page: Path) -> "Html":
        html = cls()
        html.feed(page.read_text(encoding="utf-8"))
        return html


def dead_links(pages: dict[Path, Html]) -> Iterator[str]:
    for page, html in pages.items():
        for link in [*html.links, *html.loaded]:
            parts = urlsplit(link)
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            names = pages[target].ids if target in pages and parts.fragment else {unquote(parts.fragment)}
            is_here = not parts.scheme and page.name != "404.html"
            if is_here and not (target.is_file() and unquote(parts.fragment) in names):
                yield f"{page.name}: {link}"


def undocumented(pages: dict[Path, Html], site: Path) -> Iterator[str]:
    """Public names without a place of their own on the site's pages on Python."""
    for page in sorted((TOP / "docs/api").glob("*.md")):
        ids = pages[site / "api" / f"{page.stem}.html"].ids
        for module, names in API.findall(page.read_text()):
            yield from (f"{module}.{name}" for name in names.split() if f"{module}.{name}" not in ids)


@pytest.mark.slow
def test_the_site_builds_and_holds_together(tmp_path: Path) -> None:
    site = (tmp_path / "site").resolve()
    done = build(TOP / "mkdocs.yml", site)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {page: Html.of(page) for page in site.rglob("*.html")}
    assert not list(dead_links(pages))
    assert not list(undocumented(pages, site))
    assert not [link for html in pages.values() for link in html.loaded if urlsplit(link).netloc]
    assert not [page for page in PAGES if page.parent == TOP / "docs" and not shown(page, site)]


def shown(page: Path, site: Path) -> bool:
    return (site / f"{page.stem}.html").is_file()


def test_every_public_module_has_its_place_on_the_pages_on_python() -> None:
    rooms = {"core": "*", "losses": "*", "methods": "*", "nn": "[!_]*"}
    public = {
        f"sslkit.{room}.{path.stem}" for room in rooms for path in (TOP / "sslkit" / room).glob("[!_]*.py")
    }
    public -= {f"sslkit.nn.{name}" for name in ("backbones", "pocket", "pos_embed")}
    public -= {f"sslkit.methods.{name}" for name in ("pairs", "ranges")}
    documented = {m for page in (TOP / "docs/api").glob("*.md") for m, _ in API.findall(page.read_text())}
    assert public <= documented


# --- what docs/site_hooks.py does, on a small repository ---------------------------------------------------

SMALL = {
    "docs/index.md": "# Start\n[readme](../README.md#use) [code](../src/a.py) [all](../src/) `[not](a.md)`\n",
    "docs/page.md": "# Page\n```\n[not](../missing.md)\n```\n![dot](dot.png)\n",
    "docs/dot.png": "",
    "README.md": "# Top\n[page](docs/page.md) ![dot](docs/dot.png) [x](plugins/sslkit-x/README.md)\n## Use\n",
    "src/a.py": 'TEXT = "```"\n',
    "plugins/sslkit-x/README.md": "# X\n[licence](LICENSE) [up](../../docs/index.md)\n![own](docs/own.png)\n",
    "plugins/sslkit-x/docs/own.png": "",
    "plugins/sslkit-x/LICENSE": "Do as you like.\n",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The configuration of a small site with our hooks."""
    for name, text in SMALL.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    settings = {
        "site_name": "small",
        "use_directory_urls": False,
        "plugins": [],
        "theme": {"name": "mkdocs"},
        "hooks": [str(TOP / "docs/site_hooks.py")],
        "nav": ["index.md", "page.md", {"Plugins": ["plugins/*/README.md"]}],
        "validation": {"anchors": "warn"},
    }
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    return tmp_path / "mkdocs.yml"


def test_files_outside_docs_become_part_of_the_site(small: Path, tmp_path: Path) -> None:
    site = (tmp_path / "site").resolve()
    done = build(small, site)
    assert done.returncode == 0, done.stderr
    pages = {page: Html.of(page) for page in site.rglob("*.html")}
    assert "repository/index.html#use" in pages[site / "index.html"].links
    assert "repository/src/a.py.html" in pages[site / "index.html"].links
    assert "TEXT" in (site / "repository/src/a.py.html").read_text()
    assert "repository/plugins/sslkit-x/index.html" in pages[site / "page.html"].links  # the menu
    assert (site / "repository/plugins/sslkit-x/docs/own.png").is_file()
    assert not [dead for dead in dead_links(pages) if "search" not in dead]


def test_a_link_to_nowhere_ends_the_build(small: Path, tmp_path: Path) -> None:
    with (tmp_path / "README.md").open("a") as readme:
        readme.write("[gone](docs/gone.md)\n")
    done = build(small, tmp_path / "site")
    assert done.returncode == 1
    assert "gone.md" in done.stderr
