"""timm's own readers, on real folders and tars."""

import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sslkit.core.dataset import DataSource
from sslkit.data.timm_readers import TimmConfig, TimmReader
from sslkit.errors import DataError, MissingSplitError

Source = Callable[..., DataSource]
Tree = Callable[[Path, Sequence[str]], Path]


def test_folders(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["train/dog/2.jpg", "train/cat/1.jpg", "validation/cat/3.jpg"])
    train = TimmReader(TimmConfig(), source(tmp_path, "train"))
    assert train.classes == ("cat", "dog")
    assert [train.key(index) for index in range(2)] == ["cat/1.jpg", "dog/2.jpg"]
    assert [train[index].label for index in range(2)] == [0, 1]
    assert train[1].image.shape == (72, 48, 3)
    assert TimmReader(TimmConfig(), source(tmp_path, "train", channels=1))[0].image.shape == (72, 48, 1)
    val = TimmReader(TimmConfig(), source(tmp_path, "val"))
    assert val.key(0) == "cat/3.jpg"
    assert val.classes is None  # one folder of pictures is not a class
    assert TimmReader(TimmConfig(), source(tmp_path, "val", labels="folders")).classes == ("cat",)
    with pytest.raises(MissingSplitError, match="no split 'test'"):
        TimmReader(TimmConfig(), source(tmp_path, "test"))


def test_a_class_map_renames(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["dog/2.jpg", "cat/1.jpg"])
    (tmp_path / "map.txt").write_text("dog\ncat\n")
    dataset = TimmReader(TimmConfig(class_map=str(tmp_path / "map.txt")), source(tmp_path))
    assert dataset.classes == ("dog", "cat")
    assert dataset[0].label == 1


def test_labels_none(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["dog/2.jpg", "cat/1.jpg"])
    dataset = TimmReader(TimmConfig(), source(tmp_path, labels="none"))
    assert (dataset.classes, dataset[0].label) == (None, None)


def test_a_tar_of_class_folders(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path / "tree", ["dog/2.png", "cat/1.png"])
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "tree", arcname=".")
    folder = TimmReader(TimmConfig(), source(tmp_path / "tree"))
    dataset = TimmReader(TimmConfig(), source(tmp_path / "x.tar"))
    assert dataset.classes == ("cat", "dog")
    assert [dataset[index].label for index in range(2)] == [0, 1]
    assert np.array_equal(dataset[1].image, folder[1].image)
    with pytest.raises(MissingSplitError):
        TimmReader(TimmConfig(), source(tmp_path / "x.tar", "train"))


def test_torchvisions_sets(tmp_path: Path, source: Source) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 3), ("t10k", 2)):  # the original files' layout: magic number, sizes, bytes
        images = np.full((count, 28, 28), 9 if name == "train" else 5, np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            np.array([2051, count, 28, 28], ">i4").tobytes() + images.tobytes()
        )
        labels = np.arange(count, dtype=np.uint8)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            np.array([2049, count], ">i4").tobytes() + labels.tobytes()
        )
    train = TimmReader(TimmConfig(reader="torch/mnist"), source(tmp_path, "train"))
    assert (len(train), train[2].label, train.key(2)) == (3, 2, "2")
    assert train[0].image.shape == (28, 28, 3)
    assert len(train.classes or ()) == 10
    assert TimmReader(TimmConfig(reader="torch/mnist"), source(tmp_path, "val"))[0].image.max() == 5
    with pytest.raises(MissingSplitError, match="it has train, val"):
        TimmReader(TimmConfig(reader="torch/mnist"), source(tmp_path, "test"))


def test_what_cannot_work_is_told(tmp_path: Path, tree: Tree, source: Source) -> None:
    for reader in ("wds/x", "TFDS/x", "hfids/x"):
        with pytest.raises(DataError, match=r"is a stream.*\n.*data.name=webdataset"):
            TimmReader(TimmConfig(reader=reader), source(tmp_path, "train"))
    with pytest.raises(DataError, match=r"timm cannot open 'torch/cifar10'.*\n.*data.download"):
        TimmReader(TimmConfig(reader="torch/cifar10"), source(tmp_path, "train"))
    with pytest.raises(DataError, match=r"timm cannot open 'torch/nonsense'"):
        TimmReader(TimmConfig(reader="torch/nonsense"), source(tmp_path, "train"))
    with pytest.raises(DataError, match=r"Found 0 images"):
        TimmReader(TimmConfig(), source(tmp_path))
    with pytest.raises(DataError, match=r"there is no"):
        TimmReader(TimmConfig(), source(tmp_path / "gone", "train"))
    tree(tmp_path, ["a/1.jpg"])
    with pytest.raises(DataError, match=r"TypeError.*nonsense"):
        TimmReader(TimmConfig(args={"nonsense": 1}), source(tmp_path))
    gone = TimmReader(TimmConfig(), source(tmp_path))
    (tmp_path / "a" / "1.jpg").unlink()
    with pytest.raises(DataError, match="cannot be opened: No such file"):
        gone[0]
