"""Features on disk: the same again for the same weights and files, and for no others."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from image_sets import Pictures
from PIL import Image
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.dataset import DataSource
from sslkit.core.evaluator import Extractor, FeatureSet, ImageSet, Pooled, Subject
from sslkit.data.folder import Folder, FolderConfig
from sslkit.data.loader import EvalImages
from sslkit.eval import feature_cache, features
from sslkit.eval.feature_cache import FeatureCache
from sslkit.eval.features import extract_features

IMAGES = 11
BATCH = 2


class Coloured(Backbone):
    """A linear function of an image's mean colour, after which it may be interrupted; counts its images."""

    patch_size = None

    def __init__(self, *, stop_after: int | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.arange(12).view(4, 3) / 12)
            self.linear.bias.fill_(0.5)
        self.register_buffer("shift", torch.zeros(()), persistent=False)
        self.built, self.seen, self.stop_after = {"name": "coloured"}, 0, stop_after

    network = property(lambda self: self)
    export_metadata = property(lambda self: self.built)

    def forward(self, x: Tensor) -> Tensor:
        if self.stop_after is not None and self.seen >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += len(x)
        return cast(Tensor, self.linear(x.mean((2, 3)))) + cast(Tensor, self.shift)  # [B, 4]

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Any: ...

    def layers(self, x: Tensor, n: int) -> Any: ...

    def cls_attention(self, x: Tensor) -> Any: ...


class Named(Pooled):
    """The same under another class."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def images_of(photos: Path, labels: Any = "auto", **changes: Any) -> EvalImages:
    options: dict[str, Any] = {"resize": 8, "crop": 8, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    dataset = Folder(FolderConfig(), DataSource(photos, "", labels))
    return EvalImages(dataset, batch_size=BATCH, **(options | changes))


def take(
    photos: Path,
    backbone: Coloured | None = None,
    images: ImageSet | None = None,
    *,
    extract: Extractor | None = None,
    computed: str = "cpu float32",
) -> tuple[FeatureSet, int]:
    """The features, and of how many images they were computed."""
    backbone, images = backbone or Coloured(), images or images_of(photos)
    extract = extract or Pooled()
    folder = FeatureCache(photos.parent / "cache", backbone, computed).folder(images, extract)
    cpu = torch.device("cpu")
    found = extract_features(Subject(backbone), images, cpu, extract=extract, folder=folder)
    return found, backbone.seen


def assert_same(a: FeatureSet, b: FeatureSet) -> None:
    assert torch.equal(a.features, b.features)
    assert a.labels is not None
    assert b.labels is not None
    assert torch.equal(a.labels, b.labels)
    assert a.instances is None
    assert b.instances is None


def test_the_second_time_nothing_is_computed(photos: Path) -> None:
    first, computed = take(photos)
    assert computed == IMAGES
    second, computed = take(photos)
    assert computed == 0
    assert_same(first, second)
    assert len(first.features) == IMAGES


def changed_weight(backbone: Coloured) -> None:
    with torch.no_grad():
        backbone.linear.weight[3, 2] += 1e-7 * 2


def changed_buffer(backbone: Coloured) -> None:
    cast(Tensor, backbone.shift).fill_(1e-6)


def other_arguments(backbone: Coloured) -> None:
    backbone.built = {"name": "coloured", "args": {"depth": 2}}  # type: ignore[dict-item]


@pytest.mark.parametrize("change", [changed_weight, changed_buffer, other_arguments])
def test_other_weights_have_other_features(photos: Path, change: Callable[[Coloured], None]) -> None:
    take(photos)
    backbone = Coloured()
    change(backbone)
    assert take(photos, backbone)[1] == IMAGES


@pytest.mark.parametrize(
    "change",
    [
        {"resize": 9},
        {"crop": 7},
        {"mean": (0.5, 0.5, 0.4)},
        {"std": (0.25, 0.25, 0.24)},
        {"max_images": IMAGES - 1},
        {"labels": "none"},
        {"on_error": "stop"},
    ],
    ids=str,
)
def test_images_seen_otherwise_have_other_features(photos: Path, change: dict[str, Any]) -> None:
    take(photos)
    images = images_of(photos, **change)
    assert take(photos, images=images)[1] == len(images)


@pytest.mark.parametrize(
    "how", [{"extract": Pooled("another")}, {"extract": Named()}, {"computed": "cuda bfloat16"}], ids=str
)
def test_what_is_taken_and_how_it_is_computed_count(photos: Path, how: dict[str, Any]) -> None:
    take(photos)
    assert take(photos, **how)[1] == IMAGES


def other_time(photos: Path) -> None:
    state = (photos / "a/04.png").stat()
    os.utime(photos / "a/04.png", ns=(state.st_atime_ns, state.st_mtime_ns + 1))


def other_size(photos: Path) -> None:
    path = photos / "a/04.png"
    state = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def one_more(photos: Path) -> None:
    (photos / "a/11.png").write_bytes((photos / "a/00.png").read_bytes())


def one_less(photos: Path) -> None:
    (photos / "a/04.png").unlink()


def renamed(photos: Path) -> None:
    (photos / "a/04.png").rename(photos / "a/05.png")


def other_class(photos: Path) -> None:
    (photos / "a/04.png").rename(photos / "b/04.png")


@pytest.mark.parametrize("change", [other_time, other_size, one_more, one_less, renamed, other_class])
def test_other_files_have_other_features(photos: Path, change: Callable[[Path], None]) -> None:
    take(photos)
    change(photos)
    images = images_of(photos)
    assert take(photos, images=images)[1] == len(images)


def test_the_same_files_in_another_folder_are_others(photos: Path) -> None:
    take(photos)
    copied = photos.rename(photos.with_name("moved"))
    assert take(copied)[1] == IMAGES


# --- interrupted and damaged -------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "PART_IMAGES", 2 * BATCH)


def parts(photos: Path) -> list[Path]:
    return sorted((photos.parent / "cache").rglob("*.safetensors"))


def test_an_interrupted_pass_goes_on(photos: Path, small_parts: None) -> None:
    whole, _ = take(photos.rename(photos.with_name("other")))
    photos.with_name("other").rename(photos)
    with pytest.raises(KeyboardInterrupt):
        take(photos, Coloured(stop_after=6))
    found, computed = take(photos)
    assert computed == IMAGES - 6  # also what was no whole part yet
    assert_same(found, whole)
    assert take(photos)[1] == 0


def test_after_a_kill_it_goes_on_after_the_last_whole_part(photos: Path, small_parts: None) -> None:
    whole, _ = take(photos)
    assert [path.stem for path in parts(photos)] == ["0000000000", "0000000004", "0000000008"]
    parts(photos)[2].unlink()
    (parts(photos)[0].parent / "tmpabc.part").write_bytes(b"half")
    found, computed = take(photos)
    assert computed == 3
    assert_same(found, whole)


def cut(data: bytes) -> bytes:
    return data[:-3]


def flipped(data: bytes) -> bytes:
    return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


def emptied(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut, flipped, emptied])
def test_a_damaged_part_is_made_anew(
    photos: Path, small_parts: None, damage: Callable[[bytes], bytes]
) -> None:
    whole, _ = take(photos)
    second = parts(photos)[1]
    second.write_bytes(damage(second.read_bytes()))
    found, computed = take(photos)
    assert computed == IMAGES - 4
    assert_same(found, whole)
    assert take(photos)[1] == 0


def test_a_pass_goes_on_in_batches_of_another_size(photos: Path, small_parts: None) -> None:
    whole, _ = take(photos)
    parts(photos)[1].unlink()
    images = images_of(photos)
    images._batch_size = 3
    found, computed = take(photos, images=images)
    assert computed == IMAGES - 4
    assert_same(found, whole)
    assert take(photos)[1] == 0


def test_broken_images_are_remembered(photos: Path, small_parts: None) -> None:
    for name in ("b/03.png", "a/08.png"):
        (photos / name).write_bytes(b"no picture")
    first, second = images_of(photos), images_of(photos)
    one, _ = take(photos, images=first)
    two, computed = take(photos, images=second)
    assert computed == 0
    assert sorted(second.skipped) == ["a/08.png", "b/03.png"]
    assert second.skipped == first.skipped
    assert_same(one, two)


# --- what is not kept --------------------------------------------------------------------------------------


def test_sets_that_cannot_tell_what_they_are_are_not_kept(photos: Path) -> None:
    pictures = Pictures(torch.rand(3, 3, 8, 8))
    assert take(photos, images=pictures)[1] == 3
    assert take(photos, images=pictures)[1] == 3
    changed = images_of(photos).part(range(4), "as they are", change=lambda sample: sample)
    assert changed.identity() is None
    assert take(photos, images=changed)[1] == 4
    assert not parts(photos)


def test_a_part_of_a_set_is_another_set(photos: Path) -> None:
    take(photos)
    some = images_of(photos).part([4, 1], "two")
    found, computed = take(photos, images=some)
    assert computed == 2
    assert torch.equal(found.features, take(photos)[0].features[[4, 1]])


def test_the_longest_unused_are_forgotten(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "KEPT", 2)
    for number, name in enumerate(("one", "two", "one", "three")):
        take(photos, extract=Pooled(name))
        for path in (photos.parent / "cache").iterdir():  # a clock that ticks between them
            os.utime(path, (number, path.stat().st_mtime if path.stat().st_mtime < 9 else number))
    take(photos, extract=Pooled("four"))
    assert len(list((photos.parent / "cache").iterdir())) <= 3
    assert take(photos, extract=Pooled("three"))[1] == 0
    assert take(photos, extract=Pooled("two"))[1] == IMAGES


def test_without_a_folder_to_write_in_it_works(photos: Path) -> None:
    (photos.parent / "cache").write_text("a file")
    assert take(photos)[1] == IMAGES
    assert take(photos)[1] == IMAGES


def test_the_start_of_batches(photos: Path) -> None:
    def indices(batches: Iterator[Any]) -> list[int]:
        return [int(index) for batch in batches for index in batch.indices]

    images = images_of(photos)
    assert indices(images.batches(5)) == list(range(5, IMAGES))
    assert indices(images.batches()) == list(range(IMAGES))
