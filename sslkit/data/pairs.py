"""A database and queries made from its images, with a table that says which from which: copy detection."""

# N images of the database, Q queries

import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.csv_table import Table, read_table
from sslkit.data.decode import SUFFIXES, decode
from sslkit.data.splits import is_queries
from sslkit.data.tree import FileTree, as_key, open_tree
from sslkit.errors import DataError
from sslkit.hookspecs import hookimpl


@dataclass
class PairsConfig:
    """Keys of the `data` section for `name: pairs`."""

    database: str = "db"
    """Folder with the images that are searched; all pictures in it belong to them."""
    table: str = "queries.csv"
    """The CSV file with a header that lists the queries, below the root or beside the tar."""
    query_column: str = "query"
    """Column with the queries' paths below the root."""
    original_column: str = "original"
    """Column with the path of the image of the database that a query was made from; empty: there is none."""
    kind_column: str | None = "transformation"
    """Column that says how a query was made, such as crop. null: not known."""


class Pairs(Dataset):
    """The database (split db or train) or the queries (split queries, val or test).

    An image of the database has its number as `instance`, a query that of its original, or -1.
    """

    Config = PairsConfig

    def __init__(self, config: PairsConfig, source: DataSource) -> None:
        self._tree, self._channels = open_tree(source, "pairs"), source.channels
        self.paired = is_queries(source.split, self._tree.root)
        database = _database(self._tree, config.database)
        self.instances = len(database)
        if self.paired:
            table = read_table(self._tree, config.table)
            self._images = _queries(self._tree, table, config)
            self._instances = _originals(table, config, database)
            self.kinds = table.known(config, "kind_column")
        else:
            self._images, self._instances = database, list(range(len(database)))
        self._table, self._how = config.table, f"{source} {config}"

    def __len__(self) -> int:
        return len(self._images)

    def key(self, index: int) -> str:
        return as_key(self._images[index])

    def __getitem__(self, index: int) -> Sample:
        image = decode(self._tree.read(self._images[index]), self._channels)
        return Sample(image, None, self.key(index), instance=self._instances[index])

    def identity(self) -> str | None:
        """Changes whenever an image, the table or an original's place in the database does."""
        places = hashlib.sha256(repr(self._instances).encode()).hexdigest()
        return f"{self._how} {self._tree.table_state(self._table)} {self._tree.state(self._images)} {places}"


def _database(tree: FileTree, folder: str) -> list[str]:
    """Paths [N] of all pictures in the folder."""
    if not tree.has_folder(folder):
        raise DataError(f"there is no folder {tree.root / folder}; data.database names it")
    paths = [path for path in tree.files(folder) if path.lower().endswith(SUFFIXES)]
    if not paths:
        raise DataError(f"found 0 images in {tree.root / folder}; data.database names the folder")
    return paths


def _queries(tree: FileTree, table: Table, config: PairsConfig) -> list[str]:
    """Paths [Q]. Raises `DataError` for one that is not there."""
    paths = [posixpath.normpath(path) for path in table.needed(config, "query_column")]
    if gone := [path for path in paths if not tree.has_file(path)]:
        raise DataError(
            f"{table.place} names {len(gone)} queries that are not there, such as {tree.root / gone[0]}\n"
            "  paths in it count from data.root"
        )
    return paths


def _originals(table: Table, config: PairsConfig, database: Sequence[str]) -> list[int]:
    """Number [Q] of each query's original in the database, -1 where it has none."""
    numbers = {path: number for number, path in enumerate(database)} | {"": -1}
    cells = table.needed(config, "original_column")
    paths = [posixpath.normpath(cell) if cell else "" for cell in cells]
    if gone := [path for path in paths if path not in numbers]:
        raise DataError(
            f"{table.place} names {len(gone)} originals that are not in the database, such as {gone[0]}\n"
            f"  paths count from data.root; the database begins with {database[0]} (data.database)"
        )
    return [numbers[path] for path in paths]


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"pairs": Pairs}
