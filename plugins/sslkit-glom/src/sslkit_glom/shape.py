"""What a network of columns is built from, and what each number may be."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sslkit.errors import RecipeError

T = TypeVar("T")
LEAST = {"channels": 1, "image_size": 1, "patch_size": 1, "levels": 2, "dim": 1, "frequencies": 0}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """All that decides a network but its weights; what each means is said in `Glom`.

    Raises:
        RecipeError: a value is out of its range.
    """

    channels: int
    image_size: int
    patch_size: int
    levels: int
    dim: int
    hidden: float
    steps: int
    radius: float | Sequence[float | None] | None
    attend_self: bool
    temperature: float | Sequence[float]
    frequencies: int
    drop_path_rate: float

    def __post_init__(self) -> None:
        for key, low in LEAST.items():
            fits = _at_least(low, getattr(self, key), whole=True)
            _refuse_unless(fits, key, getattr(self, key), f"a whole number >= {low}")
        enough = f">= levels ({self.levels}): so many steps it takes for the top level to hear of the image"
        _refuse_unless(
            _at_least(self.levels, self.steps, whole=True), "steps", self.steps, f"a whole number {enough}"
        )
        _refuse_unless(_at_least(0, self.hidden) and 0 < self.hidden < math.inf, "hidden", self.hidden, "> 0")
        one = f"one number or {self.levels}, one for each level,"
        warm = len(self.temperatures) == self.levels and all(
            _at_least(0, x) and x > 0 for x in self.temperatures
        )
        _refuse_unless(warm, "temperature", self.temperature, f"{one} > 0")
        far = len(self.radii) == self.levels and all(x is None or _at_least(0, x) for x in self.radii)
        _refuse_unless(far, "radius", self.radius, f"{one} >= 0, null: the whole image")
        rate = self.drop_path_rate
        if not 0 <= rate < 1:
            raise RecipeError(f"'backbone.drop_path_rate' is {rate}, but must be from 0 to below 1")

    @property
    def hidden_dim(self) -> int:
        """Width of the nets' hidden layer, H."""
        return max(1, round(self.hidden * self.dim))

    @property
    def radii(self) -> tuple[float | None, ...]:
        """Of each level, the lowest first."""
        return each(self.radius, self.levels)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Of each level, the lowest first."""
        return each(self.temperature, self.levels)

    @property
    def args(self) -> Mapping[str, Any]:
        """What builds a network of this shape again to look at images; training's own is left out."""
        return {key: value for key, value in asdict(self).items() if key != "drop_path_rate"}


def each(value: T | Sequence[T], levels: int) -> tuple[T, ...]:
    """One value for each level, from one for all or from as many as there are."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * levels


def _at_least(low: float, value: Any, *, whole: bool = False) -> bool:
    """Whether it is a number, and large enough; a recipe's `args` can be anything."""
    return isinstance(value, int if whole else int | float) and value >= low


def _refuse_unless(holds: bool, key: str, value: Any, valid: str) -> None:
    if not holds:
        raise RecipeError(f"'backbone.args.{key}' is {value!r}, but must be {valid}")
