"""Words of the command line that are a study's own."""

import re
from collections.abc import Sequence
from typing import Any

from sslkit.errors import RecipeError
from sslkit.recipe.document import read_value


def read_seeds(text: str) -> list[int]:
    """`0,1,2` or `0-9` as numbers.

    Raises:
        RecipeError: it is neither.
    """
    seeds: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", word)
        if match is None:
            raise RecipeError(
                f"--seeds is '{text}', but must be numbers such as 0,1,2 or a range such as 0-4"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise RecipeError(f"--seeds is '{text}', but '{word.strip()}' ends before it begins")
        seeds += range(first, last + 1)
    return seeds


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` words as a mapping, the values read as YAML.

    Raises:
        RecipeError: a word is not of that form.
    """
    found = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.isidentifier():
            raise RecipeError(f"'{word}' is not of the form KEY=VALUE\n  such as --option partition=gpu")
        found[key] = read_value(text)
    return found
