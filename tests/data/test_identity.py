"""A data set's identity: the same when nothing changed, another when a file it reads did."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sslkit.core.dataset import Dataset, DataSource
from sslkit.data.demo import Demo
from sslkit.data.open import Part
from sslkit.data.parquet import Parquet, ParquetConfig
from sslkit.data.scenes import ScenesConfig
from sslkit.data.timm_readers import TimmConfig, TimmReader
from sslkit.data.webdataset import WebDataset, WebDatasetConfig

Source = Callable[..., DataSource]
Tree = Callable[[Path, Sequence[str]], Path]
PATHS = ["train/cat/0.png", "train/dog/1.png", "train/dog/2.png"]


def write_parquet(folder: Path) -> None:
    images = [{"bytes": (folder / path).read_bytes(), "path": path} for path in PATHS]
    pq.write_table(pa.table({"image": images, "label": [0, 1, 1]}), folder / "train.parquet")


def touch(path: Path) -> None:
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("open_", "file"),
    [
        (lambda source: TimmReader(TimmConfig(), source), "train/dog/2.png"),
        (lambda source: Parquet(ParquetConfig(), source), "train.parquet"),
        (lambda source: WebDataset(WebDatasetConfig(), source), "train.tar"),
    ],
    ids=["timm", "parquet", "webdataset"],
)
def test_files_that_change(
    open_: Callable[[DataSource], Dataset],
    file: str,
    tmp_path: Path,
    tree: Tree,
    as_tar: Callable[..., Path],
    source: Source,
) -> None:
    root = tree(tmp_path / "data", PATHS)
    as_tar(root / "train")
    write_parquet(root)
    first = open_(source(root, "train")).identity()
    assert first is not None
    assert open_(source(root, "train")).identity() == first
    touch(root / file)
    assert open_(source(root, "train")).identity() not in (first, None)


def test_rows_that_name_files_cannot_tell(tmp_path: Path, tree: Tree, source: Source) -> None:
    root = tree(tmp_path / "data", PATHS)
    images = [{"bytes": None, "path": PATHS[0]}, {"bytes": (root / PATHS[1]).read_bytes(), "path": None}]
    pq.write_table(pa.table({"image": images}), root / "train.parquet")
    assert Parquet(ParquetConfig(), source(root, "train")).identity() is None


def test_the_demo_depends_on_its_configuration_and_split(source: Source) -> None:
    def identity(split: str = "train", **config: int) -> str:
        small = ScenesConfig(**{"count": 3, "eval_count": 3, "image_size": 16, **config})  # type: ignore[arg-type]
        return Demo(small, source(None, split)).identity()

    assert identity() == identity()
    assert len({identity(), identity("val"), identity(count=4), identity(scenes_seed=1)}) == 4


def test_a_part_depends_on_its_rows_and_labels(tmp_path: Path, tree: Tree, source: Source) -> None:
    whole = TimmReader(TimmConfig(), source(tree(tmp_path / "data", PATHS), "train"))
    parts = [
        Part(whole, np.array(rows), classes)
        for rows, classes in (
            ([0, 1], whole.classes),
            ([0, 2], whole.classes),
            ([0, 1], ("ape", "cat", "dog")),
        )
    ]
    assert len({part.identity() for part in (*parts, whole)}) == 4
