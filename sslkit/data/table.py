"""Images that a CSV table lists, with masks, labels, objects and splits as far as it has columns for them."""

# N images of a split

import os
import posixpath
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.class_names import Labelled, from_texts, read_class_names
from sslkit.data.csv_table import Table, all_or_none, read_table
from sslkit.data.decode import decode
from sslkit.data.masks import read_mask
from sslkit.data.splits import WHOLE, missing_split, refuse_whole, spellings
from sslkit.data.tree import FileTree, as_key, open_tree, packed
from sslkit.errors import DataError
from sslkit.hookspecs import hookimpl

ALL = "all"
"""Split that is every row, for what needs no memory bank, such as masks."""
_LOOKED_AT = 32


@dataclass
class TableConfig:
    """Keys of the `data` section for `name: table`."""

    table: str = "index.csv"
    """The CSV file with a header, below the root or beside the tar."""
    image_column: str = "image"
    """Column with the images' paths below the root."""
    mask_column: str | None = "mask"
    """Column with the masks' paths: pictures of the images' size, above 0 on the object. null: no masks."""
    label_column: str | None = "label"
    """Column with the labels, words or numbers. null: no labels."""
    instance_column: str | None = "instance"
    """Column that says which very object an image shows, by any name. null: not known."""
    split_column: str | None = "split"
    """Column with the split, such as train, val or test. null: the data are not divided."""


class TableOfImages(Dataset):
    """The rows of a split, in order."""

    Config = TableConfig

    def __init__(self, config: TableConfig, source: DataSource) -> None:
        self._tree, self._channels = open_tree(source, "table"), source.channels
        self._table, self._how = config.table, f"{source} {config}"
        table = read_table(self._tree, config.table)
        rows = _rows(table, config, source.split)
        images = table.needed(config, "image_column")
        self._images = packed(_paths([images[row] for row in rows], self._tree, table))
        masks = _cells(table, config, "mask_column", rows)
        self._masks = None if masks is None else packed([posixpath.normpath(mask) for mask in masks])
        self.has_masks = masks is not None
        labelled = None if source.labels == "none" else _labels(table, config, rows, self._tree)
        if labelled is None and source.labels == "folders":
            raise DataError(f"data.labels=folders, but {table.place} has no labels; set data.label_column")
        self.classes = None if labelled is None else labelled.classes
        self._labels = None if labelled is None else labelled.labels
        self._instances, self.instances = _instances(table, config, rows)

    def __len__(self) -> int:
        return len(self._images)

    def key(self, index: int) -> str:
        return as_key(os.fsdecode(self._images[index]))

    def __getitem__(self, index: int) -> Sample:
        image = decode(self._tree.read(os.fsdecode(self._images[index])), self._channels)
        label, instance = (None if x is None else int(x[index]) for x in (self._labels, self._instances))
        mask = None
        if self._masks is not None:
            mask = read_mask(self._tree, os.fsdecode(self._masks[index]), image.shape[:2])
        return Sample(image, label, self.key(index), mask, instance)

    def identity(self) -> str | None:
        """Changes whenever the table, an image or a mask does."""
        read = [*self._images, *([] if self._masks is None else self._masks)]
        return f"{self._how} {self._tree.table_state(self._table)} {self._tree.state(map(os.fsdecode, read))}"


def _rows(table: Table, config: TableConfig, split: str) -> list[int]:
    """The rows of a split; of `ALL`, whatever their split."""
    column = table.known(config, "split_column")
    there = [] if column is None else sorted(set(column))
    if split == WHOLE:
        refuse_whole(table.place, there)
        return list(range(len(table)))
    for name in spellings(split):
        if column is not None and name in there:
            return [row for row, cell in enumerate(column) if cell == name]
    if split == ALL:
        return list(range(len(table)))
    raise missing_split(table.place, split, [*there, ALL] if there else [])


def _paths(images: list[str], tree: FileTree, table: Table) -> list[str]:
    """Raises where none of the first images is there: then it is the root or the column that is wrong."""
    if not all(images):
        raise DataError(f"{table.place}: {images.count('')} of {len(images)} rows name no image")
    paths = [posixpath.normpath(image) for image in images]
    if not any(tree.has_file(path) for path in paths[:_LOOKED_AT]):
        raise DataError(
            f"{table.place} names the image {paths[0]}, but there is no {tree.root / paths[0]}\n"
            "  paths in a table count from data.root; choose another, or set data.image_column"
        )
    return paths


def _cells(table: Table, config: TableConfig, key: str, rows: list[int]) -> list[str] | None:
    column = table.known(config, key)
    return None if column is None else all_or_none([column[row] for row in rows], table.place, key)


def _labels(table: Table, config: TableConfig, rows: list[int], tree: FileTree) -> Labelled | None:
    texts = _cells(table, config, "label_column", rows)
    return None if texts is None else from_texts(texts, read_class_names(tree.beside), str(table.place))


def _instances(
    table: Table, config: TableConfig, rows: list[int]
) -> tuple[npt.NDArray[np.int64] | None, int | None]:
    """Numbers [N] of the objects, the same in all splits, and how many the table names."""
    cells = _cells(table, config, "instance_column", rows)
    if cells is None:
        return None, None
    names = np.unique(table.needed(config, "instance_column"))
    return np.searchsorted(names, cells), len(names)


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"table": TableOfImages}
