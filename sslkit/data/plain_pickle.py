"""Pickles of plain data, read without running what a pickle can run."""

import io
import pickle
from functools import cache
from typing import Any

import numpy as np

from sslkit.errors import DataError


def load_plain(data: bytes) -> Any:
    """Dicts, lists, strings, numbers and NumPy arrays from a pickle of any version of Python.

    Raises `DataError`, whose text is the reason alone, where the pickle asks for anything else.
    """
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
    except DataError:
        raise
    except Exception as error:  # damaged pickles raise anything at all
        raise DataError(f"damaged: {error or type(error).__name__}") from error


def _from_latin1(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes where Python 2 has to read them."""
    if encoding != "latin1":
        raise DataError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What Python 3 writes for empty bytes where Python 2 has to read them."""
    return b""


@cache
def _admitted() -> dict[tuple[str, str], Any]:
    """What pickles of arrays and of NumPy's numbers name, by old and by new names of the modules."""
    rebuild: Any = np.empty(0).__reduce__()[0]
    number: Any = np.float64(0).__reduce__()[0]
    from_buffer: Any = np.zeros(1).__reduce_ex__(5)[0]
    parts: dict[tuple[str, str], Any] = {
        ("_codecs", "encode"): _from_latin1,
        ("__builtin__", "bytes"): _no_bytes,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }
    for core in ("numpy.core", "numpy._core"):
        parts[f"{core}.multiarray", "_reconstruct"] = rebuild
        parts[f"{core}.multiarray", "scalar"] = number
        parts[f"{core}.numeric", "_frombuffer"] = from_buffer
    return parts


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _admitted():
            raise DataError(
                f"it asks for {module}.{name}, and a pickle can run any program; only plain data are read: "
                "dicts, lists, strings, numbers, NumPy arrays"
            )
        return _admitted()[module, name]
