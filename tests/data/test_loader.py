"""Batches: a function of (seed, step) alone, and the right pixels in them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.fit import centre_cropped, centre_cropped_mask, squashed
from sslkit.data.folder import Folder, FolderConfig
from sslkit.data.loader import (
    Batch,
    EvalImages,
    canvas_side,
    check_enough,
    epoch_order,
    step_rows,
    train_loader,
)
from sslkit.errors import DataError, RecipeError
from sslkit.recipe.schema import DataSection

Source = Callable[..., DataSource]
Tree = Callable[[Path, Sequence[str]], Path]


class Photos(Dataset):
    """Parts of a photo of various sizes; every third has class 1, all have masks and identities."""

    classes = ("even", "third")
    instances = 12
    has_masks = True

    def __init__(self, photo: NDArray[np.uint8], broken: Sequence[int] = (), count: int = 12) -> None:
        self.photo, self.broken, self.count = photo, broken, count

    def __len__(self) -> int:
        return self.count

    def key(self, index: int) -> str:
        return f"photo-{index}"

    def __getitem__(self, index: int) -> Sample:
        if index in self.broken:
            raise DataError("no good")
        image = self.photo[index % 12 : 40 + index % 12, : 50 + index % 12]
        return Sample(image, int(index % 3 == 0), self.key(index), image[..., 0] > 128, index)


def batches(dataset: Dataset, first: int = 0, last: int = 5, **changes: Any) -> list[Batch]:
    data = DataSection(workers=changes.pop("workers", 0), max_broken=changes.pop("max_broken", 0.5))
    data.on_error = changes.pop("on_error", "skip")
    options: dict[str, Any] = {"seed": 3, "batch_size": 4, "canvas_size": 32, "rows": slice(0, 4)} | changes
    return list(train_loader(dataset, start_step=first, end_step=last, data=data, **options))


def assert_same(first: Batch, second: Batch) -> None:
    for name in ("canvas", "size", "labels", "indices"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=0, atol=0)


# ---- which images


def test_an_epochs_order_follows_from_seed_and_epoch() -> None:
    order = epoch_order(100, 1, 2)
    assert sorted(order.tolist()) == list(range(100))
    assert order.dtype == torch.int64
    torch.manual_seed(5)
    assert torch.equal(order, epoch_order(100, 1, 2))
    assert not torch.equal(order, epoch_order(100, 1, 3))
    assert not torch.equal(order, epoch_order(100, 2, 2))


def test_steps_cut_the_order_into_batches() -> None:
    per_epoch = [step_rows(10, 0, step, 3) for step in range(6)]
    assert torch.equal(torch.cat(per_epoch[:3]), epoch_order(10, 0, 0)[:9])
    assert torch.equal(torch.cat(per_epoch[3:]), epoch_order(10, 0, 1)[:9])


def test_what_was_given_can_be_changed_without_harm() -> None:
    rows = step_rows(10, 0, 1, 3)
    rows.zero_()
    assert torch.equal(step_rows(10, 0, 1, 3), epoch_order(10, 0, 0)[3:6])


def test_too_few_for_a_batch() -> None:
    check_enough(4, 4)
    for call in (lambda: check_enough(3, 4), lambda: step_rows(3, 0, 0, 4)):
        with pytest.raises(
            DataError, match=r"found 3 images to train on, .*takes 4 .*\n.*optim.batch_size=3"
        ):
            call()


# ---- training


def test_a_batch_holds_the_squashed_images(photo: NDArray[np.uint8]) -> None:
    dataset = Photos(photo)
    [batch] = batches(dataset, 2, 3)
    assert batch.indices.tolist() == step_rows(12, 3, 2, 4).tolist()
    assert (batch.canvas.shape, batch.canvas.dtype) == ((4, 3, 32, 32), torch.uint8)
    assert batch.skipped == []
    for row, index in enumerate(batch.indices.tolist()):
        sample = dataset[index]
        assert np.array_equal(batch.canvas[row].permute(1, 2, 0).numpy(), squashed(sample.image, 32))
        assert batch.size[row].tolist() == list(sample.image.shape[:2])
        assert batch.labels is not None
        assert batch.labels[row] == sample.label
    assert batch.size.dtype == batch.indices.dtype == torch.int64


def test_workers_starts_and_the_generators_state_change_nothing(photo: NDArray[np.uint8]) -> None:
    dataset = Photos(photo, broken=[4])
    wanted = batches(dataset, 0, 7)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    for other in (batches(dataset, 0, 7, workers=2), batches(dataset, 0, 7, workers=3)):
        assert len(other) == 7
        for first, second in zip(wanted, other, strict=True):
            assert_same(first, second)
    for first, second in zip(wanted[4:], batches(dataset, 4, 7, workers=1), strict=True):
        assert_same(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_process_gets_its_rows(photo: NDArray[np.uint8]) -> None:
    dataset = Photos(photo)
    whole = batches(dataset)
    parts = [batches(dataset, rows=slice(start, start + 2)) for start in (0, 2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch.indices, torch.cat([first.indices, second.indices]))
        assert torch.equal(batch.canvas, torch.cat([first.canvas, second.canvas]))


def test_no_classes_no_labels(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["1.jpg", "2.jpg", "3.jpg", "4.jpg"])
    [batch] = batches(Folder(FolderConfig(), source(tmp_path)), 0, 1)
    assert batch.labels is None


def test_many_channels(tmp_path: Path, source: Source) -> None:
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", np.full((6, 5, 7), number, np.uint8))
    [batch] = batches(Folder(FolderConfig(), source(tmp_path, channels=7)), 0, 1, canvas_size=4)
    assert batch.canvas.shape == (4, 7, 4, 4)
    assert batch.canvas[:, 0, 0, 0].tolist() == batch.indices.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_replaced_and_heard_of_once(photo: NDArray[np.uint8], workers: int) -> None:
    heard: list[tuple[str, str]] = []
    found = batches(
        Photos(photo, broken=[2, 3]), 0, 9, workers=workers, on_skip=lambda key, why: heard.append((key, why))
    )
    assert sorted(heard) == [("photo-2", "no good"), ("photo-3", "no good")]
    assert sorted(skipped for batch in found for skipped in batch.skipped) == sorted(heard)
    plain = batches(Photos(photo), 0, 9)
    for batch, whole in zip(found, plain, strict=True):
        replaced = [4 if index in (2, 3) else index for index in whole.indices.tolist()]
        assert batch.indices.tolist() == replaced


def test_stop_ends_the_run(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="photo-2 cannot be read: no good"):
        batches(Photos(photo, broken=[2]), 0, 3, on_error="stop")


def test_too_many_broken_images_end_the_run(photo: NDArray[np.uint8]) -> None:
    assert len(batches(Photos(photo, broken=[1, 5], count=20), 0, 20, max_broken=0.1)) == 20
    with pytest.raises(
        DataError, match=r"3 broken images among the first \d+, more than data.max_broken=0.1"
    ):
        batches(Photos(photo, broken=[1, 5, 9], count=20), 0, 20, max_broken=0.1)
    with pytest.raises(DataError, match="none of the 12 images can be read"):
        batches(Photos(photo, broken=range(12)), max_broken=1.0)


def test_impossible_settings_are_told(photo: NDArray[np.uint8]) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"on_error": "ignore"}, "'data.on_error' is 'ignore'; valid: skip, stop"),
        ({"max_broken": 2}, "'data.max_broken' is 2; valid: 0 to 1"),
        ({"workers": -1}, "'data.workers' is -1"),
    ]
    for changes, reason in cases:
        with pytest.raises(RecipeError, match=reason):
            batches(Photos(photo), **changes)
    with pytest.raises(DataError, match="found 12 images"):
        batches(Photos(photo), batch_size=13)


def test_odd_and_broken_files_in_a_folder(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, [f"{number:02}.jpg" for number in range(20)])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("This is not a picture")
    whole = (tmp_path / "00.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) * 6 // 10])
    Image.new("L", (1, 1)).save(tmp_path / "pixel.png")
    Image.new("CMYK", (9, 9)).save(tmp_path / "ink.jpg")
    heard: dict[str, str] = {}
    dataset = Folder(FolderConfig(), source(tmp_path))
    assert len(batches(dataset, 0, 12, workers=2, on_skip=heard.__setitem__)) == 12
    assert sorted(heard) == ["empty.jpg", "text.png", "truncated.jpg"]
    assert "0 bytes" in heard["empty.jpg"]
    assert "not a picture" in heard["text.png"]
    assert "truncated" in heard["truncated.jpg"]


def test_the_canvas_is_no_larger_than_the_data(photo: NDArray[np.uint8]) -> None:
    dataset = Photos(photo)
    assert canvas_side(dataset, 32) == 32
    assert canvas_side(dataset, 500) == 61  # the widest image
    assert canvas_side(Photos(photo, broken=range(11)), 500) == 61
    with pytest.raises(DataError, match="none of the images that were tried can be read; the first"):
        canvas_side(Photos(photo, broken=range(12)), 500)


# ---- evaluation


def eval_images(dataset: Dataset, **changes: Any) -> EvalImages:
    options: dict[str, Any] = {
        "resize": 24,
        "crop": 20,
        "batch_size": 5,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
    }
    return EvalImages(dataset, **(options | changes))


def test_evaluation_images_in_order_normalised_with_masks(photo: NDArray[np.uint8]) -> None:
    dataset = Photos(photo)
    images = eval_images(dataset)
    found = list(images.batches())
    assert [len(batch.images) for batch in found] == [5, 5, 2]
    assert len(images) == 12
    assert torch.cat([batch.indices for batch in found]).tolist() == list(range(12))
    last, sample = found[2], dataset[11]
    pixels = centre_cropped(sample.image, 24, 20) / 255
    wanted = torch.from_numpy((pixels - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]).permute(2, 0, 1).float()
    torch.testing.assert_close(last.images[1], wanted, rtol=0, atol=1e-5)
    assert last.labels is not None
    assert last.instances is not None
    assert last.masks is not None
    assert [int(last.labels[1]), int(last.instances[1])] == [sample.label, 11]
    assert sample.mask is not None
    assert np.array_equal(last.masks[1].numpy(), centre_cropped_mask(sample.mask, 24, 20))


def test_evaluation_can_be_repeated_by_any_number_of_workers(photo: NDArray[np.uint8]) -> None:
    images, others = eval_images(Photos(photo, [3])), eval_images(Photos(photo, [3]), workers=2)
    for first, second, third in zip(images.batches(), images.batches(), others.batches(), strict=True):
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.images, third.images)
        assert torch.equal(first.indices, third.indices)
    assert images.skipped == others.skipped == {"photo-3": "no good"}


def test_a_part_is_spread_over_the_data(photo: NDArray[np.uint8]) -> None:
    images = eval_images(Photos(photo, count=1000), max_images=50, batch_size=50)
    [batch] = images.batches()
    assert len(images) == len(batch.indices) == 50
    assert (batch.indices.diff() > 0).all()
    assert 300 < batch.indices.float().mean() < 700
    assert len((batch.indices % 10).unique()) > 5  # a fixed stride would meet periodic data badly
    assert len(eval_images(Photos(photo), max_images=50)) == 12


def test_what_is_not_known_is_none(tmp_path: Path, tree: Tree, source: Source) -> None:
    tree(tmp_path, ["1.jpg", "2.jpg"])
    images = eval_images(Folder(FolderConfig(), source(tmp_path)))
    [batch] = images.batches()
    assert (batch.labels, batch.instances, batch.masks) == (None, None, None)
    assert (images.classes, images.has_masks) == (None, False)


def test_impossible_evaluations_are_told(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(RecipeError, match=r"'eval.crop' is 30; valid: 1 to eval.resize, which is 24"):
        eval_images(Photos(photo), crop=30)
    with pytest.raises(DataError, match="none of the 12 images can be read"):
        list(eval_images(Photos(photo, broken=range(12))).batches())
