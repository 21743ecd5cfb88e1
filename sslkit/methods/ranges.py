"""Ranges of the built-in methods' numbers, and the error about one outside."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sslkit.errors import RecipeError


@dataclass(frozen=True)
class Range:
    """Valid numbers: `low` itself too unless `above`."""

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"from {self.low:g} to {self.high:g}"
        return f"{'>' if self.above else '>='} {self.low:g}"


POSITIVE = Range(0, above=True)
SHARE = Range(0, 1)
WIDTH = Range(1)
"""A number of features, layers or images."""


def check_ranges(config: object, ranges: Mapping[str, Range]) -> None:
    """Raises `RecipeError` for the first of the config's numbers that is out of its range."""
    for name, valid in ranges.items():
        value = getattr(config, name)
        if not valid.holds(value):
            raise RecipeError(f"'{name}' is {value}, but must be {valid}")
