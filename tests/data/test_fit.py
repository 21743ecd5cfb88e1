"""Images to the canvas and to evaluation crops, against torchvision."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import functional as tv

from sslkit.data.fit import centre_box, centre_cropped, centre_cropped_mask, squashed


def test_the_whole_image_is_squashed_with_antialias(photo: NDArray[np.uint8]) -> None:
    wanted = np.array(Image.fromarray(photo).resize((20, 20), Image.Resampling.BICUBIC))
    assert np.array_equal(squashed(photo, 20), wanted)


def test_fine_stripes_become_grey() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(squashed(stripes, 16)[2:-2, 2:-2].astype(int) - 127).max() <= 3


def test_an_image_that_fits_is_untouched(photo: NDArray[np.uint8]) -> None:
    square = photo[:, :72]
    assert np.array_equal(squashed(square, 72), square)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_any_number_of_channels_each_by_itself(photo: NDArray[np.uint8], channels: int) -> None:
    many = np.stack([np.roll(photo[..., c % 3], c, axis=1) for c in range(channels)], axis=-1)
    if channels == 4:
        many[..., 3] = 0  # were it alpha, the colours would be gone
    fitted = squashed(many, 24)
    assert fitted.shape == (24, 24, channels)
    for c in range(channels):
        alone = Image.fromarray(many[..., c]).resize((24, 24), Image.Resampling.BICUBIC)
        assert np.array_equal(fitted[..., c], np.array(alone))


def test_extreme_images_fit() -> None:
    assert squashed(np.zeros((1, 1, 3), np.uint8), 8).shape == (8, 8, 3)
    assert squashed(np.zeros((10, 12_000, 3), np.uint8), 8).shape == (8, 8, 3)
    assert centre_cropped(np.zeros((10, 12_000, 3), np.uint8), 256, 224).shape == (224, 224, 3)
    assert centre_cropped(np.zeros((1, 1, 1), np.uint8), 256, 224).shape == (224, 224, 1)


@pytest.mark.parametrize(("resize", "crop"), [(32, 28), (64, 64), (100, 60), (72, 72)])
@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_crop_is_torchvisions(
    photo: NDArray[np.uint8], resize: int, crop: int, turned: bool
) -> None:
    image = np.ascontiguousarray(photo.swapaxes(0, 1)) if turned else photo
    resized = tv.resize(Image.fromarray(image), resize, tv.InterpolationMode.BICUBIC)
    wanted = np.array(tv.center_crop(resized, [crop, crop]))
    difference = np.abs(centre_cropped(image, resize, crop).astype(int) - wanted)
    assert difference.max() <= 2  # rounded between the two passes, which are over other pixels
    assert difference.mean() < 0.3


def test_the_box_lies_within_the_image() -> None:
    for height, width in ((1, 1), (3, 7), (333, 500), (10, 12_000)):
        left, top, right, bottom = centre_box(height, width, 256, 256)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def test_masks_are_cropped_as_their_images(photo: NDArray[np.uint8]) -> None:
    mask = photo[..., 0] > 120
    as_image = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=2)
    cropped = centre_cropped_mask(mask, 64, 56)
    image = centre_cropped(as_image, 64, 56)[..., 0]
    assert cropped.dtype == bool
    assert (cropped == (image > 127)).mean() > 0.95
