"""A plugin with one small component of each kind, so that these tests depend on no built-in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sslkit.hookspecs import hookimpl


@dataclass
class ToyMethodConfig:
    """A method's keys."""

    width: int = 8
    """Width, >= 1."""
    temperature: float = 0.1
    """Temperature, > 0."""
    momentum: float = 0.9
    """Momentum, 0 to 1."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"'width' is {self.width}, but must be >= 1")
        if self.momentum == self.temperature:
            raise ValueError("momentum and temperature may not be the same")


@dataclass
class OtherMethodConfig:
    """Another method's keys."""

    width: int = 16
    """Width."""
    queue: int = 32
    """Length of the queue."""
    kind: Literal["fast", "slow"] = "fast"
    """How."""


@dataclass
class Jitter:
    """Colour."""

    p: float | list[float] = 0.8
    """Probability."""
    hue: float = 0.1
    """Hue."""


@dataclass
class Flip:
    """Mirror."""

    p: float | list[float] = 0.5
    """Probability."""


@dataclass
class ToyViewsConfig:
    """An augmentation's keys."""

    size: int = 32
    """Side, pixels."""
    scale: tuple[float, float] = (0.4, 1.0)
    """Area."""
    color_jitter: Jitter = field(default_factory=Jitter)
    """Colour jitter."""
    flip: Flip = field(default_factory=Flip)
    """Flip."""
    extra: list[dict[str, Any]] = field(default_factory=list)
    """More operations."""


@dataclass
class OtherViewsConfig:
    """Another augmentation's keys."""

    size: int = 64
    """Side, pixels."""
    color_jitter: Flip = field(default_factory=Flip)
    """Colour jitter without a hue."""


@dataclass
class ToyDataConfig:
    """A data set's keys."""

    count: int = 10
    """Images."""
    table: Path | None = None
    """A file."""


@dataclass
class OtherDataConfig:
    """Another data set's keys."""

    column: str = "image"
    """Column."""


@dataclass
class ToyEvalConfig:
    """An evaluator's keys."""

    k: list[int] = field(default_factory=lambda: [1, 5])
    """Neighbours."""
    limit: int | None = None
    """At most."""


@dataclass
class ToyTrackerConfig:
    """A tracker's keys."""

    project: str = "toy"
    """Project."""


def _with(config: type) -> Any:
    return type(config.__name__.removesuffix("Config"), (), {"Config": config})


@hookimpl
def sslkit_methods() -> dict[str, Any]:
    return {"toy": _with(ToyMethodConfig), "other": _with(OtherMethodConfig)}


@hookimpl
def sslkit_augmentations() -> dict[str, Any]:
    return {"toy_views": _with(ToyViewsConfig), "other_views": _with(OtherViewsConfig)}


@hookimpl
def sslkit_datasets() -> dict[str, Any]:
    return {"toy_data": _with(ToyDataConfig), "other_data": _with(OtherDataConfig)}


@hookimpl
def sslkit_evaluators() -> dict[str, Any]:
    return {"toy_eval": _with(ToyEvalConfig)}


@hookimpl
def sslkit_trackers() -> dict[str, Any]:
    return {"toy_tracker": _with(ToyTrackerConfig)}


def toy_backbone(*, channels: int, image_size: int, drop_path_rate: float, depth: int = 1) -> None:
    """A backbone's factory."""


@hookimpl
def sslkit_backbones() -> dict[str, Any]:
    return {"toy_net": toy_backbone}
