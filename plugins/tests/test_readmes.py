"""The tables of keys in the READMEs: every key that a plugin's components have, with its default."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import is_installed

from sslkit.catalog import show
from sslkit.plugins import Registry

PLUGINS = sorted(path.name for path in Path(__file__).parents[1].glob("sslkit-*"))
OF_DINO = {"sslkit-ibot": "method:dino"}
"""Plugins whose README says "all of DINO's, and"."""
ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| (?!default \|)([^|]*) \|", re.MULTILINE)


def told(readme: str) -> Iterator[tuple[str, Any]]:
    """The keys and defaults of all tables; a row may have several of both."""
    for names, defaults in ROW.findall(readme):
        yield from zip(re.findall(r"\w+", names), yaml.safe_load(f"[{defaults}]"), strict=True)


def keys(registry: Registry, name: str) -> list[tuple[str, Any]]:
    return [(key.name, key.default) for page in show(registry, name) for key in page.keys]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_readme_has_every_key_with_its_default(plugin: str) -> None:
    if not is_installed(plugin):
        pytest.skip(f"{plugin} is not installed")
    registry = Registry.load(allow=plugin)
    inherited = keys(registry, OF_DINO[plugin]) if plugin in OF_DINO else []
    wanted = [key for key in keys(registry, plugin) if key not in inherited]
    found = list(told((Path(__file__).parents[1] / plugin / "README.md").read_text("utf-8")))
    assert sorted(found, key=str) == sorted(wanted, key=str)


def test_rows_are_read() -> None:
    table = (
        "| `method` | default | |\n|---|---|---|\n| `a`, `b` | .5, null | |\n| `c` | {} | |\n| d | 3 | |\n"
    )
    assert list(told(table)) == [("a", 0.5), ("b", None), ("c", {})]
