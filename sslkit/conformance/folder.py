"""A package's folder as if it was installed: its `pyproject.toml` says what it offers."""

import importlib
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sslkit.errors import PluginError, indented
from sslkit.hookspecs import PROJECT

PYPROJECT = "pyproject.toml"


@dataclass(frozen=True)
class Package:
    """What a package's folder says of itself."""

    name: str
    version: str
    demands: tuple[str, ...]
    """What it requires to be installed."""
    entries: Mapping[str, str]
    """Its entry points in the group sslkit."""
    code: Path
    """The folder that its modules are imported from."""


def read_package(folder: Path) -> Package:
    """The package in a folder.

    Raises:
        PluginError: there is no `pyproject.toml`, or it has no entry point for sslkit.
    """
    file = folder / PYPROJECT
    if not file.is_file():
        raise PluginError(
            f"{folder} has no {PYPROJECT}" + indented("give the folder of a package, or one .py file")
        )
    try:
        project: dict[str, Any] = tomllib.loads(file.read_text("utf-8")).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise PluginError(f"{file} is not TOML: {error}") from error
    entries = project.get("entry-points", {}).get(PROJECT, {})
    if not entries:
        raise PluginError(
            f"{file} has no entry point in the group '{PROJECT}'"
            + indented(f'[project.entry-points.{PROJECT}]  NAME = "the.module.with.the.hooks"')
        )
    code = folder / "src" if (folder / "src").is_dir() else folder
    name, version = project.get("name", folder.name), project.get("version", "0")
    return Package(name, version, tuple(project.get("dependencies", ())), entries, code.resolve())


@contextmanager
def as_if_installed(package: Package) -> Iterator[None]:
    """Within it, the package is found as pip would have installed it; its code is where it is."""
    with TemporaryDirectory() as name:
        metadata = Path(name) / f"{package.name.replace('-', '_')}-{package.version}.dist-info"
        metadata.mkdir()
        lines = [f"Requires-Dist: {demand}" for demand in package.demands]
        head = ["Metadata-Version: 2.1", f"Name: {package.name}", f"Version: {package.version}"]
        (metadata / "METADATA").write_text("\n".join([*head, *lines]) + "\n", "utf-8")
        entries = [f"{key} = {value}" for key, value in package.entries.items()]
        (metadata / "entry_points.txt").write_text("\n".join([f"[{PROJECT}]", *entries]) + "\n", "utf-8")
        before = list(sys.path)
        sys.path[:0] = [name, str(package.code)]
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path[:] = before
