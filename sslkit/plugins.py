"""Finds, loads and vets plugins, and answers "what is called dino?".

Three doors: the built-ins (found by walking the rooms), installed packages with an entry point in group
`sslkit`, and single files. All of them come in through the same hooks (`sslkit.hookspecs`).
"""

import hashlib
import logging
import os
import traceback
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import pluggy
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sslkit import hookspecs
from sslkit.compatibility import RefusedError, check_api, check_demands
from sslkit.doors import (
    Candidate,
    PluginInfo,
    built_ins,
    installed_version,
    is_file,
    one_file,
    packages,
    resolve,
)
from sslkit.errors import PluginError, indented, nearest
from sslkit.hook_times import HookTimes

__all__ = [
    "ALLOW_VARIABLE",
    "KINDS",
    "Offer",
    "PluginInfo",
    "Registry",
    "is_file",
    "resolve",
    "saved_names",
]

KINDS = {
    "methods": "method.name",
    "backbones": "backbone.name",
    "augmentations": "augment.name",
    "datasets": "data.name",
    "evaluators": "eval.evaluators",
    "trackers": "trackers",
    "executors": "--executor",
}
"""Kinds of component, and the key of a recipe, or the option, that names one."""
SINGULAR = {kind: kind.removesuffix("s") for kind in KINDS}
"""methods -> method, and so on."""
ALLOW_VARIABLE = "SSLKIT_PLUGINS_ALLOW"
"""Environment variable: comma-separated names of the third-party plugins that may load, packages as pip
knows them, files by name or absolute path; `*` for any part of a name (`sslkit-*`, `*.py`); unset: all."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """A component, and the plugin that provides it."""

    component: Any
    info: PluginInfo


class Registry:
    """The plugins of one process, and the components that they provide."""

    def __init__(self) -> None:
        self.plugins: list[PluginInfo] = []
        """Every plugin that was found, loaded or not."""
        self.hook_times = HookTimes()
        """What the watching hooks have taken."""
        self._manager = _new_manager()
        self._offers: dict[str, dict[str, list[Offer]]] = {kind: defaultdict(list) for kind in KINDS}
        self._files: dict[Path, bytes] = {}

    @classmethod
    def load(
        cls,
        plugins: Sequence[str] = (),
        *,
        base: Path | None = None,
        blocked: Sequence[str] = (),
        allow: str | None = None,
        trusted: Collection[str] = (),
    ) -> "Registry":
        """Load the built-ins, the installed packages, and what is asked for.

        Args:
            plugins: one-file plugins (paths) and version demands (`sslkit-glom>=0.1,<1`).
            base: folder that relative paths count from; None: the current one.
            blocked: names of plugins to leave out (`--no-plugin`).
            allow: comma-separated names of third-party plugins, with `*`; None: SSLKIT_PLUGINS_ALLOW, or all.
            trusted: packages, and absolute paths of one-file plugins, that load whatever `allow` says.

        Raises:
            PluginError: something in `plugins` is missing, refused or broken, or `blocked` names nothing.
        """
        registry = cls()
        asked = list(dict.fromkeys(resolve(plugin, base) for plugin in plugins))
        candidates = [*built_ins(), *packages(), *registry._read_files(asked)]
        _check_blocked(blocked, candidates)
        allow = os.environ.get(ALLOW_VARIABLE) if allow is None else allow
        for candidate in candidates:
            may_load = allow is None or candidate.is_one_of(trusted) or candidate.allowed_by(_words(allow))
            registry._admit(candidate, blocked, may_load)
        registry._check_asked(asked)
        return registry

    def get(self, kind: str, name: str, *, where: str | None = None) -> Any:
        """The component (a class, or a backbone's factory) of that name.

        Args:
            kind: methods, backbones, augmentations, datasets, evaluators, trackers or executors.
            where: key of the recipe that asks, for the message.

        Raises:
            PluginError: no plugin provides it, or two do, or a plugin and timm.
        """
        offers = self._offers[kind].get(name, [])
        if not offers:
            raise PluginError(self._unknown(kind, name, where))
        if (told := self.conflict(kind, name)) is not None:
            raise PluginError(told)
        return offers[0].component

    def names(self, kind: str) -> dict[str, str]:
        """Names of all components of a kind, sorted, each with its plugin's name."""
        return {
            name: " and ".join(offer.info.name for offer in offers)
            for name, offers in sorted(self._offers[kind].items())
        }

    def offers(self, kind: str) -> dict[str, list[Offer]]:
        """All components of a kind by name, sorted; more than one under a name is a conflict."""
        return {name: list(offers) for name, offers in sorted(self._offers[kind].items()) if offers}

    def notify(self, hook_name: str, **arguments: Any) -> None:
        """Call a watching hook of each plugin; one that raises is told once and hears no more."""
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook_name)
        watching = {id(impl.plugin): impl.plugin for impl in reversed(caller.get_hookimpls())}
        for plugin in watching.values():
            others = [other for other in self._manager.get_plugins() if other is not plugin]
            info = self._info_of(plugin)
            try:
                with self.hook_times.measured(info.name, hook_name):
                    self._manager.subset_hook_caller(hook_name, remove_plugins=others)(**arguments)
            except (Exception, SystemExit) as error:
                self._drop(plugin, info, hook_name, error)

    def save_files(self, run_dir: Path) -> list[Path]:
        """Write the one-file plugins, as they were loaded, to `<run>/plugins/`; returns where."""
        written = []
        for path, name in saved_names(list(self._files)).items():
            target = run_dir / "plugins" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.resolve() != path:
                target.write_bytes(self._files[path])
            written.append(target)
        return written

    # --- loading -------------------------------------------------------------------------------------------

    def _read_files(self, asked: Iterable[str]) -> Iterator[Candidate]:
        digests = set()
        for path in map(Path, filter(is_file, asked)):
            self._files[path] = path.read_bytes()
            candidate = one_file(path, self._files[path])
            if candidate.info.sha256 not in digests:  # the same file at two places is one plugin
                digests.add(candidate.info.sha256)
                yield candidate

    def _admit(self, candidate: Candidate, blocked: Sequence[str], may_load: bool) -> None:
        info = candidate.info
        self.plugins.append(info)
        if candidate.called(blocked):
            info.status, info.detail = "left out", "by --no-plugin"
        elif info.origin != "built-in" and not may_load:
            info.status, info.detail = "not allowed", f"{ALLOW_VARIABLE} does not name it"
        else:
            self._load(candidate)

    def _load(self, candidate: Candidate) -> None:
        info = candidate.info
        try:
            check_demands(candidate.demands, installed_version(hookspecs.PROJECT))
            plugin = candidate.load()
            check_api(plugin)
            components, info.warnings = _vet(plugin)
            with warnings.catch_warnings(action="ignore"):  # told already
                self._manager.register(plugin, name=info.file or info.name)
        except (Exception, SystemExit) as error:
            _mark_failed(info, error)
            return
        for told in info.warnings:
            warnings.warn(f"plugin {info.name}: {told}", FutureWarning, stacklevel=4)
        for kind, found in components.items():
            info.components[kind] = sorted(found)
            for name, component in found.items():
                self._offers[kind][name].append(Offer(component, info))

    def _check_asked(self, asked: Iterable[str]) -> None:
        for spec in asked:
            for info in self._meant(spec):
                if info.status != "loaded":
                    why = "cannot be loaded" if info.status == "failed" else f"is {info.status}"
                    at = f" ({info.file})" if info.file else ""
                    raise PluginError(
                        f"the plugin {info.name}{at} is asked for, but {why}{indented(info.detail)}"
                    )

    def _meant(self, spec: str) -> list[PluginInfo]:
        if is_file(spec):
            digest = hashlib.sha256(self._files[Path(spec)]).hexdigest()
            return [info for info in self.plugins if info.sha256 == digest]
        name = canonicalize_name(Requirement(spec).name)
        packages = (info for info in self.plugins if info.origin == "package")
        return [info for info in packages if canonicalize_name(info.name.partition(":")[0]) == name]

    def _info_of(self, plugin: object) -> PluginInfo:
        name = self._manager.get_name(plugin)
        return next(info for info in self.plugins if name in (info.file, info.name))

    def _drop(self, plugin: object, info: PluginInfo, hook_name: str, error: BaseException) -> None:
        self._manager.unregister(plugin)
        _mark_failed(info, error)
        warnings.warn(
            f"plugin {info.name} failed in {hook_name} and hears no more of this run: {info.detail}",
            RuntimeWarning,
            stacklevel=3,
        )

    # --- messages ------------------------------------------------------------------------------------------

    def conflict(self, kind: str, name: str) -> str | None:
        """Who provides the same name, plugins or timm, and how to mend it; None where one alone does."""
        plugins = [offer.info for offer in self._offers[kind][name]]
        if len(plugins) == 1:
            return _conflict_with_timm(name, plugins[0]) if kind == "backbones" else None
        told = " and ".join(f"{p.name} ({p.file or p.origin})" for p in plugins)
        unique = len({p.name for p in plugins}) == len(plugins)
        advice = " or ".join(f"--no-plugin {p.name if unique else p.file or p.name}" for p in plugins)
        return (
            f"more than one plugin provides '{name}' in {kind}: {told}{indented(f'leave one out: {advice}')}"
        )

    def _unknown(self, kind: str, name: str, where: str | None) -> str:
        foreign = {info.name for info in self.plugins if info.origin != "built-in"}
        names = self.names(kind)
        listed = ", ".join(n + (f" ({plugin})" if plugin in foreign else "") for n, plugin in names.items())
        near = nearest(name, names).strip()
        advice = indented((f"{near}  " if near else "") + f"{kind}: {listed or 'none'}")
        for info in self.plugins:
            if info.status != "loaded":
                advice += indented(f"the plugin {info.name} is not loaded ({info.status}): {info.detail}")
        return f"'{where or KINDS[kind]}' is '{name}', which no plugin provides{advice}"


def saved_names(files: Sequence[Path]) -> dict[Path, str]:
    """File names under `<run>/plugins/`; of two files with one name the second becomes `name-2.py`."""
    names: dict[Path, str] = {}
    for path in files:
        name, number = path.name, 1
        while name in names.values():
            number += 1
            name = f"{path.stem}-{number}{path.suffix}"
        names[path] = name
    return names


def _new_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _vet(plugin: object) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The components of a plugin by kind, and what it uses that is going away.

    Raises where its hooks or what they return cannot be used.
    """
    alone = _new_manager()
    _check_hook_names(plugin, alone)
    with warnings.catch_warnings(record=True, action="always", category=DeprecationWarning) as caught:
        alone.register(plugin)
    alone.check_pending()
    found = {}
    for kind in KINDS:
        for mapping in getattr(alone.hook, f"sslkit_{kind}")():
            found[kind] = _checked(kind, mapping)
    return found, [str(warning.message) for warning in caught]


def _check_hook_names(plugin: object, manager: pluggy.PluginManager) -> None:
    known = [name for name in dir(hookspecs) if name.startswith("sslkit_")]
    for name in dir(plugin):
        marked = manager.parse_hookimpl_opts(plugin, name) is not None
        if name.startswith("sslkit_") and callable(getattr(plugin, name)):
            if name not in known:
                raise PluginError(
                    f"there is no hook '{name}'; hooks: {', '.join(known)}{nearest(name, known)}"
                )
            if not marked:
                raise PluginError(f"'{name}' lacks the decorator @hookimpl")


def _checked(kind: str, mapping: Any) -> dict[str, Any]:
    if not isinstance(mapping, Mapping):
        raise PluginError(f"sslkit_{kind} returned a {type(mapping).__name__}, not a mapping of names")
    for name, component in mapping.items():
        if not isinstance(name, str) or not callable(component):
            raise PluginError(f"sslkit_{kind} returned {name!r}: {component!r}, not a name and a class")
        if kind != "backbones" and not is_dataclass(getattr(component, "Config", None)):
            raise PluginError(f"'{name}' in {kind} has no `Config` that is a dataclass")
    return dict(mapping)


def _conflict_with_timm(name: str, info: PluginInfo) -> str | None:
    """A plugin may not put its own network in place of one that recipes know by its name."""
    if info.origin == "built-in":
        return None
    import timm

    if not timm.is_model(name):
        return None
    return (
        f"both timm and the plugin {info.name} ({info.file or info.origin}) provide '{name}' in backbones"
        + indented(f"rename it in the plugin, or leave that out: --no-plugin {info.name}")
    )


def _mark_failed(info: PluginInfo, error: BaseException) -> None:
    message = " ".join(str(error).split())  # one line
    if isinstance(error, RefusedError):
        info.status, info.detail = "refused", message
        return
    info.status = "failed"
    named = f"{type(error).__name__}: {message}" if message else type(error).__name__
    info.detail = named + _place(info, error)
    info.traceback = "".join(traceback.format_exception(error))
    _log.info("plugin %s failed\n%s", info.name, info.traceback)


def _place(info: PluginInfo, error: BaseException) -> str:
    """The last line of a one-file plugin that was being executed."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == info.file]
    return f" ({info.name}, line {lines[-1]})" if lines else ""


def _check_blocked(blocked: Sequence[str], candidates: Sequence[Candidate]) -> None:
    for name in blocked:
        if not any(candidate.called([name]) for candidate in candidates):
            known = [candidate.info.name for candidate in candidates]
            raise PluginError(
                f"there is no plugin '{name}' to leave out{nearest(name, known)}"
                + indented(f"plugins: {', '.join(known)}")
            )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
