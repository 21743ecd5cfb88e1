"""Pictures in parquet files, as Hugging Face `datasets` writes them."""

# N rows

import json
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.class_names import Labelled, from_numbers, from_words, read_class_names
from sslkit.data.decode import decode
from sslkit.data.splits import existing_root, split_files
from sslkit.data.tree import FolderTree
from sslkit.errors import DataError, nearest
from sslkit.hookspecs import hookimpl

T = TypeVar("T")


@dataclass
class ParquetConfig:
    """Keys of the `data` section for `name: parquet`."""

    image_column: str = "image"
    """Column with the images: a struct of bytes and path, or the bytes themselves."""
    label_column: str = "label"
    """Column with the labels: integers or words; where it is missing, the data have no labels."""
    cache_mb: int = 256
    """Memory for row groups that have been read, MiB for each process; a few row groups should fit."""


class Parquet(Dataset):
    """The rows of one or more parquet files, in order."""

    Config = ParquetConfig

    def __init__(self, config: ParquetConfig, source: DataSource) -> None:
        root = existing_root(source, "parquet")
        files = split_files(root, source.split, ".parquet")
        if not files:
            raise DataError(f"found no .parquet file in {root}")
        self._folder = files[0].parent
        self._names = [path.name for path in files]
        self._channels = source.channels
        self._columns = config.image_column, config.label_column
        schema = _schema(files[0], config)
        self._groups = RowGroups(files, config.image_column, config.cache_mb * 2**20)
        if len(self) == 0:
            raise DataError(f"found 0 rows in {', '.join(self._names)} ({self._folder})")
        labelled = None if source.labels == "none" else _labels(files, schema, config.label_column)
        if labelled is None and source.labels == "folders":
            raise DataError(
                f"data.labels=folders, but {files[0]} has no labels in a column '{config.label_column}'\n"
                f"  its columns: {', '.join(schema.names)}; set data.label_column, or data.labels=none"
            )
        self.classes = None if labelled is None else labelled.classes
        self._labels = None if labelled is None else labelled.labels

    def __len__(self) -> int:
        return self._groups.starts[-1]

    def key(self, index: int) -> str:
        file, row = self._groups.place(index)
        return f"{self._names[file]}#{row}"

    def identity(self) -> str | None:
        """The files' sizes and times of change; None where rows may name pictures in other files."""
        if not all(_is_whole(self._folder / name, self._columns[0]) for name in self._names):
            return None
        return f"parquet {self._columns} {FolderTree(self._folder).state(self._names)}"

    def __getitem__(self, index: int) -> Sample:
        image = decode(self._bytes(self._groups[index]), self._channels)
        label = None if self._labels is None else int(self._labels[index])
        return Sample(image, label, self.key(index))

    def _bytes(self, value: Any) -> bytes | Path:
        """Of a struct, the bytes, or else the file at its path, counted from the parquet file's folder."""
        if isinstance(value, dict):
            if value.get("bytes") is None and value.get("path"):
                return self._folder / str(value["path"])
            value = value.get("bytes")
        if value is None:
            raise DataError("the row holds no image")
        return bytes(value)


class RowGroups:
    """One column of several files by row number; row groups are read when needed, the last ones kept.

    Open files and the cache belong to one process: a forked or spawned worker starts its own.
    """

    def __init__(self, files: Sequence[Path], column: str, cache_bytes: int) -> None:
        self._files, self._column, self._cache_bytes = list(files), column, cache_bytes
        self.starts = [0]
        """First row of each row group, and the number of rows."""
        self._groups: list[tuple[int, int]] = []  # (file, row group in it)
        self._first_group: list[int] = []  # of each file
        for number, file in enumerate(files):
            self._first_group.append(len(self._groups))
            sizes = _guarded(file, partial(_group_sizes, file))
            self._groups += [(number, group) for group in range(len(sizes))]
            self.starts += list(accumulate(sizes, initial=self.starts[-1]))[1:]
        self._forget()

    def place(self, index: int) -> tuple[int, int]:
        """The file that row `index` is in, and its row number there."""
        file, _ = self._groups[self._group(index)]
        return file, index - self.starts[self._first_group[file]]

    def __getitem__(self, index: int) -> Any:
        group = self._group(index)
        return self._read(group)[index - self.starts[group]].as_py()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}, "_kept": OrderedDict(), "_process": None}

    def _group(self, index: int) -> int:
        return bisect_right(self.starts, index) - 1

    def _forget(self) -> None:
        self._process: int | None = os.getpid()
        self._open: dict[int, Any] = {}
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def _read(self, group: int) -> Any:
        """The column of a row group, a pyarrow ChunkedArray."""
        if self._process != os.getpid():
            self._forget()
        if group not in self._kept:
            file, number = self._groups[group]
            self._kept[group] = _guarded(self._files[file], lambda: self._load(file, number))
            self._make_room()
        self._kept.move_to_end(group)
        return self._kept[group]

    def _load(self, file: int, number: int) -> Any:
        import pyarrow.parquet

        if file not in self._open:
            self._open[file] = pyarrow.parquet.ParquetFile(self._files[file], memory_map=True)
        table = self._open[file].read_row_group(number, columns=[self._column], use_threads=False)
        return table.column(self._column)

    def _make_room(self) -> None:
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self._cache_bytes:
            self._kept.popitem(last=False)


def _guarded(file: Path, read: Callable[[], T]) -> T:
    """What `read` gives; Arrow's errors with the file's name."""
    import pyarrow

    try:
        return read()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read as parquet: {error}") from error


def _group_sizes(file: Path) -> list[int]:
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(file)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def _is_whole(file: Path, column: str) -> bool:
    """Whether the file says of itself that every row holds its image's bytes."""
    import pyarrow.parquet

    metadata = _guarded(file, lambda: pyarrow.parquet.read_metadata(file))
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    images = [c.statistics for c in columns if c.path_in_schema in (column, f"{column}.bytes")]
    return len(images) == len(groups) and all(s is not None and s.null_count == 0 for s in images)


def _schema(file: Path, config: ParquetConfig) -> Any:
    """The file's Arrow schema; raises `DataError` where there is no such image column."""
    import pyarrow.parquet

    schema = _guarded(file, lambda: pyarrow.parquet.read_schema(file))
    if config.image_column not in schema.names:
        raise DataError(
            f"{file} has no column '{config.image_column}'{nearest(config.image_column, schema.names)}\n"
            f"  its columns: {', '.join(schema.names)}; set data.image_column"
        )
    return schema


def _labels(files: Sequence[Path], schema: Any, column: str) -> Labelled | None:
    """Labels of all rows; class names from the schema's metadata, else from classes.json, else numbers."""
    import pyarrow
    import pyarrow.parquet

    if column not in schema.names:
        return None
    parts = [_guarded(file, partial(pyarrow.parquet.read_table, file, columns=[column])) for file in files]
    values = pyarrow.chunked_array([chunk for part in parts for chunk in part.column(0).chunks])
    if values.null_count == len(values):
        return None
    if values.null_count:
        raise DataError(
            f"{files[0].parent}: {values.null_count} of {len(values)} rows have no label in column "
            f"'{column}'; add the labels, or set data.labels=none"
        )
    if pyarrow.types.is_integer(values.type):
        names = _hugging_face_names(schema, column) or read_class_names(files[0].parent)
        return from_numbers(np.array(values).astype(np.int64), names, str(files[0].parent))
    if pyarrow.types.is_string(values.type) or pyarrow.types.is_large_string(values.type):
        return from_words(values.to_pylist())
    raise DataError(
        f"{files[0]}: column '{column}' holds {values.type}; valid: integers or words\n"
        "  set data.label_column, or data.labels=none"
    )


def _hugging_face_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """Names of a ClassLabel feature."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"parquet": Parquet}
