"""Folders: what counts as an image, as a class, as a split."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.core.dataset import DataSource
from sslkit.data.folder import Folder, FolderConfig, class_folders
from sslkit.errors import DataError, MissingSplitError

Source = Callable[..., DataSource]
Tree = Callable[[Path, Sequence[str]], Path]
AsTar = Callable[..., Path]


def keys(dataset: Folder) -> list[str]:
    return [dataset.key(index) for index in range(len(dataset))]


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"], ["cat", "cat", "dog"]),
        (["0/1.jpg", "1/1.jpg"], ["0", "1"]),
        (["2021/05/x.jpg", "2022/06/y.jpg"], None),
        (["2021/x.jpg", "2022/y.jpg"], None),
        (["2021-05/x.jpg", "20210601/y.jpg"], None),
        (["holiday/1.jpg", "holiday/2.jpg"], None),
        (["1.jpg", "2.jpg"], None),
        (["cat/1.jpg", "dog/1.jpg", "cover.jpg"], None),
        (["cat/1.jpg", "dog/young/1.jpg"], None),
        (["images/1.jpg", "masks/1.png"], None),
    ],
)
def test_what_auto_takes_for_classes(paths: list[str], classes: list[str] | None) -> None:
    assert class_folders(paths) == classes


def test_class_folders_give_labels_in_sorted_order(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["dog/b.jpg", "cat/z.png", "dog/a.jpg"])
    dataset = Folder(FolderConfig(), source(tmp_path))
    assert keys(dataset) == ["cat/z.png", "dog/a.jpg", "dog/b.jpg"]
    assert dataset.classes == ("cat", "dog")
    assert [dataset[i].label for i in range(3)] == [0, 1, 1]
    assert dataset[1].key == "dog/a.jpg"
    assert dataset[1].image.shape == (72, 48, 3)


def test_labels_none_and_folders_override_the_rule(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["2021/05/x.jpg", "2022/06/y.jpg"])
    assert Folder(FolderConfig(), source(tmp_path)).classes is None
    assert Folder(FolderConfig(), source(tmp_path, labels="folders")).classes == ("2021", "2022")
    tree(tmp_path / "b", ["cat/1.jpg", "dog/1.jpg"])
    unlabelled = Folder(FolderConfig(), source(tmp_path / "b", labels="none"))
    assert unlabelled.classes is None
    assert unlabelled[0].label is None


def test_labels_folders_refuses_images_outside(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["cat/1.jpg", "dog/1.jpg", "cover.jpg"])
    with pytest.raises(DataError, match=r"1 of 3 images lie in no class folder.*cover.jpg"):
        Folder(FolderConfig(), source(tmp_path, labels="folders"))


def test_split_folders(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["train/a/1.jpg", "train/b/1.jpg", "valid/a/1.jpg", "valid/b/2.jpg"])
    train = Folder(FolderConfig(), source(tmp_path, "train"))
    assert (keys(train), train.classes) == (["train/a/1.jpg", "train/b/1.jpg"], ("a", "b"))
    assert keys(Folder(FolderConfig(), source(tmp_path, "val"))) == ["valid/a/1.jpg", "valid/b/2.jpg"]
    with pytest.raises(MissingSplitError, match=r"no split 'test'; it has train, valid"):
        Folder(FolderConfig(), source(tmp_path, "test"))
    with pytest.raises(DataError, match=r"divided into train, valid") as refused:
        Folder(FolderConfig(), source(tmp_path, ""))
    assert not isinstance(refused.value, MissingSplitError)


def test_an_undivided_folder_has_no_split(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["1.jpg"])
    with pytest.raises(MissingSplitError, match="no split 'train', nor any other"):
        Folder(FolderConfig(), source(tmp_path, "train"))


def test_hidden_and_other_files_are_left_out(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["deep/er/1.JPG", "2.jpeg", ".thumbs/3.jpg", "__MACOSX/4.jpg", ".5.jpg"])
    (tmp_path / "notes.txt").write_text("no image")
    assert keys(Folder(FolderConfig(), source(tmp_path))) == ["2.jpeg", "deep/er/1.JPG"]
    assert keys(Folder(FolderConfig(suffixes=[".jpeg"]), source(tmp_path))) == ["2.jpeg"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path / "elsewhere", ["1.jpg"])
    tree(tmp_path / "root", ["a/2.jpg"])
    (tmp_path / "root" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "a" / "up").symlink_to(tmp_path / "root")
    assert keys(Folder(FolderConfig(), source(tmp_path / "root"))) == ["a/2.jpg", "b/1.jpg"]


def test_names_that_are_no_utf8_can_be_read_and_named(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["caf\udce9.png"])
    dataset = Folder(FolderConfig(), source(tmp_path))
    assert dataset.key(0) == "caf\\xe9.png"
    assert dataset[0].image.shape == (72, 48, 3)


def test_missing_and_empty_roots_are_told(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["photos/1.jpg"])
    with pytest.raises(DataError, match=r"there is no .*photo\n.*did you mean 'photos'"):
        Folder(FolderConfig(), source(tmp_path / "photo"))
    with pytest.raises(DataError, match=r"set data.root"):
        Folder(FolderConfig(), source(None))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"found 0 images in .*empty\n.*\.jpg.*data.suffixes"):
        Folder(FolderConfig(), source(tmp_path / "empty"))
    (tmp_path / "x.parquet").touch()
    with pytest.raises(DataError, match=r"is a file.*\n.*data.name=parquet"):
        Folder(FolderConfig(), source(tmp_path / "x.parquet"))


def test_masks_lie_beside_the_images(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["images/1.jpg", "images/2.jpg", "images/3.jpg"])
    mask = np.zeros((72, 48), np.uint8)
    mask[10:20, 5:9] = 1  # as VOC numbers them
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "1.png")
    Image.fromarray(mask[:9]).save(tmp_path / "masks" / "2.png")
    dataset = Folder(FolderConfig(images="images", masks="masks"), source(tmp_path))
    assert dataset.has_masks
    assert dataset.key(0) == "images/1.jpg"
    assert np.array_equal(dataset[0].mask, mask > 0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"its mask .*2.png is \(9, 48\) .*the image \(72, 48\)"):
        dataset[1]
    with pytest.raises(DataError, match=r"its mask .*3.png: the file cannot be opened"):
        dataset[2]
    with pytest.raises(DataError, match=r"there is no folder .*segments"):
        Folder(FolderConfig(masks="segments"), source(tmp_path))


def test_it_travels_to_spawned_workers(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["a/1.jpg", "b/1.jpg"])
    dataset = Folder(FolderConfig(), source(tmp_path))
    assert (pickle.loads(pickle.dumps(dataset))[1].image == dataset[1].image).all()


@pytest.mark.parametrize(("images", "masks"), [(None, None), ("images", "masks")])
def test_a_tar_reads_as_its_folder_does(
    tmp_path: Path, tree: Tree, as_tar: AsTar, source: Source, images: str | None, masks: str | None
) -> None:
    inner = "" if images is None else "images/"
    names = [f"{split}/{inner}{name}" for split in ("train", "val") for name in ("a/1.png", "b/2.png")]
    folder = tree(tmp_path / "set", names)
    if masks is not None:
        tree(folder, [name.replace("images/", "masks/") for name in names])
    config, packed = FolderConfig(images=images, masks=masks), as_tar(folder)
    for split in ("train", "val"):
        plain, tarred = (Folder(config, source(root, split)) for root in (folder, packed))
        assert keys(tarred) == keys(plain)
        assert len(plain) == 2
        assert tarred.classes == plain.classes == ("a", "b")
        for index in range(2):
            assert tarred[index].label == plain[index].label
            assert np.array_equal(tarred[index].image, plain[index].image)
            assert (tarred[index].mask is None) == (masks is None)
    with pytest.raises(MissingSplitError, match=r"set.tar has no split 'test'; it has train, val"):
        Folder(config, source(packed, "test"))
    with pytest.raises(DataError, match=r"set.tar is divided into train, val"):
        Folder(config, source(packed, ""))


def test_identity_follows_images_and_masks(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["images/1.png", "masks/1.png"])
    config = FolderConfig(images="images", masks="masks")
    first = Folder(config, source(tmp_path)).identity()
    assert Folder(config, source(tmp_path)).identity() == first
    (tmp_path / "masks" / "1.png").write_bytes(b"other")
    second = Folder(config, source(tmp_path)).identity()
    tree(tmp_path, ["images/2.png", "masks/2.png"])
    assert len({first, second, Folder(config, source(tmp_path)).identity()}) == 3
    assert (
        Folder(config, source(tmp_path, channels=1)).identity() != Folder(config, source(tmp_path)).identity()
    )
