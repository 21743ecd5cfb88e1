"""What each key of a recipe means: the docstring that stands under its field."""

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

from sslkit.recipe.schema import Component, DataSection, Recipe
from sslkit.recipe.write import plain


def explain(recipe: Recipe) -> list[tuple[str, Any, str]]:
    """(dotted key, value, meaning) of every key, in the order of the file."""
    rows: list[tuple[str, Any, str]] = []
    meanings = field_meanings(Recipe)
    for f in fields(recipe):
        value, meaning = getattr(recipe, f.name), meanings[f.name]
        if f.name == "data_config":
            continue
        if isinstance(value, Component):
            rows += [(f"{f.name}.name", value.name, meaning), *_rows(value.config, f.name)]
        elif isinstance(value, DataSection):
            rows += [*_rows(value, f.name), *_rows(recipe.data_config, f.name)]
        elif is_dataclass(value):
            rows += _rows(value, f.name)
        else:
            rows.append((f.name, plain(value), meaning))
    return rows


def _rows(section: Any, path: str) -> list[tuple[str, Any, str]]:
    rows: list[tuple[str, Any, str]] = []
    if section is None:
        return rows
    meanings = field_meanings(type(section))
    for f in fields(section):
        value, key = getattr(section, f.name), f"{path}.{f.name}"
        if is_dataclass(value):
            rows += _rows(value, key)
        elif isinstance(value, dict) and any(map(is_dataclass, value.values())):
            for name, config in value.items():
                rows += _rows(config, f"{key}.{name}") or [(f"{key}.{name}", {}, _first_line(config))]
        else:
            rows.append((key, plain(value), meanings.get(f.name, "")))
    return rows


def _first_line(config: Any) -> str:
    return (inspect.getdoc(type(config)) or "").partition("\n")[0]


def field_meanings(cls: type) -> dict[str, str]:
    """The docstrings under a dataclass's fields, inherited ones too, by name, each on one line."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base):
            meanings |= _documented(base)
    return meanings


def _documented(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # made at run time: there is no source to read
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for statement, following in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = _literal(following)
            if text:
                found[statement.target.id] = " ".join(text.split())
    return found


def _literal(statement: ast.stmt) -> str:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
