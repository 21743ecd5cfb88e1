"""What a data set is: a map from positions to decoded images."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One decoded image and what is known of it."""

    image: UInt8Array
    """[H, W, C] uint8, upright, C as the recipe's `data.channels`."""
    label: int | None
    """Index into `classes`; None without labels."""
    key: str
    """Its stable name within the data set (a relative path, a row number)."""
    mask: npt.NDArray[np.bool_] | None = None
    """[H, W] True on the object; None without masks."""
    instance: int | None = None
    """Which very object it shows (a finer label); None where that is not known."""


@dataclass(frozen=True)
class DataSource:
    """What the recipe says of the data, whatever their format."""

    root: Path | None
    """Folder or file; None for data that are built in."""
    split: str
    """Name of the split, such as train or val; empty: all the data, of a set that is not divided."""
    labels: Literal["auto", "folders", "none"] = "auto"
    """Whether labels are read: from class folders or the format's own; `none` ignores them."""
    channels: int = 3
    """Channels that every image is brought to."""


class Dataset(ABC):
    """Map-style: `dataset[i]` decodes image i, or raises `sslkit.errors.DataError` saying why it cannot."""

    Config: ClassVar[type]
    """A dataclass: the keys of the `data` section beside the fixed ones."""
    classes: tuple[str, ...] | None = None
    """Names of the classes, None without labels."""
    instances: int | None = None
    """Number of distinct objects where samples have `instance`, else None."""
    has_masks: bool = False
    """Whether samples have `mask`."""

    @abstractmethod
    def __init__(self, config: Any, source: DataSource) -> None:
        """Open one split. Raises `MissingSplitError` if the data has none of that name."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    @abstractmethod
    def key(self, index: int) -> str:
        """The sample's key without decoding it."""
