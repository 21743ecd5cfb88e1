"""Files and bytes to upright uint8 arrays, or the reason why that cannot be."""

# H, W height and width in pixels, C channels

import io
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from sslkit.core.dataset import UInt8Array
from sslkit.errors import DataError

FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's readers that are used: the common ones, and none that starts another program (EPS does)."""
SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".avif", ".jp2", ".ico", ".mpo", ".npy",
)  # fmt: skip
"""Endings by which picture files are found; what a file is, its first bytes say."""
_NPY = b"\x93NUMPY"
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_RANGE_16 = 65535


def decode(source: bytes | Path, channels: int) -> UInt8Array:
    """One picture, upright, as [H, W, channels] uint8.

    Pictures (by content, whatever the suffix) become grey (1), RGB (3) or RGBA (4): the first frame, turned
    as EXIF says, 16 bits divided by 257, CMYK and palettes converted; transparency is laid over white unless
    channels is 4. Arrays (.npy, [H, W] or [H, W, C], uint8 or uint16) keep their channels; grey also fits 3.

    Raises:
        DataError: it cannot be read, is too large, or its channels do not fit; the text is the reason alone.
    """
    data = source if isinstance(source, bytes) else _read(source)
    if not data:
        raise DataError("the file is empty (0 bytes)")
    if data.startswith(_NPY):
        return _decode_array(data, channels)
    return _opened(data, lambda image: from_picture(_upright(image), channels))


def decode_indices(data: bytes) -> UInt8Array:
    """A picture of numbers [H, W] uint8: grey, or places in a palette whatever its colours.

    Raises `DataError` as `decode` does, and for colours without a palette.
    """
    return _opened(data, _indices)


def from_picture(image: Image.Image, channels: int) -> UInt8Array:
    """A Pillow image as [H, W, channels] uint8; see `decode` for what becomes of its colours."""
    if channels not in _MODES:
        raise DataError(
            f"a picture can be brought to 1, 3 or 4 channels, not to {channels}; set data.channels=3, or "
            f"store the images as .npy arrays [H, W, {channels}]"
        )
    image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if channels != 4:
            image = _over_white(image)
    array = np.array(image.convert(_MODES[channels]))  # [H, W] or [H, W, C]
    return array.reshape(image.height, image.width, channels)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be opened: {error.strerror or error}") from error


# ---- pictures


def _opened(data: bytes, read: Callable[[Image.Image], UInt8Array]) -> UInt8Array:
    """Pillow's readers raise anything at all on broken files, hence the broad `except`."""
    with (
        warnings.catch_warnings()
    ):  # about odd metadata, mostly; and sizes up to twice Pillow's mark are let pass
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                image.load()
                return read(image)
        except DataError:
            raise
        except UnidentifiedImageError as error:
            raise DataError(
                f"not a picture in a known format ({len(data)} bytes, beginning with {data[:12]!r})"
            ) from error
        except Image.DecompressionBombError as error:
            raise DataError(
                f"refused, it would unpack to too many pixels (a decompression bomb?): {error}; "
                "scale it down if it is meant"
            ) from error
        except Exception as error:
            raise DataError(f"damaged: {error or type(error).__name__}") from error


def _indices(image: Image.Image) -> UInt8Array:
    if image.mode not in ("P", "L"):
        raise DataError(f"its pixels are of mode {image.mode}; numbers are stored as grey or with a palette")
    return np.array(image)  # [H, W]


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _upright(image: Image.Image) -> Image.Image:
    """Turned as EXIF says; where EXIF itself is damaged, as stored."""
    try:
        return ImageOps.exif_transpose(image)
    except (
        Exception
    ):  # its parser raises struct.error, SyntaxError, KeyError, ...; the pixels are there already
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits to 8; other modes as they are."""
    if image.mode == "F":
        raise DataError("its pixels are floating-point numbers; store them as 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image)  # [H, W] uint16, or int32 holding 16 bits
    if levels.min() < 0 or levels.max() > _RANGE_16:
        raise DataError(
            f"its pixels reach from {levels.min()} to {levels.max()}; 0 to {_RANGE_16} can be read"
        )
    return Image.fromarray(_from_16_bits(levels))


def _from_16_bits(levels: npt.NDArray[np.integer]) -> UInt8Array:
    """Divided by 257, rounded: 65535 becomes 255."""
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _over_white(image: Image.Image) -> Image.Image:
    """As a viewer shows it on a white page: colours under full transparency are arbitrary."""
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


# ---- arrays


def _decode_array(data: bytes, channels: int) -> UInt8Array:
    array = _parse_npy(data)  # [H, W] or [H, W, C]
    if array.dtype.itemsize == 2:
        array = _from_16_bits(array)
    if array.ndim == 2:
        array = array[..., None]  # [H, W, 1]
    if array.shape[2] == 1 and channels == 3:
        array = np.repeat(array, 3, axis=2)  # [H, W, 3]
    if array.shape[2] != channels:
        raise DataError(
            f"the array has {array.shape[2]} channels, but data.channels is {channels}; "
            f"set data.channels={array.shape[2]}"
        )
    return np.array(array, dtype=np.uint8, order="C")


def _parse_npy(data: bytes) -> npt.NDArray[np.integer]:
    """The array as stored. Parsed here, so that a header cannot make NumPy allocate what the file has not."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
        shape, fortran, dtype = read(stream)
    except Exception as error:  # NumPy parses it as Python code, with all of that parser's errors
        raise DataError(f"damaged .npy header: {error}") from error
    if dtype.kind != "u" or dtype.itemsize > 2 or len(shape) not in (2, 3) or 0 in shape:
        raise DataError(f"the array is {dtype} {list(shape)}; valid: uint8 or uint16, [H, W] or [H, W, C]")
    values = data[stream.tell() :]
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(values) != needed:
        raise DataError(f"truncated: the array needs {needed} bytes, the file has {len(values)}")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if fortran else "C")
