"""What plugins there are and what they provide, for `sslkit plugins` and `sslkit plugins show`."""

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from itertools import chain
from typing import Any

from sslkit.errors import PluginError, indented, nearest
from sslkit.hookspecs import API_VERSION
from sslkit.plugins import KINDS, SINGULAR, Offer, PluginInfo, Registry
from sslkit.recipe.explain import field_meanings
from sslkit.recipe.typed import described
from sslkit.recipe.write import plain

BUILT_FOR = ("channels", "image_size", "drop_path_rate")
"""Arguments of a backbone's factory that are not the user's to give."""
_ARGUMENT = re.compile(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {8}.+)*)", re.MULTILINE)
"""What a docstring says of an argument, or of several."""


@dataclass(frozen=True)
class Entry:
    """One component."""

    kind: str
    name: str
    plugin: str
    version: str | None
    origin: str
    """built-in, package or file."""
    file: str | None
    """Where its source stands, as `path:line`; None where it has none."""
    status: str
    """loaded, or conflict: another plugin, or timm, has the same name."""
    conflicts: tuple[str, ...]
    """The other plugins that provide this name, or timm."""


@dataclass(frozen=True)
class Key:
    """One key of a component's configuration, or of a backbone's `backbone.args`."""

    name: str
    default: Any
    """As a recipe would write it; None where `required`."""
    required: bool
    meaning: str


@dataclass(frozen=True)
class Page:
    """All that can be said of one component."""

    entry: Entry
    recipe_key: str
    """The key of a recipe, or the option, that names such a component."""
    doc: str
    keys: tuple[Key, ...]
    source: str

    def as_record(self) -> dict[str, Any]:
        """Plain values, for `--json`; what JSON has no word for, such as a class, by its name."""
        record: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return record


def entries(registry: Registry) -> list[Entry]:
    """Every component of every loaded plugin, by kind and name."""
    return [entry for kind in KINDS for entry, _ in _of_kind(registry, kind)]


def as_record(registry: Registry) -> dict[str, Any]:
    """All components and plugins, plain values, for `--json`."""
    return {
        "api_version": API_VERSION,
        "components": [asdict(entry) for entry in entries(registry)],
        "plugins": [asdict(info) for info in registry.plugins],
    }


def told(registry: Registry) -> Iterator[str]:
    """The same as lines: components by kind, then the plugins that are not as they should be."""
    all_of_them = entries(registry)
    rows = {kind: [_row(e) for e in all_of_them if e.kind == kind] for kind in KINDS}
    widths = [max(map(len, column)) for column in zip(*chain(*rows.values()), strict=True)]
    for kind, its_rows in rows.items():
        yield f"{kind} ({KINDS[kind]})"
        for row in its_rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield f"  {'  '.join(cells)}".rstrip()
    yield from _told_conflicts(registry)
    yield from _told_plugins(registry.plugins)


def _row(entry: Entry) -> tuple[str, ...]:
    return (entry.name, entry.plugin, entry.version or "", entry.status, entry.file or "")


def _told_conflicts(registry: Registry) -> Iterator[str]:
    for kind in KINDS:
        for name in registry.offers(kind):
            if told := registry.conflict(kind, name):
                yield f"\nconflict: {told}"


def _told_plugins(infos: list[PluginInfo]) -> Iterator[str]:
    silent = [i for i in infos if i.status == "loaded" and i.origin != "built-in" and not i.components]
    for info in silent:
        yield f"\n{_titled(info)}: loaded; it watches runs and provides no component"
    for info in (i for i in infos if i.status != "loaded"):
        yield f"\n{_titled(info)}: {info.status}{indented(info.detail)}"
    for info in infos:
        yield from (f"\n{_titled(info)}: {warning}" for warning in info.warnings)


def show(registry: Registry, name: str) -> list[Page]:
    """The pages of all components of that name, or of all that a plugin of that name provides.

    Args:
        name: a component (`dino`), one of several kinds (`method:dino`), or a plugin (`sslkit-glom`).

    Raises:
        PluginError: there is neither.
    """
    kind, _, alone = name.rpartition(":")
    pages = list(_pages(registry, lambda e: e.name == alone and kind in ("", e.kind, SINGULAR[e.kind])))
    pages = pages or list(_pages(registry, lambda e: name in (e.plugin, e.plugin.removeprefix("sslkit."))))
    if pages:
        return pages
    for info in registry.plugins:
        if info.name == name:
            raise PluginError(f"the plugin {name} {_why_empty(info)}")
    known = sorted({e.name for e in entries(registry)} | {info.name for info in registry.plugins})
    raise PluginError(
        f"there is neither a component nor a plugin called '{name}'{nearest(name, known)}"
        + indented("sslkit plugins lists all of them")
    )


def told_page(page: Page, *, source: bool) -> Iterator[str]:
    """One component as lines: what it is, its keys, and if wished its source."""
    entry = page.entry
    yield f"{entry.name} ({entry.kind}, named by {page.recipe_key})"
    yield f"  from    {_origin(entry)}"
    yield f"  source  {entry.file or 'not at hand'}"
    if entry.conflicts:
        yield f"  conflict: also provided by {', '.join(entry.conflicts)}"
    yield from ("", *(f"  {line}".rstrip() for line in page.doc.splitlines()))
    if page.keys:
        yield "\n  keys" + (" of backbone.args" if entry.kind == "backbones" else "")
    for key in page.keys:
        yield f"    {key.name}: {'required' if key.required else _written(key.default)}"
        yield f"      {key.meaning}"
    if source:
        yield f"\n{page.source}"


def _pages(registry: Registry, is_meant: Callable[[Entry], bool]) -> Iterator[Page]:
    for kind in KINDS:
        for entry, component in _of_kind(registry, kind):
            if is_meant(entry):
                doc = inspect.getdoc(component) or "It has no docstring."
                keys = _arguments(component) if kind == "backbones" else _keys(component.Config)
                yield Page(entry, KINDS[kind], doc, tuple(keys), _source(component))


def _of_kind(registry: Registry, kind: str) -> Iterator[tuple[Entry, Any]]:
    for name, offers in registry.offers(kind).items():
        timm = ["timm"] if len(offers) == 1 and registry.conflict(kind, name) else []
        for offer in offers:
            others = [other.info.name for other in offers if other is not offer]
            yield _entry(kind, name, offer, others + timm), offer.component


def _entry(kind: str, name: str, offer: Offer, others: list[str]) -> Entry:
    info = offer.info
    return Entry(
        kind=kind,
        name=name,
        plugin=info.name,
        version=info.version,
        origin=info.origin,
        file=_place(offer.component) or info.file,
        status="conflict" if others else info.status,
        conflicts=tuple(others),
    )


def _place(component: Any) -> str | None:
    try:
        return f"{inspect.getsourcefile(component)}:{inspect.getsourcelines(component)[1]}"
    except (OSError, TypeError):
        return None


def _source(component: Any) -> str:
    try:
        return inspect.getsource(component)
    except (OSError, TypeError):
        return ""


def _keys(config: Any) -> Iterator[Key]:
    meanings: Mapping[str, str] = field_meanings(config)
    for f in fields(config):
        has_factory = f.default_factory is not MISSING
        required = f.default is MISSING and not has_factory
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        yield Key(f.name, None if required else plain(default), required, meanings.get(f.name, ""))


def _arguments(factory: Callable[..., Any]) -> Iterator[Key]:
    """What stands under `backbone.args`: the factory's own arguments."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return
    try:
        hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except (TypeError, NameError):
        hints = {}
    meanings = _argument_meanings(inspect.getdoc(factory) or "")
    for p in parameters:
        if p.name in BUILT_FOR or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            continue
        required = p.default is p.empty
        meaning = meanings.get(p.name) or (described(hints[p.name]) if p.name in hints else "")
        yield Key(p.name, None if required else plain(p.default), required, meaning)


def _argument_meanings(doc: str) -> dict[str, str]:
    """What the section "Args:" of a docstring says, by name, each on one line."""
    section = doc.partition("Args:\n")[2].partition("\n\n")[0]
    entries = [(names, " ".join(text.split())) for names, text in _ARGUMENT.findall(section)]
    return {name: text[0].upper() + text[1:] for names, text in entries for name in names.split(", ")}


def _written(default: Any) -> str:
    return json.dumps(default, ensure_ascii=False, default=str)


def _why_empty(info: PluginInfo) -> str:
    if info.status != "loaded":
        return f"is {'not loaded' if info.status == 'failed' else info.status}{indented(info.detail)}"
    return "provides no component: it watches runs"


def _titled(info: PluginInfo) -> str:
    version = f" {info.version}" if info.version else ""
    return f"{info.name}{version} ({info.file or info.origin})"


def _origin(entry: Entry) -> str:
    if entry.origin == "built-in":
        return "built-in"
    return f"{entry.plugin} {entry.version}" if entry.version else f"{entry.plugin} ({entry.file})"
