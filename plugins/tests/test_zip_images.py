"""The one-file plugin zip_images.py on real zips: the conformance kit, and `folder` beside it."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from sslkit.core.dataset import DataSource
from sslkit.errors import DataError, MissingSplitError
from sslkit.plugins import Registry
from sslkit.testing import check_dataset

FILE = Path(__file__).parent.parent / "zip_images.py"


@pytest.fixture(scope="module")
def cls() -> Any:
    return Registry.load([str(FILE)]).get("datasets", "zip_images")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """train and val, each with three cats and three dogs of noise; hidden files too."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png", "dog/2.png", "dog/3.PNG"):
            path = tmp_path / "photos" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (90, 60, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "train" / "cat" / "._1.png").write_bytes(b"macOS")
    (tmp_path / "photos" / "readme.txt").write_text("noise")
    return tmp_path / "photos"


def zipped(folder: Path, below: str = "", how: int = zipfile.ZIP_DEFLATED) -> Path:
    """The folder's files in a zip, paths from the folder, in the reverse of their order."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", how) as file:
        for name in sorted(folder.rglob("*.*"), reverse=True):
            file.write(name, below + name.relative_to(folder).as_posix())
    return path


def opened(cls: Any, root: Path | None, split: str = "", labels: Any = "auto", folder: str = "") -> Any:
    return cls(cls.Config(folder), DataSource(root, split, labels))


def test_it_conforms(cls: Any, photos: Path) -> None:
    check_dataset(cls, root=zipped(photos))
    check_dataset(cls, cls.Config(folder="all/photos"), root=zipped(photos, "all/photos/"), labels="folders")


@pytest.mark.parametrize("part", ["", "train/", "train/cat/"])
def test_a_zip_has_the_images_labels_and_keys_of_its_folder(cls: Any, photos: Path, part: str) -> None:
    """Of one that is divided, of class folders, and flat."""
    split = "" if part else "val"
    of_zip = opened(cls, zipped(photos / part), split)
    folder = Registry.load().get("datasets", "folder")
    of_folder = folder(folder.Config(), DataSource(photos / part, split))
    assert of_zip.classes == of_folder.classes == (None if "cat" in part else ("cat", "dog"))
    assert len(of_zip) == len(of_folder) == (3 if "cat" in part else 6)
    for ours, theirs in zip(of_zip, of_folder, strict=True):
        assert (ours.key, ours.label) == (theirs.key, theirs.label)
        assert np.array_equal(ours.image, theirs.image)


def test_workers_have_the_zip_open_for_themselves(cls: Any, photos: Path) -> None:
    """The place in the file that the main process has open stays where it is, whatever forked ones read."""
    data = opened(cls, zipped(photos), "train")
    right = [data[index].image for index in reversed(range(len(data)))][::-1]
    number = data._opened[1].fp.fileno()
    before = os.lseek(number, 0, os.SEEK_CUR)
    loader: DataLoader[Any] = DataLoader(data, None, num_workers=2, multiprocessing_context="fork")
    for sample, image in zip(loader, right, strict=True):
        assert np.array_equal(sample.image, image)
    assert os.lseek(number, 0, os.SEEK_CUR) == before


def test_a_damaged_image_is_told_and_the_others_are_read(cls: Any, photos: Path) -> None:
    path = zipped(photos, how=zipfile.ZIP_STORED)
    damaged = (photos / "train" / "cat" / "1.png").read_bytes()
    path.write_bytes(path.read_bytes().replace(damaged, damaged[:-40] + bytes(40)))
    data = opened(cls, path, "train")
    with pytest.raises(
        DataError, match=r"^it cannot be read from the zip: Bad CRC-32 for file 'train/cat/1.png'"
    ):
        data[0]
    assert data[1].image.shape == (90, 60, 3)


def test_what_is_no_zip_of_images_is_told(cls: Any, photos: Path, tmp_path: Path) -> None:
    path = zipped(photos)
    with pytest.raises(MissingSplitError, match="has no split 'test'; it has train, val"):
        opened(cls, path, "test")
    with pytest.raises(
        DataError, match=r"found 0 images in .*photos.zip/other\n  files count that end in .jpg"
    ):
        opened(cls, path, folder="other")
    (tmp_path / "cut.zip").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cut.zip cannot be read as a .zip: File is not a zip file"):
        opened(cls, tmp_path / "cut.zip")
    with pytest.raises(DataError, match=r"set data.root=PATH"):
        opened(cls, None)


def test_another_zip_is_known_as_another(cls: Any, photos: Path) -> None:
    before = opened(cls, zipped(photos), "train").identity()
    Image.new("RGB", (5, 5)).save(photos / "train" / "cat" / "4.png")
    assert opened(cls, zipped(photos), "train").identity() != before
