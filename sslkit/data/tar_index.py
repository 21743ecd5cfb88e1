"""Where in a tar each sample's image lies, and its label: found once, kept in the cache folder."""

# N samples of a tar

import contextlib
import hashlib
import json
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from sslkit.data.cache import cache_folder, write_aside
from sslkit.errors import DataError

_FORMAT = 1  # raise it when the same tar is indexed otherwise


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


def index_of(path: Path, extensions: Extensions) -> TarIndex:
    """The index of a tar, from the cache if the tar has not changed (size and time of change), else made.

    Raises `DataError` for a file that is not an uncompressed tar.
    """
    cached = cache_folder() / "tar_index" / f"{_fingerprint(path, extensions)}.npz"
    index = _load(cached)
    if index is None:
        index = _scan(path, extensions)
        with contextlib.suppress(OSError):  # without a cache folder the next run scans again
            write_aside(cached, partial(_save, index=index))
    return index


def _fingerprint(path: Path, extensions: Extensions) -> str:
    state = path.stat()
    parts = [_FORMAT, str(path.resolve()), state.st_size, state.st_mtime_ns, *vars(extensions).values()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _load(path: Path) -> TarIndex | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return TarIndex(**{name: arrays[name] for name in ("keys", "offsets", "sizes", "labels")})
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _save(file: IO[bytes], index: TarIndex) -> None:
    np.savez(file, **cast(Any, vars(index)))


def _scan(path: Path, extensions: Extensions) -> TarIndex:
    try:
        with tarfile.open(path, "r:") as tar:
            samples = _group(tar, extensions)
            found = [
                (key, image.offset_data, image.size, _label(tar, members, extensions))
                for key, members in samples.items()
                if (image := _image(members, extensions.images)) is not None
            ]
    except tarfile.TarError as error:
        raise DataError(
            f"{path} cannot be read as an uncompressed tar: {error}\n"
            "  a compressed tar (.tar.gz) has to be unpacked to a .tar first; a broken one fetched again"
        ) from error
    keys, offsets, sizes, labels = zip(*found, strict=True) if found else ((), (), (), ())
    return TarIndex(
        np.array(keys, dtype=str),
        np.array(offsets, np.int64),
        np.array(sizes, np.int64),
        np.array(labels, dtype=str),
    )


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
