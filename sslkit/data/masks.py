"""Masks that lie beside images, as files of their own."""

# H, W height and width in pixels

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sslkit.core.dataset import UInt8Array
from sslkit.data.decode import decode, decode_indices
from sslkit.data.tree import FileTree
from sslkit.errors import DataError


def read_mask(tree: FileTree, path: str, size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """[H, W], True where the picture is above 0. Raises `DataError` unless it has the image's size."""
    return _read(tree, path, size, lambda data: decode(data, 1)[..., 0]) > 0


def read_objects(tree: FileTree, path: str, size: tuple[int, ...]) -> UInt8Array:
    """[H, W], the pixels as they are stored: of a palette their places in it. Raises as `read_mask`."""
    return _read(tree, path, size, decode_indices)


def _read(
    tree: FileTree, path: str, size: tuple[int, ...], decoded: Callable[[bytes], UInt8Array]
) -> UInt8Array:
    try:
        pixels = decoded(tree.read(path))  # [H, W]
    except DataError as error:
        raise DataError(f"its mask {tree.root / path}: {error}") from error
    if pixels.shape != size:
        raise DataError(f"its mask {tree.root / path} is {pixels.shape} (height, width), the image {size}")
    return pixels
