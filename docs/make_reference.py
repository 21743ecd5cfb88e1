"""Writes docs/reference.md: every recipe key, hook, component and command, from the code's own docstrings.

python docs/make_reference.py            write it
python docs/make_reference.py --check    exit 1 if it is not what the code says
"""

import inspect
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import typer

from sslkit import hookspecs
from sslkit.cli import app
from sslkit.plugins import KINDS, Registry
from sslkit.recipe.explain import field_meanings
from sslkit.recipe.schema import Recipe

FILE = Path(__file__).with_name("reference.md")
HEAD = """# Reference
Made by `docs/make_reference.py` from the docstrings; a test holds it up to date. `sslkit recipe RECIPE` shows
the same for one recipe, with its values.
"""


def main() -> None:
    text = "\n".join([HEAD, *commands(), *recipe_keys(), *components(), *hooks()]) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(text, encoding="utf-8")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != text:
        sys.exit("docs/reference.md is not what the code says: run python docs/make_reference.py")


def commands() -> Iterator[str]:
    yield "## Commands"
    group = typer.main.get_command(app)
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        yield f"\n### `sslkit {name}`\n{command.help}\n"
        for parameter in command.params:
            is_option = parameter.opts[0].startswith("-")
            words = [*parameter.opts] if is_option else [parameter.metavar]
            yield f"- {' '.join(f'`{word}`' for word in words)}: {parameter.help}"


def recipe_keys() -> Iterator[str]:
    yield "\n## Recipe keys"
    yield from table(Recipe, "")
    for f in fields(Recipe):
        section = f.default_factory() if callable(f.default_factory) else None
        if is_dataclass(section) and f.name not in ("method", "augment"):
            yield f"\n### `{f.name}`\n{inspect.getdoc(type(section))}\n"
            yield from table(type(section), f"{f.name}.")


def table(config: type, prefix: str) -> Iterator[str]:
    meanings = field_meanings(config)
    for f in fields(config):
        default: Any = f.default_factory() if callable(f.default_factory) else f.default
        if is_dataclass(default) and prefix:
            yield from table(type(default), f"{prefix}{f.name}.")
        elif f.name != "data_config":
            shown = "" if is_dataclass(default) or "MISSING" in repr(default) else f" (default `{default}`)"
            yield f"- `{prefix}{f.name}`{shown}: {meanings[f.name]}"


def components() -> Iterator[str]:
    registry = Registry.load(allow="")
    for kind in KINDS:
        yield f"\n## Components: {kind}"
        for name in sorted(registry.names(kind)):
            component = registry.get(kind, name)
            yield f"\n### `{name}`\n{(inspect.getdoc(component) or '').partition(chr(10))[0]}\n"
            if hasattr(component, "Config"):
                yield from table(component.Config, "")


def hooks() -> Iterator[str]:
    yield "\n## Hooks\n"
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction):
        if name.startswith("sslkit_"):
            signature = ", ".join(inspect.signature(function).parameters)
            yield f"- `{name}({signature})`: {' '.join((inspect.getdoc(function) or '').split())}"


if __name__ == "__main__":
    main()
