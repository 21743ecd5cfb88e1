"""VOC's folders, with palette pictures as VOC stores them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sslkit.core.dataset import DataSource
from sslkit.data.decode import decode_indices
from sslkit.data.open import open_eval
from sslkit.data.voc import Voc, VocConfig
from sslkit.errors import DataError, MissingSplitError
from sslkit.plugins import Registry
from sslkit.recipe.schema import Recipe

Source = Callable[..., DataSource]
AsTar = Callable[..., Path]
Make = Callable[..., Recipe]


def palette() -> list[int]:
    """VOC's colours: bit k of the number goes to bit 7 - k // 3 of colour k % 3."""
    colours = []
    for number in range(256):
        colour = [0, 0, 0]
        for bit in range(8):
            colour[bit % 3] |= ((number >> bit) & 1) << (7 - bit // 3)
        colours += colour
    return colours


def objects_of(number: int) -> NDArray[np.uint8]:
    """[20, 30]: object 1, object 2 and a border of 255 between them."""
    objects = np.zeros((20, 30), np.uint8)
    objects[2 : 10 + number, 3:12] = 1
    objects[2:10, 14:20] = 2
    objects[2:10, 12:14] = 255
    return objects


def write_set(folder: Path, photo: NDArray[np.uint8]) -> Path:
    lists = folder / "ImageSets" / "Segmentation"
    for part in (lists, folder / "JPEGImages", folder / "SegmentationObject", folder / "SegmentationClass"):
        part.mkdir(parents=True)
    for number in range(4):
        name = f"2007_00000{number}"
        Image.fromarray(photo[number : number + 20, :30]).save(folder / "JPEGImages" / f"{name}.jpg")
        for kind, values in (("Object", objects_of(number)), ("Class", objects_of(number) // 2)):
            stored = Image.fromarray(values)
            stored.putpalette(palette())
            stored.save(folder / f"Segmentation{kind}" / f"{name}.png")
    Image.fromarray(photo[:20, :30]).save(folder / "JPEGImages" / "2007_000009.jpg")  # in no list
    (lists / "train.txt").write_text("2007_000001\n2007_000000\n")
    (lists / "val.txt").write_text("2007_000002\n2007_000003\n")
    (lists / "trainval.txt").write_text("".join(f"2007_00000{number}\n" for number in range(4)))
    return folder


@pytest.fixture
def devkit(tmp_path: Path, photo: NDArray[np.uint8]) -> Path:
    write_set(tmp_path / "VOCdevkit" / "VOC2012", photo)
    return tmp_path / "VOCdevkit"


@pytest.mark.parametrize("where", ["above", "devkit", "set", "tar", "set in the tar"])
def test_objects_are_read_as_numbers_wherever_the_root_is(
    devkit: Path, as_tar: AsTar, source: Source, where: str
) -> None:
    roots = {"above": devkit.parent, "devkit": devkit, "set": devkit / "VOC2012"}
    if "tar" in where:
        packed = as_tar(devkit, "VOCdevkit")
        roots |= {"tar": packed, "set in the tar": packed / "VOCdevkit" / "VOC2012"}
    dataset = Voc(VocConfig(), source(roots[where], "train"))
    assert (len(dataset), dataset.classes, dataset.has_masks) == (2, None, True)
    assert dataset.key(0).endswith("JPEGImages/2007_000001.jpg")
    sample = dataset[0]
    assert sample.key == dataset.key(0)
    assert sample.image.shape == (20, 30, 3)
    assert np.array_equal(sample.objects, objects_of(1))  # type: ignore[arg-type]
    expected = np.isin(objects_of(1), [1, 2])  # 255 is not counted
    assert np.array_equal(sample.mask, expected)  # type: ignore[arg-type]


def test_lists_are_the_splits(devkit: Path, source: Source, recipe: Make, registry: Registry) -> None:
    assert len(Voc(VocConfig(), source(devkit, "trainval"))) == 4
    with pytest.raises(MissingSplitError, match=r"no split 'test'; it has train, trainval, val"):
        Voc(VocConfig(), source(devkit, "test"))
    with pytest.raises(DataError, match="divided into train, trainval, val"):
        Voc(VocConfig(), source(devkit, ""))
    bank, queries = open_eval(recipe(name="voc", root=str(devkit)), registry)
    assert bank[1].key == "VOC2012/JPEGImages/2007_000000.jpg"
    assert queries[0].key == "VOC2012/JPEGImages/2007_000002.jpg"


def test_images_without_masks(devkit: Path, source: Source) -> None:
    names = devkit / "VOC2012" / "ImageSets" / "Segmentation" / "test.txt"
    names.write_text("2007_000009\n")
    dataset = Voc(VocConfig(), source(devkit, "test"))
    assert (dataset.has_masks, dataset[0].mask, dataset[0].objects) == (False, None, None)
    names.write_text("2007_000009\n2007_000001\n")
    with pytest.raises(DataError, match=r"its mask .*2007_000009.png: the file cannot be opened"):
        Voc(VocConfig(), source(devkit, "test"))[0]


def test_which_set_is_told_and_asked_for(
    devkit: Path, photo: NDArray[np.uint8], source: Source, tmp_path: Path
) -> None:
    write_set(devkit / "VOC2007", photo)
    with pytest.raises(DataError, match=r"holds VOC2007, VOC2012: choose one, such as data.root=.*VOC2012"):
        Voc(VocConfig(), source(devkit, "train"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is no VOC set: there is no JPEGImages"):
        Voc(VocConfig(), source(tmp_path / "empty", "train"))
    with pytest.raises(DataError, match="show several classes"):
        Voc(VocConfig(), source(devkit / "VOC2007", "train", labels="folders"))


def test_colours_are_no_numbers(devkit: Path, source: Source, photo: NDArray[np.uint8]) -> None:
    Image.fromarray(photo[:20, :30]).save(devkit / "VOC2012" / "SegmentationObject" / "2007_000001.png")
    with pytest.raises(DataError, match=r"its mask .*its pixels are of mode RGB; numbers are stored as"):
        Voc(VocConfig(), source(devkit, "train"))[0]
    with pytest.raises(DataError, match="not a picture"):
        decode_indices(b"text")


def test_identity(devkit: Path, source: Source) -> None:
    first = Voc(VocConfig(), source(devkit, "train")).identity()
    assert Voc(VocConfig(), source(devkit, "train")).identity() == first
    (devkit / "VOC2012" / "SegmentationObject" / "2007_000000.png").write_bytes(b"other")
    assert Voc(VocConfig(), source(devkit, "train")).identity() != first
