"""Copies of every kind: the same each time, unlike the original, of any number of channels and any size."""

import pickle

import numpy as np
import pytest

from sslkit.core.dataset import Sample, UInt8Array
from sslkit.eval.copy_making import KINDS, MakeCopy, make_copy


def picture(height: int = 60, width: int = 80, channels: int = 3) -> UInt8Array:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, channels)).astype(np.uint8)
    return coarse.repeat(4, 0).repeat(4, 1)[:height, :width]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_the_same_key_gives_the_same_copy(kind: str, channels: int) -> None:
    image = picture(channels=channels)
    before = image.copy()
    first, again, other = (make_copy(image, kind, key) for key in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(image, before)
    assert first.dtype == np.uint8
    assert first.shape[2] == channels


@pytest.mark.parametrize("kind", KINDS)
def test_tiny_and_narrow_images(kind: str) -> None:
    for height, width in ((1, 1), (2, 50), (50, 2), (7, 7)):
        for key in "abc":
            assert min(make_copy(picture(height, width), kind, key).shape) >= 1


def test_a_crop_is_a_part_of_the_image() -> None:
    image = picture()
    for key in "abcdef":
        copy = make_copy(image, "crop", key)
        height, width = copy.shape[:2]
        assert 0.27 < height * width / (60 * 80) < 0.63
        windows = np.lib.stride_tricks.sliding_window_view(image, copy.shape)[..., 0, :, :, :]
        assert (windows == copy).all((-1, -2, -3)).any()


def test_a_screenshot_holds_the_whole_image() -> None:
    image = picture()
    for key in "abcdef":
        page = make_copy(image, "screenshot", key)
        assert 0.18 < image.size / page.size < 0.6
        windows = np.lib.stride_tricks.sliding_window_view(page, image.shape)[..., 0, :, :, :]
        assert (windows == image).all((-1, -2, -3)).any()


def test_a_turned_image_is_on_a_plain_ground() -> None:
    page = make_copy(picture(), "rotate", "a")
    assert page.shape[0] > 60
    corners = page[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == corners[0]).all()


def test_samples_are_changed_by_the_kind_of_their_key() -> None:
    change = pickle.loads(pickle.dumps(MakeCopy({"a": "crop", "b": "jpeg"})))  # as worker processes get it
    image = picture()
    for key, kind in (("a", "crop"), ("b", "jpeg"), ("stands in", "crop")):
        sample = Sample(image, 3, key, np.ones((60, 80), bool), 7)
        changed = change(sample)
        assert np.array_equal(changed.image, make_copy(image, kind, key))
        assert (changed.label, changed.key, changed.mask, changed.instance) == (3, key, None, 7)
