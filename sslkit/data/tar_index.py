"""Where in a tar its files lie, or its samples' images and labels: found once, kept in the cache folder."""

# N samples or files of a tar

import contextlib
import hashlib
import json
import os
import posixpath
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from sslkit.data.cache import cache_folder, write_aside
from sslkit.errors import DataError

Arrays = dict[str, npt.NDArray[Any]]
_FORMAT = 2  # raise it when the same tar is indexed otherwise


@dataclass(frozen=True)
class Extensions:
    """Which member of a sample is what; extensions are what follows the first dot, without it."""

    images: tuple[str, ...]
    """Extensions of images, the preferred first."""
    label: str
    """Extension of the member that holds the label: its text, or `label_field` of a JSON object."""
    label_field: str
    """Field of a JSON member that holds the label."""


@dataclass(frozen=True)
class TarIndex:
    """The samples of one tar that have an image, in the order of the tar."""

    keys: npt.NDArray[np.str_]
    """[N] name up to the first dot of its last part, folder included."""
    offsets: npt.NDArray[np.int64]
    """[N] first byte of the image in the tar."""
    sizes: npt.NDArray[np.int64]
    """[N] bytes of the image."""
    labels: npt.NDArray[np.str_]
    """[N] label as written, empty where there is none."""


@dataclass(frozen=True)
class Members:
    """The files in one tar, in the order of their names; hidden ones are left out."""

    names: npt.NDArray[np.bytes_]
    """[N] paths without "./" in front."""
    offsets: npt.NDArray[np.int64]
    """[N] first byte in the tar."""
    sizes: npt.NDArray[np.int64]
    """[N] bytes."""

    def find(self, name: str) -> int | None:
        """Position of a file."""
        wanted = os.fsencode(name)
        if len(wanted) > self.names.itemsize:
            return None
        place = self._place(wanted)
        return place if place < len(self.names) and self.names[place] == wanted else None

    def below(self, prefix: str) -> range:
        """Positions of the files in a folder; `prefix` is "" or ends in a slash."""
        if not prefix:
            return range(len(self.names))
        first = os.fsencode(prefix)
        return range(self._place(first), self._place(first[:-1] + b"0"))  # what comes after "/"

    def names_below(self, prefix: str) -> list[str]:
        places = self.below(prefix)
        return [os.fsdecode(name) for name in self.names[places.start : places.stop].tolist()]

    def _place(self, name: bytes) -> int:
        return int(np.searchsorted(self.names, np.bytes_(name)))


def index_of(path: Path, extensions: Extensions) -> TarIndex:
    """The index of a tar, from the cache if the tar has not changed (size and time of change), else made.

    Raises `DataError` for a file that is not an uncompressed tar.
    """
    scan = partial(_samples, extensions=extensions)
    return TarIndex(**_cached(path, list(vars(extensions).values()), scan))


def members_of(path: Path) -> Members:
    """All files of a tar, with a cache and an error as `index_of` has them."""
    return Members(**_cached(path, ["members"], _members))


def read_span(path: Path, offset: int, size: int) -> bytes:
    """Bytes of a tar, opened anew each time: 20 microseconds, and nothing that forked workers could share.

    Raises `DataError` where the tar cannot be opened or is too short.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror or error}") from error
    if len(data) < size:
        raise DataError(f"truncated: the tar ends after {len(data)} of its {size} bytes")
    return data


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out for its name."""
    return name.startswith(".") or name == "__MACOSX"


def _cached(path: Path, what: list[Any], scan: Callable[[tarfile.TarFile], Arrays]) -> Arrays:
    """The arrays that a scan gives, of an earlier one if it is in the cache."""
    cached = cache_folder() / "tar_index" / f"{_fingerprint(path, what)}.npz"
    arrays = _load(cached)
    if arrays is None:
        arrays = _scan(path, scan)
        with contextlib.suppress(OSError):  # without a cache folder the next run scans again
            write_aside(cached, partial(_save, arrays=arrays))
    return arrays


def _fingerprint(path: Path, what: list[Any]) -> str:
    state = path.stat()
    parts = [_FORMAT, str(path.resolve()), state.st_size, state.st_mtime_ns, *what]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _load(path: Path) -> Arrays | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _save(file: IO[bytes], arrays: Arrays) -> None:
    np.savez(file, **cast(Any, arrays))


def _scan(path: Path, scan: Callable[[tarfile.TarFile], Arrays]) -> Arrays:
    try:
        with tarfile.open(path, "r:") as tar:
            return scan(tar)
    except tarfile.TarError as error:
        raise DataError(
            f"{path} cannot be read as an uncompressed tar: {error}\n"
            "  a compressed tar (.tar.gz) has to be unpacked to a .tar first; a broken one fetched again"
        ) from error


def _members(tar: tarfile.TarFile) -> Arrays:
    """Files and hard links to them; the last of a name counts, as when a tar is unpacked."""
    spans: dict[str, tuple[int, int]] = {}
    for member in tar:
        span = (member.offset_data, member.size) if member.isreg() and not member.issparse() else None
        if member.islnk():
            span = spans.get(posixpath.normpath(member.linkname))
        if span is not None:
            spans[posixpath.normpath(member.name)] = span
    named = sorted((os.fsencode(name), *span) for name, span in spans.items() if not _is_left_out(name))
    names, offsets, sizes = zip(*named, strict=True) if named else ((), (), ())
    return {
        "names": np.array(names, dtype=np.bytes_),
        "offsets": np.array(offsets, np.int64),
        "sizes": np.array(sizes, np.int64),
    }


def _is_left_out(name: str) -> bool:
    return any(is_hidden(part) for part in name.split("/"))


def _samples(tar: tarfile.TarFile, extensions: Extensions) -> Arrays:
    samples = _group(tar, extensions)
    found = [
        (key, image.offset_data, image.size, _label(tar, members, extensions))
        for key, members in samples.items()
        if (image := _image(members, extensions.images)) is not None
    ]
    keys, offsets, sizes, labels = zip(*found, strict=True) if found else ((), (), (), ())
    return {
        "keys": np.array(keys, dtype=str),
        "offsets": np.array(offsets, np.int64),
        "sizes": np.array(sizes, np.int64),
        "labels": np.array(labels, dtype=str),
    }


def _group(tar: tarfile.TarFile, extensions: Extensions) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Members of interest by sample, then by extension in lower case."""
    wanted = {*extensions.images, extensions.label, "json"}
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in tar:
        folder, slash, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        extension = extension.lower()
        if member.isreg() and stem and extension in wanted:
            samples.setdefault(folder + slash + stem, {})[extension] = member
    return samples


def _image(members: dict[str, tarfile.TarInfo], images: Sequence[str]) -> tarfile.TarInfo | None:
    return next((members[extension] for extension in images if extension in members), None)


def _label(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], extensions: Extensions) -> str:
    if extensions.label in members and extensions.label != "json":
        return _text(tar, members[extensions.label])
    if "json" not in members:
        return ""
    try:
        content = json.loads(_text(tar, members["json"]))
    except ValueError as error:
        raise DataError(f"{tar.name!r}: {members['json'].name} is not JSON: {error}") from error
    value = content.get(extensions.label_field) if isinstance(content, dict) else None
    return str(value) if isinstance(value, int | str) else ""


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    stream = tar.extractfile(member)
    assert stream is not None, "only regular members are kept"
    return stream.read().decode("utf-8", errors="replace").strip()
