"""Names that a new component can have: valid in Python and in YAML, and not taken."""

import ast
import builtins
import importlib.util
import keyword
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml

from sslkit.doors import installed_version
from sslkit.errors import PluginError, indented
from sslkit.plugins import Registry
from sslkit.scaffold.kinds import KINDS

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def class_name(name: str) -> str:
    """`two_view` -> `TwoView`."""
    return "".join(word[0].upper() + word[1:] for word in name.split("_"))


def check_name(name: str) -> None:
    """Raises `PluginError` unless Python, YAML and a recipe can call a component so."""
    if not _NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        hint = f"\n  did you mean '{near}'?" if near != name and _NAME.fullmatch(near) else ""
        raise PluginError(f"'{name}' is no name: write small letters, digits and _, a letter first{hint}")
    cls = class_name(name)
    if keyword.iskeyword(name) or hasattr(builtins, cls) or keyword.iskeyword(cls):
        raise _refused(name, f"Python has a word of its own for it or for the class {cls}")
    if not isinstance(yaml.safe_load(name), str):
        raise _refused(name, f"a recipe would read {yaml.safe_load(name)!r}, not a name")


def check_free(name: str, kind: str, registry: Registry) -> None:
    """Raises `PluginError` where a component of this kind is called so already.

    Args:
        kind: a key of `KINDS`.
        registry: knows the names that are taken.
    """
    if owner := registry.names(KINDS[kind].plural).get(name):
        raise _refused(
            name, f"the plugin {owner} has a {kind} of this name", f"or leave that out: --no-plugin {owner}"
        )
    if kind == "backbone" and _is_in_timm(name):
        raise _refused(name, "timm has a network of this name")


def check_file_name(name: str, folder: Path) -> None:
    """Raises `PluginError` where `name.py` in this folder would hide a module that others import."""
    if name in sys.stdlib_module_names or _is_module_elsewhere(name, folder):
        raise _refused(
            name,
            f"a file {name}.py would hide the module {name}",
            "or write a package: leave out --single-file",
        )


def check_package_name(name: str, package: str) -> None:
    """Raises `PluginError` where pip knows a package of this name and would install the new one over it."""
    if version := installed_version(package):
        raise _refused(
            name,
            f"pip would put the new package in place of {package} {version}, which is installed",
            "or write one file (--single-file), or uninstall that",
        )


def check_source(name: str, source: str) -> None:
    """Raises `PluginError` where a generated module binds one name twice: its class hides what it imports."""
    twice = [bound for bound, count in Counter(_bound(ast.parse(source))).items() if count > 1]
    if twice:
        raise _refused(name, f"its source would hide what sslkit or torch calls {' and '.join(twice)}")


def _bound(tree: ast.Module) -> Iterator[str]:
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in statement.names)
        elif isinstance(statement, ast.ClassDef | ast.FunctionDef):
            yield statement.name


def _is_in_timm(name: str) -> bool:
    import timm

    return bool(timm.is_model(name))


def _is_module_elsewhere(name: str, folder: Path) -> bool:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return False
    return Path(spec.origin).parent.resolve() not in (folder.resolve(), Path.cwd().resolve())


def _refused(name: str, why: str, otherwise: str = "") -> PluginError:
    advice = f"choose another name, such as my_{name}"
    lines = [indented(line) for line in (advice, otherwise) if line]
    return PluginError(f"'{name}' cannot be the name: {why}{''.join(lines)}")
