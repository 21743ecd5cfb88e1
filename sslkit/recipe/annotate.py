"""A resolved recipe with the meaning of each value beside it."""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sslkit.errors import RecipeError
from sslkit.recipe.document import write_yaml
from sslkit.recipe.explain import explain
from sslkit.recipe.schema import Recipe
from sslkit.recipe.write import plain_recipe

WIDTH = 110
"""Columns that a comment may reach to."""


def annotated(recipe: Recipe, *, header: str = "") -> str:
    """The resolved recipe as YAML, each key with its meaning as a comment; runs as it is.

    Args:
        header: text for a comment at the top.
    """
    meanings = {key: meaning for key, _, meaning in explain(recipe)}
    top = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return top + "\n".join(_lines(plain_recipe(recipe), meanings, ())) + "\n"


def write_start(recipe: Recipe, path: Path, *, header: str = "") -> None:
    """Write the annotated recipe as a start for one's own. Raises `RecipeError` rather than overwrite."""
    if path.exists():
        raise RecipeError(f"{path} exists already\n  choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(annotated(recipe, header=header), encoding="utf-8")


def _lines(values: Mapping[str, Any], meanings: Mapping[str, str], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in values.items():
        below = (*path, key)
        dotted, indent = ".".join(below), "  " * len(path)
        if isinstance(value, Mapping) and any(known.startswith(f"{dotted}.") for known in meanings):
            yield f"{indent}{key}:"
            yield from _lines(value, meanings, below)
        else:
            yield from _leaf(key, value, meanings.get(dotted, ""), indent)


def _leaf(key: str, value: Any, meaning: str, indent: str) -> Iterator[str]:
    """The value on one line where it fits, its meaning behind it or above it."""
    block = write_yaml({"_": [], key: value}).partition("\n")[2]  # beside a list no scalar is put in braces
    text = textwrap.indent(block.rstrip("\n"), indent)
    if not meaning:
        yield text
    elif "\n" not in text and len(text) + len(meaning) + 4 <= WIDTH:
        yield f"{text}  # {meaning}"
    else:
        comment = f"{indent}# "
        yield from textwrap.wrap(meaning, WIDTH, initial_indent=comment, subsequent_indent=comment)
        yield text
