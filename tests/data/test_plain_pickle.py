"""Pickles: plain data come back, whatever runs something is refused."""

import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslkit.data.plain_pickle import load_plain
from sslkit.errors import DataError

PLAIN: dict[str, Any] = {
    "text": "café",
    "bytes": [b"\x00\xff", b""],
    "numbers": [1, -(2**70), 0.5, None, True],
    "tuple": (1, ("a",)),
    "array": np.arange(6, dtype=np.int32).reshape(2, 3),
    "columns first": np.asfortranarray(np.ones((2, 3), "f4")),
    "words": np.array(["a", "bc"]),
    "objects": np.array([1, "a"], dtype=object),
    "scalar": np.float32(0.25),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(protocol: int) -> None:
    back = load_plain(pickle.dumps(PLAIN, protocol=protocol))
    assert back.keys() == PLAIN.keys()
    for key, value in PLAIN.items():
        assert type(back[key]) is type(value)
        assert repr(back[key]) == repr(value)


def test_names_of_older_numpy_and_strings_of_python_2() -> None:
    older = pickle.dumps(np.arange(3), protocol=2).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core.multiarray" in older
    assert load_plain(older).tolist() == [0, 1, 2]
    assert load_plain(b"\x80\x02U\x05caf\xe9sq\x00.") == "cafés"  # a str of Python 2


class Runs:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "value",
    [
        Runs(os.system, "touch ran"),
        Runs(eval, "open('ran', 'w')"),
        Runs(exec, "open('ran', 'w')"),
        Runs(open, "ran", "w"),
        Runs(subprocess.Popen, ["touch", "ran"]),
        Runs(getattr, "x", "upper"),
        Runs(np.load, "ran"),
        Runs(np.fromfile, "ran"),
        [np.arange(2), {"deep": Runs(Path.touch, Path("ran"))}],
        eval,
        complex(1, 2),
        bytearray(b"a"),
        Runs(bytes, 10),
    ],
)
def test_anything_else_is_refused(value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"it asks for [\w.]+, and a pickle can run any program"):
        load_plain(pickle.dumps(value))
    assert list(tmp_path.iterdir()) == []


def test_submodules_are_not_reached_by_dots() -> None:
    dotted = b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93."
    with pytest.raises(DataError, match=r"it asks for numpy.ndarray.__init__"):
        load_plain(dotted)


def test_bytes_in_other_encodings_are_refused() -> None:
    with pytest.raises(DataError, match="it asks for the encoding 'rot13'"):
        load_plain(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")


@pytest.mark.parametrize("data", [b"", b"text", b"\x80\x05", pickle.dumps(PLAIN)[:-20], b"\x80\x02cnumpy"])
def test_damage_is_told(data: bytes) -> None:
    with pytest.raises(DataError, match="damaged: "):
        load_plain(data)


def test_an_array_larger_than_memory_is_damage() -> None:
    rebuild = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I999999999999999\ntVb\ntR."
    with pytest.raises(DataError, match="damaged: "):
        load_plain(rebuild)
