"""The three doors that a plugin comes in by: the built-ins, installed packages, single files.

Nothing is imported here before `Candidate.load` is called.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from sslkit import hookspecs
from sslkit.errors import PluginError, indented

ROOMS = ("methods", "nn", "augment", "data", "eval", "train", "report", "executors")
"""Packages of sslkit whose modules may offer components."""
_IMPLEMENTS_A_HOOK = re.compile(r"^\s*@(\w+\.)?hookimpl\b", re.MULTILINE)


@dataclass
class PluginInfo:
    """One plugin: where it is from and what became of it. Plain values, as `run.json` records them."""

    name: str
    """A built-in's module, a package's distribution (`dist:entry` where it has several), a file's name."""
    version: str | None
    """Version of its package; None for a file."""
    origin: Literal["built-in", "package", "file"]
    """Which door it came through."""
    file: str | None = None
    """Absolute path of a one-file plugin."""
    sha256: str | None = None
    """Digest of a one-file plugin's content."""
    status: Literal["loaded", "failed", "refused", "left out", "not allowed"] = "loaded"
    """refused: built for another version of sslkit; left out: by `--no-plugin`; not allowed:
    SSLKIT_PLUGINS_ALLOW does not name it."""
    components: dict[str, list[str]] = field(default_factory=dict)
    """Names that it provides, by kind."""
    detail: str = ""
    """One line on why it is not loaded."""
    traceback: str = ""
    """Where it failed, for the log."""
    warnings: list[str] = field(default_factory=list)
    """What it uses that is going away."""


@dataclass
class Candidate:
    """A plugin before it is loaded."""

    info: PluginInfo
    load: Callable[[], object]
    aliases: tuple[str, ...] = ()
    """Other names that the user may call it by."""
    demands: tuple[str, ...] = ()
    """What its package requires to be installed, as its metadata say."""

    def called(self, names: Iterable[str]) -> bool:
        return any(canonicalize_name(name) in self._names() for name in names)

    def allowed_by(self, patterns: Iterable[str]) -> bool:
        """Whether one of the patterns names it: `sslkit-*` a package, `*.py` or a path a file, `*` either.

        An entry point's name counts for nothing, since any package may choose it; nor does a file answer to
        what names packages.
        """
        if self.info.file is None:
            packages = [canonicalize_name(pattern) for pattern in patterns if not is_file(pattern)]
            return any(fnmatchcase(self._distribution, pattern) for pattern in packages)
        files = [pattern for pattern in patterns if pattern == "*" or is_file(pattern)]
        by_path, by_name = [p for p in files if "/" in p], [p for p in files if "/" not in p]
        return _is_among(self.info.file, by_path) or _is_among(self.info.name, by_name)

    def is_one_of(self, names: Collection[str]) -> bool:
        """Whether its package's name or its file's absolute path is among them."""
        if self.info.file is not None:
            return self.info.file in names
        return any(canonicalize_name(name) == self._distribution for name in names)

    @property
    def _distribution(self) -> str:
        return canonicalize_name(self.info.name.partition(":")[0])

    def _names(self) -> set[str]:
        return {canonicalize_name(name) for name in (self.info.name, *self.aliases)}


def is_file(spec: str) -> bool:
    """Whether a word under `plugins` means a file rather than an installed package."""
    return "://" not in spec and (spec.endswith(".py") or "/" in spec or os.sep in spec)


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    """As it stands, whatever signs it has, or by `*`."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def resolve(spec: str, base: Path | None = None) -> str:
    """The absolute path of a one-file plugin, or a version demand that what is installed meets.

    Raises:
        PluginError: there is no such file, or it does not end in .py; there is no such package, or not in
            that version.
    """
    if not is_file(spec):
        _check_demand(spec)
        return spec
    path = ((base or Path.cwd()) / Path(spec).expanduser()).resolve()
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise PluginError(f"the plugin file '{spec}' {what}{indented(f'looked for {path}')}")
    if path.suffix != ".py":  # so that no name of a package, such as sslkit-glom, allows it
        raise PluginError(f"the plugin file '{spec}' is {path}, but its name must end in .py")
    return str(path)


def built_ins() -> Iterator[Candidate]:
    version = installed_version("sslkit")
    for room in ROOMS:
        package = importlib.import_module(f"sslkit.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if _IMPLEMENTS_A_HOOK.search(_source(module.name)):
                info = PluginInfo(module.name, version, "built-in")
                yield Candidate(info, _importer(module.name), (module.name.removeprefix("sslkit."),))


def _importer(name: str) -> Callable[[], ModuleType]:
    return lambda: importlib.import_module(name)


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.loader is not None
    source: str | None = spec.loader.get_source(module)  # type: ignore[attr-defined]
    return source or ""


def packages() -> Iterator[Candidate]:
    entries = list(importlib.metadata.entry_points(group=hookspecs.PROJECT))
    owners = [entry.dist.name if entry.dist else entry.name for entry in entries]
    for entry, owner in zip(entries, owners, strict=True):
        name = owner if owners.count(owner) == 1 else f"{owner}:{entry.name}"
        info = PluginInfo(name, entry.dist.version if entry.dist else None, "package")
        demands = tuple((entry.dist.requires if entry.dist else None) or ())
        yield Candidate(info, entry.load, (owner, entry.name), demands)


def one_file(path: Path, source: bytes) -> Candidate:
    digest = hashlib.sha256(source).hexdigest()
    info = PluginInfo(path.name, None, "file", file=str(path), sha256=digest)
    return Candidate(info, lambda: _import_file(path, source, digest), (str(path),))


def _import_file(path: Path, source: bytes, digest: str) -> ModuleType:
    """Run exactly the bytes that were hashed, as a module that is named after them."""
    name = f"sslkit_plugin_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _check_demand(spec: str) -> None:
    advice = indented("write a file such as ./my_method.py, or a package such as 'sslkit-glom>=0.1,<1'")
    try:
        demand = Requirement(spec)
    except InvalidRequirement:
        raise PluginError(f"'{spec}' names no plugin{advice}") from None
    if demand.url or demand.extras or demand.marker:
        raise PluginError(f"'{spec}' is more than a name and a version range{advice}")
    version = installed_version(demand.name)
    if version is None:
        advice = indented(f'pip install "{spec}"')
        raise PluginError(f"the plugin '{demand.name}' is not installed{advice}")
    if not demand.specifier.contains(version, prereleases=True):
        raise PluginError(
            f"'{spec}' is asked for, but {demand.name} {version} is installed"
            + indented(f'pip install "{spec}", or change the range')
        )
    if not any(candidate.called([demand.name]) for candidate in packages()) and demand.name != "sslkit":
        raise PluginError(f"'{demand.name}' is installed, but has no entry point in group 'sslkit'")


def installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
