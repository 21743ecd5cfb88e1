"""Parquet in the Hugging Face layout, and what people make of it."""

import io
import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sslkit.core.dataset import DataSource
from sslkit.data.parquet import Parquet, ParquetConfig, RowGroups
from sslkit.errors import DataError, MissingSplitError

Source = Callable[..., DataSource]
HUGGING_FACE = {"info": {"features": {"label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}}}


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (level, level, level)).save(file, "PNG")
    return file.getvalue()


def write(
    path: Path,
    levels: Sequence[int],
    labels: Sequence[Any] | None = None,
    *,
    group: int = 2,
    named: bool = False,
) -> None:
    """Images of one grey level each, `group` rows in a row group."""
    columns: dict[str, Any] = {"image": [{"bytes": png(level), "path": f"{level}.png"} for level in levels]}
    if labels is not None:
        columns["label"] = labels
    table = pa.table(columns)
    if named:
        table = table.replace_schema_metadata({"huggingface": json.dumps(HUGGING_FACE)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)


def levels_of(dataset: Parquet) -> list[int]:
    return [int(dataset[index].image[0, 0, 0]) for index in range(len(dataset))]


def open_(source: DataSource, **config: Any) -> Parquet:
    return Parquet(ParquetConfig(**config), source)


def test_rows_labels_and_names(tmp_path: Path, source: Source) -> None:
    write(tmp_path / "train.parquet", [10, 20, 30, 40, 50], [2, 0, 1, 1, 0], named=True)
    dataset = open_(source(tmp_path, "train"))
    assert levels_of(dataset) == [10, 20, 30, 40, 50]
    assert dataset.classes == ("cat", "dog", "eel")
    assert [dataset[index].label for index in range(5)] == [2, 0, 1, 1, 0]
    assert [dataset.key(index) for index in (0, 4)] == ["train.parquet#0", "train.parquet#4"]
    assert dataset[4].key == "train.parquet#4"
    assert dataset[0].image.shape == (3, 4, 3)


@pytest.mark.parametrize("place", [".", "data"])
def test_shards_are_one_data_set(tmp_path: Path, source: Source, place: str) -> None:
    write(tmp_path / place / "train-00000-of-00002.parquet", [1, 2, 3], [0, 1, 0])
    write(tmp_path / place / "train-00001-of-00002.parquet", [4, 5, 6], [1, 1, 0])
    write(tmp_path / place / "validation-00000-of-00001.parquet", [7], [0])
    write(tmp_path / place / "train_extra.parquet", [9], [0])
    dataset = open_(source(tmp_path, "train"))
    assert levels_of(dataset) == [1, 2, 3, 4, 5, 6]
    assert dataset.key(4) == "train-00001-of-00002.parquet#1"
    assert dataset[4].label == 1
    assert levels_of(open_(source(tmp_path, "val"))) == [7]
    with pytest.raises(MissingSplitError, match="it has train, validation"):
        open_(source(tmp_path, "test"))
    with pytest.raises(DataError, match="divided into train, validation"):
        open_(source(tmp_path, ""))


def test_a_missing_shard_is_told(tmp_path: Path, source: Source) -> None:
    write(tmp_path / "train-00000-of-00003.parquet", [1])
    write(tmp_path / "train-00002-of-00003.parquet", [3])
    with pytest.raises(DataError, match="2 of 3 parts are there, missing: 1"):
        open_(source(tmp_path, "train"))


def test_one_folder_a_split_and_one_file(tmp_path: Path, source: Source) -> None:
    write(tmp_path / "train" / "0000.parquet", [1, 2])
    assert levels_of(open_(source(tmp_path, "train"))) == [1, 2]
    file = tmp_path / "photos.parquet"
    write(file, [3])
    assert levels_of(open_(source(file, ""))) == [3]
    with pytest.raises(MissingSplitError):
        open_(source(file, "train"))


@pytest.mark.parametrize(
    "content",
    [
        ["ant", "bee"],
        [{"label": 1, "name": "bee"}, {"label": 0, "name": "ant", "wnid": "n0"}],
        {"1": "bee", "0": "ant"},
    ],
)
def test_class_names_from_a_file_beside_it(tmp_path: Path, source: Source, content: Any) -> None:
    write(tmp_path / "train.parquet", [1, 2], [1, 0])
    (tmp_path / "classes.json").write_text(json.dumps(content))
    assert open_(source(tmp_path, "train")).classes == ("ant", "bee")


def test_a_bad_class_file_is_told(tmp_path: Path, source: Source) -> None:
    write(tmp_path / "train.parquet", [1, 2], [1, 0])
    for content in ("{", '[{"label": 1, "name": "x"}]', '[{"name": "x"}]', "3"):
        (tmp_path / "classes.json").write_text(content)
        with pytest.raises(DataError, match=r"classes.json cannot be read .*valid: a list of names"):
            open_(source(tmp_path, "train"))


def test_labels_without_names_words_and_none(tmp_path: Path, source: Source) -> None:
    write(tmp_path / "numbers.parquet", [1, 2], [0, 2])
    assert open_(source(tmp_path / "numbers.parquet")).classes == ("0", "1", "2")
    write(tmp_path / "words.parquet", [1, 2], ["dog", "cat"])
    words = open_(source(tmp_path / "words.parquet"))
    assert (words.classes, words[0].label) == (("cat", "dog"), 1)
    for name, labels in (("hidden", [-1, -1]), ("empty", pa.array([None, None], pa.int64())), ("bare", None)):
        write(tmp_path / f"{name}.parquet", [1, 2], labels)
        dataset = open_(source(tmp_path / f"{name}.parquet"))
        assert (dataset.classes, dataset[0].label) == (None, None)
    assert open_(source(tmp_path / "words.parquet", labels="none")).classes is None


def test_labels_that_cannot_be_used_are_told(tmp_path: Path, source: Source) -> None:
    write(tmp_path / "high.parquet", [1, 2], [0, 3], named=True)
    write(tmp_path / "some.parquet", [1, 2], [0, None])
    write(tmp_path / "minus.parquet", [1, 2], [0, -1])
    write(tmp_path / "real.parquet", [1, 2], [0.5, 1.0])
    write(tmp_path / "bare.parquet", [1])
    for name, labels, reason in [
        ("high", "auto", r"reach from 0 to 3, but there are 3 class names"),
        ("some", "auto", r"1 of 2 rows have no label"),
        ("minus", "auto", r"reach from -1 to 0"),
        ("real", "auto", r"holds double; valid: integers or words"),
        ("bare", "folders", r"no labels in a column 'label'\n  its columns: image"),
    ]:
        with pytest.raises(DataError, match=reason):
            open_(source(tmp_path / f"{name}.parquet", labels=labels))


def test_other_columns(tmp_path: Path, source: Source) -> None:
    (tmp_path / "there.png").write_bytes(png(8))
    rows = [
        {"bytes": None, "path": "there.png"},
        {"bytes": None, "path": None},
    ]
    pq.write_table(pa.table({"picture": rows, "raw": [png(5), None], "kind": [1, 0]}), tmp_path / "x.parquet")
    file = source(tmp_path / "x.parquet")
    by_path = open_(file, image_column="picture", label_column="kind")
    assert (by_path[0].image[0, 0, 0], by_path[0].label) == (8, 1)
    assert open_(file, image_column="raw")[0].image[0, 0, 0] == 5
    for column in ("picture", "raw"):
        with pytest.raises(DataError, match="the row holds no image"):
            open_(file, image_column=column)[1]
    with pytest.raises(DataError, match=r"no column 'pictures'\n  did you mean 'picture'\?"):
        open_(file, image_column="pictures")


def test_files_that_are_no_parquet_are_told(tmp_path: Path, source: Source) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"train.parquet cannot be read as parquet"):
        open_(source(tmp_path, "train"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"found no .parquet file in"):
        open_(source(tmp_path / "empty", ""))
    write(tmp_path / "none" / "train.parquet", pa.array([], pa.int64()).to_pylist())
    with pytest.raises(DataError, match=r"found 0 rows|no column|cannot"):
        open_(source(tmp_path / "none", "train"))


def test_a_row_group_that_is_damaged_breaks_its_rows_only(tmp_path: Path, source: Source) -> None:
    file = tmp_path / "x.parquet"
    table = pa.table({"image": [{"bytes": os.urandom(2000), "path": ""} for _ in range(4)]})
    pq.write_table(table, file, row_group_size=2, compression="snappy", write_page_checksum=True)
    data = bytearray(file.read_bytes())
    data[8:40] = bytes(32)  # in the first page
    file.write_bytes(data)
    dataset = open_(source(file))
    with pytest.raises(DataError, match="cannot be read as parquet"):
        dataset[0]
    with pytest.raises(DataError, match="not a picture"):  # random bytes, but they could be read
        dataset[3]


def test_only_a_few_row_groups_stay_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    write(file, range(20))
    groups = RowGroups([file], "image", cache_bytes=500)
    assert [groups[index]["bytes"] for index in range(20)] == [png(level) for level in range(20)]
    kept = groups._kept
    assert 1 <= len(kept) < 5
    assert sum(group.nbytes for group in kept.values()) <= 500
    assert groups[19]["path"] == "19.png"
    assert 9 in kept  # the last one used


def test_each_process_opens_its_own_files(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    write(file, range(8))
    groups = RowGroups([file], "image", cache_bytes=10**6)
    assert groups[0]["path"] == "0.png"
    parents = groups._open[0]
    child = os.fork()
    if child == 0:  # tells by its exit code whether it read rightly, from a file of its own
        right = groups[5]["path"] == "5.png" and groups._open[0] is not parents
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    again = pickle.loads(pickle.dumps(groups))
    assert again[7]["path"] == "7.png"
    assert np.array_equal(again.starts, groups.starts)
