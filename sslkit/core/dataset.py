"""What a data set is: a map from positions to decoded images."""

# N images of the memory bank, Q queries

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
VOID = 255
"""In `objects`: a pixel that counts neither for nor against."""


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
    objects: UInt8Array | None = None
    """[H, W]: 0 background, n the n-th object, 255 not counted; None where objects are not told apart."""


@dataclass(frozen=True)
class Relevance:
    """Which images of the memory bank answer each query, at the revisited Oxford and Paris levels.

    Radenovic et al. 2018, Sec. 3: easy counts `easy` as right and leaves `hard` out, medium counts both, hard
    counts `hard` and leaves `easy` out; `junk` is always left out.
    """

    easy: Sequence[npt.NDArray[np.int64]]
    """For each of Q queries, positions in the memory bank."""
    hard: Sequence[npt.NDArray[np.int64]]
    """The same."""
    junk: Sequence[npt.NDArray[np.int64]]
    """The same."""

    def of(self, queries: Iterable[int]) -> "Relevance":
        """The answers of some of the queries, in the order given."""
        rows = list(queries)
        levels = (self.easy, self.hard, self.junk)
        return Relevance(*([level[row] for row in rows] for level in levels))


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
    paired: bool = False
    """Of queries: whether `instance` is that of the very image of the memory bank that a query was made from,
    below 0 where there is none."""
    relevance: Relevance | None = None
    """Of queries: their answers in the memory bank, where they are listed one by one."""
    kinds: Sequence[str] | None = None
    """Of queries: how each was made from its original, such as crop or rotate; None where not known."""

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

    def identity(self) -> str | None:
        """Changes whenever any file that the data set reads changes, or what is read of it.

        None: that cannot be told, so that features of these images are never kept.
        """
        return None
