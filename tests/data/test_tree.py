"""Trees of files: a folder and the tar of it read alike."""

import multiprocessing
import os
import pickle
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sslkit.core.dataset import DataSource
from sslkit.data.tree import FileTree, TarTree, open_tree
from sslkit.errors import DataError

Source = Callable[..., DataSource]
Tree = Callable[[Path, Sequence[str]], Path]
AsTar = Callable[..., Path]

NAMES = ["a/1.jpg", "a/deep/2.jpg", "a-b/3.jpg", "a/.hidden/4.jpg", "caf\udce9.png", ".5.jpg"]


@pytest.fixture(params=["folder", "tar", "tar in its folder", "folder in a tar"])
def trees(request: pytest.FixtureRequest, tmp_path: Path, tree: Tree, as_tar: AsTar) -> FileTree:
    folder = tree(tmp_path / "here" / "set", NAMES)
    root = folder
    if request.param == "tar":
        root = as_tar(folder)
    if request.param == "tar in its folder":
        root = tmp_path / "alone"
        root.mkdir()
        as_tar(folder).rename(root / "set.tar")
        tree(root, ["contact.png"])
        (root / "index.csv").write_text("beside")
    if request.param == "folder in a tar":
        root = as_tar(folder, "up/set") / "up" / "set"
    return open_tree(DataSource(root, ""), "folder")


def test_a_folder_and_its_tar_list_the_same(trees: FileTree) -> None:
    assert trees.files() == ["a-b/3.jpg", "a/1.jpg", "a/deep/2.jpg", "caf\udce9.png"]
    assert trees.files("a") == ["a/1.jpg", "a/deep/2.jpg"]
    assert trees.folders() == ["a", "a-b"]
    assert trees.folders("a") == ["deep"]
    assert trees.folders("none") == []
    assert [trees.has_folder(path) for path in ("", "a", "a/deep", "a/1.jpg", "aa")] == [1, 1, 1, 0, 0]
    assert [trees.has_file(path) for path in ("a/1.jpg", "a", "a/1.jpgx", "x" * 99)] == [1, 0, 0, 0]


def test_a_folder_and_its_tar_read_the_same(trees: FileTree, tmp_path: Path) -> None:
    for name in trees.files():
        assert trees.read(name) == (tmp_path / "here" / "set" / name).read_bytes()
    with pytest.raises(DataError, match=r"the file cannot be opened|the tar has no such file"):
        trees.read("a/none.jpg")
    assert pickle.loads(pickle.dumps(trees)).read("a/1.jpg") == trees.read("a/1.jpg")


def test_forked_workers_do_not_share_a_position(trees: FileTree) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        read = pool.map(trees.read, trees.files() * 8)
    assert read == [trees.read(name) for name in trees.files() * 8]


def test_state_follows_the_files(tmp_path: Path, tree: Tree, as_tar: AsTar, source: Source) -> None:
    folder = tree(tmp_path / "set", ["1.jpg", "2.jpg"])
    opened = open_tree(source(folder), "folder")
    before = opened.state(["1.jpg"]), opened.state(["1.jpg", "2.jpg"]), opened.state(["gone.jpg"])
    os.utime(folder / "2.jpg", ns=(1, 1))
    assert (opened.state(["1.jpg"]), opened.state(["gone.jpg"])) == (before[0], before[2])
    assert opened.state(["1.jpg", "2.jpg"]) != before[1]
    packed = as_tar(folder)
    state = open_tree(source(packed), "folder").state(["1.jpg"])
    os.utime(packed, ns=(1, 1))
    assert open_tree(source(packed), "folder").state(["1.jpg"]) != state


def test_an_index_is_kept_and_made_again(
    tmp_path: Path, tree: Tree, as_tar: AsTar, source: Source, own_cache: Path
) -> None:
    packed = as_tar(tree(tmp_path / "set", ["1.jpg"]))
    assert open_tree(source(packed), "folder").files() == ["1.jpg"]
    kept = list((own_cache / "tar_index").iterdir())
    open_tree(source(packed), "folder")
    assert list((own_cache / "tar_index").iterdir()) == kept
    as_tar(tree(tmp_path / "set", ["1.jpg", "2.jpg"]))
    assert open_tree(source(packed), "folder").files() == ["1.jpg", "2.jpg"]


def test_links_in_a_tar(tmp_path: Path, tree: Tree, source: Source) -> None:
    folder = tree(tmp_path / "set", ["1.jpg"])
    os.link(folder / "1.jpg", folder / "2.jpg")
    (folder / "3.jpg").symlink_to("1.jpg")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name in ("1.jpg", "2.jpg", "3.jpg"):
            tar.add(folder / name, name)
    opened = open_tree(source(tmp_path / "set.tar"), "folder")
    assert opened.files() == ["1.jpg", "2.jpg"]  # symbolic links are left out
    assert opened.read("2.jpg") == (folder / "1.jpg").read_bytes()


def test_photos_with_a_tar_among_them_are_a_folder(
    tmp_path: Path, tree: Tree, as_tar: AsTar, source: Source
) -> None:
    folder = tree(tmp_path / "photos", ["1.jpg", "2.jpg"])
    as_tar(tree(tmp_path / "set", ["x.jpg"])).rename(folder / "set.tar")
    assert open_tree(source(folder), "folder").files() == ["1.jpg", "2.jpg", "set.tar"]
    (folder / "2.jpg").unlink()
    assert open_tree(source(folder), "folder").files() == ["x.jpg"]
    (folder / "sub").mkdir()
    assert open_tree(source(folder), "folder").files() == ["1.jpg", "set.tar"]


def test_tars_that_cannot_be_read_are_told(tmp_path: Path, tree: Tree, as_tar: AsTar, source: Source) -> None:
    packed = as_tar(tree(tmp_path / "set", ["a/1.jpg"]))
    compressed = tmp_path / "set.tar.gz"
    with tarfile.open(compressed, "w:gz") as tar:
        tar.add(tmp_path / "set", ".")
    with pytest.raises(DataError, match=r"set.tar.gz is compressed.*\n  unpack it"):
        open_tree(source(compressed), "folder")
    compressed.rename(tmp_path / "named.tar")
    with pytest.raises(DataError, match=r"named.tar cannot be read as an uncompressed tar.*\n.*unpacked"):
        open_tree(source(tmp_path / "named.tar"), "folder")
    with pytest.raises(DataError, match=r"there is no folder b in .*set.tar"):
        open_tree(source(packed / "b"), "folder")
    opened = TarTree(packed)
    packed.write_bytes(packed.read_bytes()[:600])
    with pytest.raises(DataError, match=r"truncated: the tar ends after \d+ of its \d+ bytes"):
        opened.read("a/1.jpg")
    packed.unlink()
    with pytest.raises(DataError, match=r"set.tar cannot be opened"):
        opened.read("a/1.jpg")


def test_tables_may_lie_beside_the_tar(trees: FileTree, tmp_path: Path) -> None:
    trees.beside.joinpath("index.csv").write_text("beside")
    assert trees.table("index.csv") == b"beside"
    state = trees.table_state("index.csv")
    os.utime(trees.beside / "index.csv", ns=(1, 1))
    assert trees.table_state("index.csv") != state
    assert trees.table("a/1.jpg") == trees.read("a/1.jpg")
    with pytest.raises(DataError, match=r"there is no file caf.pnk in"):
        trees.table("caf.pnk")
