"""Tars: indexed once, read at random."""

import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sslkit.core.dataset import DataSource
from sslkit.data import tar_index
from sslkit.data.webdataset import WebDataset, WebDatasetConfig, expand
from sslkit.errors import DataError, MissingSplitError

Source = Callable[..., DataSource]


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 3), level).save(file, "PNG")
    return file.getvalue()


def write(path: Path, members: Mapping[str, bytes | str | int], mode: Any = "w") -> Path:
    """A tar; a number stands for an image of that grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            data = png(content) if isinstance(content, int) else content
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def levels_of(dataset: WebDataset) -> list[int]:
    return [int(dataset[index].image[0, 0, 0]) for index in range(len(dataset))]


def open_(source: DataSource, **config: Any) -> WebDataset:
    return WebDataset(WebDatasetConfig(**config), source)


def test_samples_labels_and_keys(tmp_path: Path, source: Source) -> None:
    write(tmp_path / "train-000.tar", {"a/1.png": 10, "a/1.cls": "1", "a/2.cls": "0\n", "a/2.png": 20})
    write(tmp_path / "train-001.tar", {"3.png": 30, "3.cls": "1", "3.txt": "words", "lonely.cls": "0"})
    dataset = open_(source(tmp_path, "train"))
    assert levels_of(dataset) == [10, 20, 30]
    assert [dataset[index].label for index in range(3)] == [1, 0, 1]
    assert dataset.classes == ("0", "1")
    assert [dataset.key(index) for index in (1, 2)] == ["train-000.tar/a/2", "train-001.tar/3"]
    assert dataset[2].image.shape == (3, 4, 3)


def test_labels_from_json_as_numbers_or_words(tmp_path: Path, source: Source) -> None:
    write(tmp_path / "n.tar", {"1.png": 1, "1.json": '{"label": 1}', "2.png": 2, "2.json": '{"label": 0}'})
    (tmp_path / "classes.json").write_text(json.dumps(["cat", "dog"]))
    numbers = open_(source(tmp_path / "n.tar"))
    assert (numbers.classes, numbers[0].label) == (("cat", "dog"), 1)
    write(
        tmp_path / "w.tar", {"1.png": 1, "1.json": '{"kind": "dog"}', "2.png": 2, "2.json": '{"kind": "ant"}'}
    )
    words = open_(source(tmp_path / "w.tar"), label_field="kind")
    assert (words.classes, words[0].label) == (("ant", "dog"), 1)
    assert open_(source(tmp_path / "w.tar")).classes is None  # no field `label`
    assert open_(source(tmp_path / "w.tar", labels="none"), label_field="kind").classes is None


def test_labels_that_cannot_be_used_are_told(tmp_path: Path, source: Source) -> None:
    some = write(tmp_path / "some.tar", {"1.png": 1, "1.cls": "0", "2.png": 2})
    with pytest.raises(DataError, match="1 of 2 images have no label"):
        open_(source(some))
    bare = write(tmp_path / "bare.tar", {"1.png": 1})
    with pytest.raises(DataError, match=r"no sample of .*bare.tar has a label"):
        open_(source(bare, labels="folders"))
    broken = write(tmp_path / "broken.tar", {"1.png": 1, "1.json": "{"})
    with pytest.raises(DataError, match=r"1.json is not JSON"):
        open_(source(broken))


def test_the_preferred_image_of_a_sample_is_taken(tmp_path: Path, source: Source) -> None:
    tar = write(tmp_path / "x.tar", {"1.seg.png": 9, "1.png": 1, "1.jpg": png(2), "1.PPM": png(3)})
    assert levels_of(open_(source(tar))) == [2]  # jpg stands first
    assert levels_of(open_(source(tar), image_extensions=["seg.png"])) == [9]
    assert levels_of(open_(source(tar), image_extensions=[".ppm", "jpg"])) == [3]
    with pytest.raises(DataError, match=r"found 0 images in 1 tars .*\n.*in webp;"):
        open_(source(tar), image_extensions=["webp"])


def test_patterns_name_shards(tmp_path: Path, source: Source) -> None:
    for number in range(12):
        write(tmp_path / f"part-{number:03}.tar", {"x.png": number})
    shards = {"train": "part-{000..009}.tar", "val": "part-01[01].tar"}
    assert levels_of(open_(source(tmp_path, "train"), shards=shards)) == list(range(10))
    assert levels_of(open_(source(tmp_path, "val"), shards=shards)) == [10, 11]
    with pytest.raises(MissingSplitError, match="it has train, val"):
        open_(source(tmp_path, "test"), shards=shards)
    with pytest.raises(DataError, match="names the splits train, val"):
        open_(source(tmp_path, ""), shards=shards)
    with pytest.raises(DataError, match=r"there is no .*part-012.tar, which the pattern"):
        open_(source(tmp_path, "train"), shards={"train": "part-{010..012}.tar"})
    with pytest.raises(DataError, match=r"found no .tar file in .*other"):
        open_(source(tmp_path, "train"), shards={"train": "other*.tar"})
    root = tmp_path / "part-{003,00[45]}.tar"
    assert levels_of(open_(source(root, ""))) == [3, 4, 5]
    with pytest.raises(MissingSplitError):
        open_(source(root, "train"))


def test_braces_expand() -> None:
    assert expand("a-{08..10}.{x,y}") == ["a-08.x", "a-08.y", "a-09.x", "a-09.y", "a-10.x", "a-10.y"]
    assert expand("plain.tar") == ["plain.tar"]


def test_the_index_is_made_once_and_again_when_the_tar_changes(
    tmp_path: Path, source: Source, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = write(tmp_path / "x.tar", {"1.png": 1})
    assert levels_of(open_(source(tar))) == [1]
    assert len(list(own_cache.glob("tar_index/*.npz"))) == 1

    with monkeypatch.context() as patch:
        patch.delattr(tar_index, "_scan")  # whoever scanned again would fail
        assert levels_of(open_(source(tar))) == [1]
    write(tar, {"1.png": 7, "1.cls": "0"})
    assert levels_of(open_(source(tar))) == [7]
    state = tar.stat()
    write(tar, {"2.png": 8, "2.cls": "0"})
    os.utime(tar, ns=(state.st_atime_ns, state.st_mtime_ns + 1))  # as large as before
    assert open_(source(tar)).key(0) == "x.tar/2"
    write(tar, {f"{number}.png": number for number in range(20)})
    os.utime(tar, ns=(state.st_atime_ns, state.st_mtime_ns + 1))  # as old as before
    assert len(open_(source(tar))) == 20


def test_a_damaged_or_forbidden_cache_does_no_harm(
    tmp_path: Path, source: Source, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = write(tmp_path / "x.tar", {"1.png": 1})
    open_(source(tar))
    for file in own_cache.glob("tar_index/*.npz"):
        file.write_bytes(b"PK\x03\x04 broken")
    assert levels_of(open_(source(tar))) == [1]
    (tmp_path / "file").touch()
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "file"))  # no folder can be made there
    assert levels_of(open_(source(tar))) == [1]


def test_tars_that_cannot_be_read_are_told(tmp_path: Path, source: Source) -> None:
    zipped = write(tmp_path / "x.tar", {"1.png": 1}, "w:gz")
    with pytest.raises(DataError, match=r"(?s)x.tar cannot be read as an uncompressed tar.*unpacked"):
        open_(source(zipped))
    (tmp_path / "text.tar").write_text("no tar " * 200)
    with pytest.raises(DataError, match="cannot be read as an uncompressed tar"):
        open_(source(tmp_path / "text.tar"))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"found no .tar file"):
        open_(source(tmp_path / "none", ""))


def test_a_tar_that_is_cut_later_breaks_its_last_images_only(tmp_path: Path, source: Source) -> None:
    tar = write(tmp_path / "x.tar", {"1.png": 1, "2.png": 2})
    dataset = open_(source(tar))
    os.truncate(tar, int(dataset._offsets[1]) + 5)
    assert dataset[0].image[0, 0, 0] == 1
    with pytest.raises(DataError, match=rf"truncated: the tar ends after 5 of its {len(png(2))} bytes"):
        dataset[1]
    tar.unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        dataset[0]


def test_it_travels_to_spawned_workers(tmp_path: Path, source: Source) -> None:
    dataset = open_(source(write(tmp_path / "x.tar", {"1.png": 1, "2.png": 2})))
    assert np.array_equal(pickle.loads(pickle.dumps(dataset))[1].image, dataset[1].image)
