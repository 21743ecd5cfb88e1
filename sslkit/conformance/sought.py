"""What is meant by the word that somebody wants checked: a file, a folder, a plugin or a component."""

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.utils import canonicalize_name

from sslkit import hookspecs
from sslkit.conformance.findings import Finding, raised
from sslkit.conformance.folder import PYPROJECT, as_if_installed, read_package
from sslkit.doors import one_file, resolve
from sslkit.errors import PluginError, indented, nearest
from sslkit.plugins import KINDS, SINGULAR, Offer, PluginInfo, Registry, is_file

WATCHING = ("sslkit_run_started", "sslkit_step_finished", "sslkit_run_finished")
LOADS = "it_loads"


@dataclass(frozen=True)
class Sought:
    """A component that is to be checked."""

    kind: str
    """In the plural, as in `sslkit.plugins.KINDS`."""
    name: str
    offer: Offer


@dataclass
class Meant:
    """What was found for a word."""

    registry: Registry
    components: list[Sought]
    loading: list[Finding] = field(default_factory=list)
    """Whether a plugin's code could be loaded; nothing for a component's name."""
    plugin: str = ""
    """Name of the plugin, where one was meant."""
    watches: tuple[str, ...] = ()
    """Its hooks that watch."""
    backbones: tuple[Sought, ...] = ()
    """Those that the plugin provides, also where another kind was asked for."""
    load: Callable[..., Registry] = Registry.load
    """Loads the same again; takes `blocked`."""
    load_more: Callable[[], Registry] = Registry.load
    """Loads it beside all that the user allows."""


@contextmanager
def find(
    word: str,
    *,
    kind: str | None = None,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
) -> Iterator[Meant]:
    """What is meant, loaded; a folder counts as installed until the end.

    Args:
        word: a .py file, a package's folder, the name of an installed plugin, NAME or KIND:NAME. A folder
            that is no package, or one beside which its name is installed, is meant only by a word that looks
            like a path.
        kind: only components of this kind.
        plugins: further one-file plugins to load.
        no_plugins: plugins to leave out.

    Raises:
        PluginError: there is nothing of that name.
    """
    wanted = None if kind is None else kind_of(kind)
    path = Path(word).expanduser()
    looks_like_a_path = is_file(word) or word.startswith((".", "~"))
    is_package = (path / PYPROJECT).is_file() and not _is_installed(word)
    if path.is_dir() and (looks_like_a_path or is_package):
        package = read_package(path)
        with as_if_installed(package):
            yield _narrowed(_package(package.name, plugins, no_plugins), wanted)
    elif is_file(word):
        yield _narrowed(_file(word, plugins, no_plugins), wanted)
    elif _is_installed(word):
        yield _narrowed(_package(word, plugins, no_plugins), wanted)
    else:
        yield _component(word, wanted, plugins, no_plugins)


def kind_of(word: str) -> str:
    """A kind, from its name in the singular or plural.

    Raises:
        PluginError: there is none.
    """
    for plural, singular in SINGULAR.items():
        if word in (plural, singular):
            return plural
    known = list(SINGULAR.values())
    raise PluginError(
        f"there is no kind '{word}'{nearest(word, known)}{indented('kinds: ' + ', '.join(known))}"
    )


def _file(word: str, plugins: Sequence[str], no_plugins: Sequence[str]) -> Meant:
    path = Path(resolve(word))
    try:
        module = one_file(path, path.read_bytes()).load()
    except (Exception, SystemExit) as error:
        return _broken(path.name, raised(error))
    files = [str(path), *(str(Path(plugin).resolve()) for plugin in plugins)]
    load, load_more = _loaders(files, files, no_plugins)
    try:
        Registry.load(files, allow="", trusted=files)  # whatever is left out
    except PluginError as error:
        return _broken(path.name, str(error))
    registry = load()
    found = _components(registry, lambda info: info.file == str(path))
    watches = _watched(module)
    return Meant(registry, found, [_loaded(module)], path.name, watches, load=load, load_more=load_more)


def _package(name: str, plugins: Sequence[str], no_plugins: Sequence[str]) -> Meant:
    others = [str(Path(plugin).resolve()) for plugin in plugins]
    load, load_more = _loaders(others, [name, *others], no_plugins)
    registry = load()
    infos = [info for info in registry.plugins if _is_of(info, name)]
    for info in infos:
        if info.status != "loaded":
            return _broken(name, f"{info.detail}{_last_place(info)}")
    found = _components(registry, lambda info: _is_of(info, name))
    modules = [entry.load() for entry in _entries(name)]
    watches = tuple(dict.fromkeys(hook for module in modules for hook in _watched(module)))
    return Meant(registry, found, [_loaded(*modules)], name, watches, load=load, load_more=load_more)


def _loaders(
    files: Sequence[str], named: Sequence[str], no_plugins: Sequence[str]
) -> tuple[Callable[..., Registry], Callable[[], Registry]]:
    """What loads no third-party plugins but those that are named, and what loads all that are allowed too."""

    def load(blocked: Sequence[str] = ()) -> Registry:
        return Registry.load(files, allow="", trusted=named, blocked=[*no_plugins, *blocked])

    def load_more() -> Registry:
        return Registry.load(files, trusted=named, blocked=no_plugins)

    return load, load_more


def _component(word: str, wanted: str | None, plugins: Sequence[str], no_plugins: Sequence[str]) -> Meant:
    before, _, name = word.rpartition(":")
    kind = kind_of(before) if before else wanted
    registry = Registry.load(plugins, blocked=no_plugins)
    kinds = [each for each in KINDS if each == (kind or each) and name in registry.offers(each)]
    for each in kinds:
        registry.get(each, name)  # raises where two plugins have the name
    if kinds:
        found = [Sought(each, name, registry.offers(each)[name][0]) for each in kinds]
        return Meant(registry, found, load_more=lambda: registry)
    known = [*(n for each in KINDS for n in registry.names(each)), *_installed()]
    folder = (
        indented(f"the folder {word} is no package: it has no {PYPROJECT}") if Path(word).is_dir() else ""
    )
    raise PluginError(
        f"there is neither a {SINGULAR.get(kind or '', 'component')} nor a plugin called '{name}'"
        + nearest(name, known)
        + folder
        + indented("give a .py file, a package's folder, or a name that `sslkit plugins` lists")
    )


def _narrowed(meant: Meant, kind: str | None) -> Meant:
    meant.backbones = tuple(each for each in meant.components if each.kind == "backbones")
    if kind is not None:
        meant.components = [each for each in meant.components if each.kind == kind]
    failed = any(finding.status == "failed" for finding in meant.loading)
    if not (meant.components or failed or (meant.watches and kind is None)):
        raise PluginError(
            f"{meant.plugin} provides no {SINGULAR.get(kind or '', 'component')}"
            + indented("each comes from a function with @hookimpl, such as sslkit_methods")
        )
    return meant


def _components(registry: Registry, is_meant: Any) -> list[Sought]:
    return [
        Sought(kind, name, offer)
        for kind in KINDS
        for name, offers in registry.offers(kind).items()
        for offer in offers
        if is_meant(offer.info)
    ]


def _loaded(*modules: Any) -> Finding:
    silent = [module for module in modules if not hasattr(module, "SSLKIT_API")]
    told = f'it does not say which hooks it was written for: write SSLKIT_API = "{_major()}" beside them'
    return Finding(LOADS, "", "passed", told if silent else "")


def _broken(name: str, told: str) -> Meant:
    return Meant(Registry(), [], [Finding(LOADS, "", "failed", told)], name)


def _major() -> str:
    return hookspecs.API_VERSION.partition(".")[0]


def _watched(module: ModuleType | object) -> tuple[str, ...]:
    return tuple(hook for hook in WATCHING if hasattr(module, hook))


def _is_of(info: PluginInfo, name: str) -> bool:
    own = canonicalize_name(info.name.partition(":")[0])
    return info.origin == "package" and own == canonicalize_name(name)


def _last_place(info: PluginInfo) -> str:
    """Where it failed: the last line of its traceback that names a file."""
    lines = [line.strip() for line in info.traceback.splitlines() if line.strip().startswith("File ")]
    return f" ({lines[-1]})" if lines else ""


def _entries(name: str) -> list[importlib.metadata.EntryPoint]:
    entries = importlib.metadata.entry_points(group=hookspecs.PROJECT)
    own = canonicalize_name(name)
    return [entry for entry in entries if entry.dist and canonicalize_name(entry.dist.name) == own]


def _is_installed(name: str) -> bool:
    return bool(_entries(name))


def _installed() -> list[str]:
    entries = importlib.metadata.entry_points(group=hookspecs.PROJECT)
    return sorted({entry.dist.name for entry in entries if entry.dist})
