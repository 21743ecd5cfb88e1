"""What the site adds to the pages, which are plain Markdown; `mkdocs.yml` names it under `hooks`.

- Files outside docs/ that a page links to become part of the site: Markdown as pages, source as listings,
  folders as lists of what is in them. So every link works in the site as it does in a repository browser.
- A table between `<!-- api: MODULE NAMES -->` and `<!-- /api -->` becomes their signatures and docstrings.
- `plugins/*/README.md` in the menu becomes a page for each plugin of the repository.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

OUTSIDE = "repository"
"""Folder of the site that holds what stands outside docs/."""
PLUGINS = "plugins/*/README.md"
NATIVE = {".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf"}
"""Suffixes that a browser shows as they are, or that are pages; anything else is listed as source."""
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
    ".json": "json",
    ".sh": "bash",
}

CODE = re.compile(r"(^ *(?P<fence>```+).*?^ *(?P=fence) *$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()[^)\s]+(?=[)\s])")
API = re.compile(r"<!-- api: (?P<module>[\w.]+)(?P<names>[\w ]*) -->.*?<!-- /api -->", re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """Where a file of the repository stands in the site, and the other way round."""

    top: Path
    docs: Path

    @classmethod
    def of(cls, config: MkDocsConfig) -> "Layout":
        return cls(Path(config.config_file_path).parent.resolve(), Path(config.docs_dir).resolve())

    def place(self, target: Path) -> str:
        """The path among the site's sources of a file or folder of the repository."""
        if target.is_relative_to(self.docs) and target.suffix in NATIVE:
            return target.relative_to(self.docs).as_posix()
        path = f"{OUTSIDE}/{target.relative_to(self.top).as_posix()}"
        if target.is_dir():
            return f"{path}/{'README' if (target / 'README.md').is_file() else 'index'}.md"
        return path if target.suffix in NATIVE else f"{path}.md"

    def origin(self, uri: str) -> Path | None:
        """The file of the repository that a page was made of; None for a listing, which links to nothing."""
        if not uri.startswith(f"{OUTSIDE}/"):
            return self.docs / uri
        path = self.top / uri.removeprefix(f"{OUTSIDE}/")
        return path if path.is_file() or path.name == "index.md" else None

    def target(self, origin: Path, link: str) -> Path | None:
        """What a link of that file leads to; None where that is not in the repository."""
        path = link.partition("#")[0]
        if not path or ":" in path or path.startswith("/"):
            return None
        target = Path(posixpath.normpath(f"{origin.parent.as_posix()}/{path}"))
        return target if target.is_relative_to(self.top) and target.exists() else None


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give each plugin of the repository a place in the menu."""
    layout = Layout.of(config)
    pages = [layout.place(readme) for readme in sorted(layout.top.glob(PLUGINS))]
    config.nav = _filled(config.nav, pages) if config.nav else config.nav
    return config


def _filled(nav: list[Any], pages: list[str]) -> list[Any]:
    filled: list[Any] = []
    for item in nav:
        if isinstance(item, dict):
            filled.append({k: _filled(v, pages) if isinstance(v, list) else v for k, v in item.items()})
        else:
            filled += pages if item == PLUGINS else [item]
    return filled


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in what pages link to outside docs/, what those pages link to, and so on."""
    layout = Layout.of(config)
    waiting = [file.src_uri for file in files.documentation_pages()]
    found = list(layout.top.glob(PLUGINS))
    while waiting or found:
        for target in found:
            uri = layout.place(target)
            if files.get_file_from_path(uri) is None:
                files.append(_taken_in(target, uri, config))
                waiting += [uri] if uri.endswith(".md") else []
        found = list(_outside(waiting.pop(), files, layout)) if waiting else []
    return files


def _outside(uri: str, files: Files, layout: Layout) -> Iterator[Path]:
    origin, file = layout.origin(uri), files.get_file_from_path(uri)
    if origin is None or file is None:
        return
    for text in CODE.sub("", file.content_string).splitlines():
        for link in LINK.findall(text):
            target = layout.target(origin, link)
            if target is not None:
                yield target


def _taken_in(target: Path, uri: str, config: MkDocsConfig) -> File:
    hidden = InclusionLevel.NOT_IN_NAV
    if target.is_dir() and not uri.endswith("README.md"):
        return File.generated(config, uri, content=_listing(target, config), inclusion=hidden)
    path = target / "README.md" if target.is_dir() else target
    if path.suffix in NATIVE:
        return File.generated(config, uri, abs_src_path=str(path), inclusion=hidden)
    return File.generated(config, uri, content=_source(path, config), inclusion=hidden)


def _source(path: Path, config: MkDocsConfig) -> str:
    name = path.relative_to(Layout.of(config).top).as_posix()
    text = path.read_text(encoding="utf-8")
    fence = "`" * (3 + max(map(len, re.findall(r"`+", text)), default=0))
    head = "---\nsearch: {exclude: true}\nhide: [toc]\n---\n"
    return f"{head}# {name}\n{fence}{LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _listing(folder: Path, config: MkDocsConfig) -> str:
    name = folder.relative_to(Layout.of(config).top).as_posix()
    inside = sorted(p.name for p in folder.iterdir() if not p.name.startswith((".", "_")))
    return "\n".join([f"# {name}", "", *(f"- [{one}]({one})" for one in inside), ""])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at where their targets stand in the site, and ask for the docstrings of API tables."""
    layout, uri = Layout.of(config), page.file.src_uri
    if uri == "index.md":
        page.meta["hide"] = ["navigation"]  # it would list the page itself alone
    origin = layout.origin(uri)
    if origin is None:
        return markdown

    def moved(link: re.Match[str]) -> str:
        target = layout.target(origin, link[0])
        if target is None:
            return link[0]
        _, mark, anchor = link[0].partition("#")
        return posixpath.relpath(layout.place(target), posixpath.dirname(uri)) + mark + anchor

    # re.split with two groups: text, code, its fence, text, ...
    parts = CODE.split(markdown)
    parts[0::3] = [LINK.sub(moved, text) for text in parts[0::3]]
    parts[2::3] = ["" for _ in parts[2::3]]
    return API.sub(_directive, "".join(parts))


def _directive(block: re.Match[str]) -> str:
    names = ", ".join(block["names"].split())
    return f"::: {block['module']}\n    options: {{members: [{names}]}}\n"
