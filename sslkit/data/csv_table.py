"""Tables of a data set: CSV files with a header."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslkit.data.tree import FileTree
from sslkit.errors import DataError, nearest


@dataclass(frozen=True)
class Table:
    """A table by its columns, all of the same length; cells are stripped of spaces."""

    place: Path
    """The file, as it is named in errors."""
    columns: dict[str, list[str]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def needed(self, config: Any, key: str) -> list[str]:
        """The column that `config.key` names. Raises `DataError` if there is none of that name."""
        name = getattr(config, key)
        if name not in self.columns:
            raise DataError(
                f"{self.place} has no column '{name}'{nearest(str(name), self.columns)}\n"
                f"  its columns: {', '.join(self.columns)}; set data.{key}"
            )
        return self.columns[name]

    def known(self, config: Any, key: str) -> list[str] | None:
        """The same; None where the key is null, the default name is missing, or every cell is empty."""
        name = getattr(config, key)
        if name is None or (name not in self.columns and name == getattr(type(config)(), key)):
            return None
        column = self.needed(config, key)
        return column if any(column) else None


def read_table(tree: FileTree, path: str) -> Table:
    """A CSV file of a tree, or one beside the tar. Raises `DataError` where it is missing or no table."""
    place = tree.root / path
    try:
        rows = list(csv.reader(io.StringIO(tree.table(path).decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place} cannot be read as a CSV table: {error}") from error
    numbered = [(line, row) for line, row in enumerate(rows, 1) if any(row)]
    if len(numbered) < 2:
        raise DataError(f"{place} has no rows below a header")
    header = [name.strip() for name in numbered[0][1]]
    for line, row in numbered[1:]:
        if len(row) != len(header):
            raise DataError(f"{place}, row {line}: {len(row)} cells, but the header has {len(header)}")
    columns = zip(*(row for _, row in numbered[1:]), strict=True)
    return Table(place, {name: _stripped(column) for name, column in zip(header, columns, strict=True)})


def all_or_none(cells: Sequence[str] | None, place: Path, key: str) -> list[str] | None:
    """The cells; None if all are empty. Raises `DataError` where some are and some are not."""
    if cells is None or not any(cells):
        return None
    if missing := sum(not cell for cell in cells):
        raise DataError(
            f"{place}: {missing} of {len(cells)} images have no {key.removesuffix('_column')}\n"
            f"  fill the column, or leave it out: data.{key}=null"
        )
    return list(cells)


def _stripped(column: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in column]
