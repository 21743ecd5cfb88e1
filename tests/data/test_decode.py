"""Files as people have them: odd ones are read right, broken ones are told with the reason."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sslkit.data.decode import decode
from sslkit.errors import DataError

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def stored(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def quarters() -> Image.Image:
    """Red, green above blue, yellow, 40 x 60 (width, height)."""
    pixels = np.zeros((60, 40, 3), np.uint8)
    pixels[:30, :20], pixels[:30, 20:], pixels[30:, :20], pixels[30:, 20:] = RED, GREEN, BLUE, YELLOW
    return Image.fromarray(pixels)


def corners(image: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    rounded = np.where(image > 127, 255, 0)
    return [tuple(rounded[y, x].tolist()) for y in (5, -5) for x in (5, -5)]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_every_format_becomes_every_number_of_channels(
    photo: NDArray[np.uint8], form: str, channels: int
) -> None:
    image = decode(stored(Image.fromarray(photo), form), channels)
    assert image.shape == (72, 96, channels)
    assert image.dtype == np.uint8
    wanted = np.array(Image.fromarray(photo).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    assert np.abs(image.reshape(wanted.shape).astype(int) - wanted).mean() < 8  # lossy, 256 colours


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    as_stored = quarters().transpose(undo[orientation]) if orientation in undo else quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(stored(as_stored, "JPEG", exif=exif, quality=95), 3)
    assert image.shape == (60, 40, 3)
    assert corners(image) == [RED, GREEN, BLUE, YELLOW]


def test_damaged_exif_costs_the_rotation_not_the_image() -> None:
    image = decode(stored(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"), 3)
    assert corners(image) == [RED, GREEN, BLUE, YELLOW]


def test_cmyk_keeps_its_colours() -> None:
    image = decode(stored(quarters().convert("CMYK"), "JPEG", quality=95), 3)
    assert corners(image) == [RED, GREEN, BLUE, YELLOW]


def test_16_bits_are_divided_by_257() -> None:
    levels = np.array([[0, 257, 1000], [40_000, 65_278, 65_535]], np.uint16)
    image = decode(stored(Image.fromarray(levels)), 1)[..., 0]
    assert image.tolist() == [[0, 1, 4], [156, 254, 255]]
    assert (decode(stored(Image.fromarray(levels)), 3) == image[..., None]).all()
    assert (decode(npy(levels), 1)[..., 0] == image).all()


def test_numbers_beyond_16_bits_are_refused() -> None:
    for pixels in (np.array([[70_000]], np.int32), np.array([[-1]], np.int32)):
        with pytest.raises(DataError, match=r"0 to 65535"):
            decode(stored(Image.fromarray(pixels), "TIFF"), 1)
    with pytest.raises(DataError, match="floating-point"):
        decode(stored(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), 1)


def test_transparency_lies_over_white_unless_alpha_is_wanted() -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 0] = 200
    pixels[0, :, 3] = [255, 0, 128]  # opaque, clear, half
    data = stored(Image.fromarray(pixels))
    assert decode(data, 3)[0, :2].tolist() == [[200, 0, 0], [255, 255, 255]]
    assert decode(data, 3)[0, 2].tolist() == [227, 127, 127]
    assert (decode(data, 4) == pixels).all()


def test_transparent_palettes_and_grey_with_alpha() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 9, 9, 10, 200, 30])
    palette.putdata([0, 1])
    data = stored(palette, transparency=0)
    assert decode(data, 3).tolist() == [[[255, 255, 255], [10, 200, 30]]]
    assert decode(data, 4)[0, :, 3].tolist() == [0, 255]
    grey = Image.merge("LA", [Image.new("L", (1, 1), 77), Image.new("L", (1, 1), 255)])
    assert decode(stored(grey), 1).tolist() == [[[77]]]
    assert decode(stored(grey), 4).tolist() == [[[77, 77, 77, 255]]]


def test_one_bit_images_are_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert decode(stored(image), 3)[0, :, 0].tolist() == [0, 255]


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    data = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(data, 3) == RED).all()


def test_the_content_counts_not_the_suffix(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(stored(Image.fromarray(photo), "PNG"))
    assert (decode(path, 3) == photo).all()


def test_extreme_sizes() -> None:
    assert decode(stored(Image.new("RGB", (1, 1))), 3).shape == (1, 1, 3)
    assert decode(stored(Image.new("L", (12_000, 10)), "JPEG"), 3).shape == (10, 12_000, 3)


def bomb(side: int) -> bytes:
    """A PNG of few bytes that says it is side x side."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_decompression_bomb_is_refused() -> None:
    with pytest.raises(DataError, match=r"refused.*too many pixels.*scale it down"):
        decode(bomb(50_000), 3)


def test_an_image_of_a_hundred_megapixels_is_no_bomb() -> None:
    with pytest.raises(DataError, match="damaged"):  # it has no pixels; its size is not what is wrong
        decode(bomb(10_000), 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_truncated_files_are_told(photo: NDArray[np.uint8], form: str) -> None:
    data = stored(Image.fromarray(photo), form)
    with pytest.raises(DataError, match=r"damaged|not a picture"):
        decode(data[: len(data) * 6 // 10], 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"This is not a picture", r"not a picture .*21 bytes, beginning with b'This is not "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
)
def test_what_is_no_picture_is_told(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode(data, 3)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened: No such file"):
        decode(tmp_path / "gone.jpg", 3)
    with pytest.raises(DataError, match="cannot be opened"):
        decode(tmp_path, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_channels(dtype: type, order: str) -> None:
    levels: NDArray[np.generic] = np.random.default_rng(0).integers(0, 256, (4, 5, 7)).astype(dtype)
    scaled = levels * dtype(257 if dtype is np.uint16 else 1)
    assert (decode(npy(np.asarray(scaled, order=order)), 7) == levels).all()  # type: ignore[call-overload]


def test_grey_arrays_fit_three_channels() -> None:
    levels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert (decode(npy(levels), 3) == levels[..., None]).all()
    assert decode(npy(levels), 1).shape == (2, 3, 1)


def test_channels_that_do_not_fit_say_what_to_set(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match=r"5 channels, but data.channels is 3; set data.channels=5"):
        decode(npy(np.zeros((2, 2, 5), np.uint8)), 3)
    with pytest.raises(DataError, match=r"1, 3 or 4 channels, not to 5; set data.channels=3"):
        decode(stored(Image.fromarray(photo)), 5)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (npy(np.zeros((2, 2), np.float32)), r"float32 \[2, 2\]; valid: uint8 or uint16"),
        (npy(np.zeros(4, np.uint8)), r"\[4\]; valid"),
        (npy(np.zeros((0, 4), np.uint8)), r"\[0, 4\]; valid"),
        (npy(np.zeros((4, 4), np.uint8))[:-3], "truncated: the array needs 16 bytes, the file has 13"),
        (npy(np.zeros((2, 2), np.uint8)).replace(b"(2, 2)", b"(2, 2e"), "damaged .npy header"),
        (npy(np.array([[1]], dtype=object)), "valid: uint8"),  # would be unpickled
    ],
)
def test_arrays_that_cannot_be_images_are_told(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode(data, 3)


def test_a_lying_npy_header_allocates_nothing() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"shape": (10**6, 10**6), "fortran_order": False, "descr": "|u1"}
    )
    with pytest.raises(DataError, match="truncated: the array needs 1000000000000 bytes, the file has 3"):
        decode(header.getvalue() + b"abc", 3)
