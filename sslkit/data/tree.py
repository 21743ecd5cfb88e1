"""A tree of files that is read in the same way from a folder and from an uncompressed tar."""

import hashlib
import os
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sslkit.core.dataset import DataSource
from sslkit.data.decode import SUFFIXES
from sslkit.data.splits import existing_root
from sslkit.data.tar_index import is_hidden, members_of, read_span
from sslkit.errors import DataError, nearest

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".zip")


class FileTree(ABC):
    """Files by their paths below a root, parts divided by "/"; hidden files and folders are left out."""

    root: Path
    """The folder, or the tar, possibly with a folder in it."""
    beside: Path
    """The folder on disk where tables may lie: the root itself, or where the tar is."""

    @abstractmethod
    def files(self, folder: str = "") -> list[str]:
        """Paths of all files below a folder, which they begin with; sorted."""

    @abstractmethod
    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted; none where there is no such folder."""

    @abstractmethod
    def has_folder(self, path: str) -> bool:
        """Whether there is such a folder; "" is the root."""

    @abstractmethod
    def has_file(self, path: str) -> bool: ...

    @abstractmethod
    def read(self, path: str) -> bytes:
        """A file's content. Raises `DataError` whose text is the reason alone."""

    @abstractmethod
    def state(self, paths: Iterable[str]) -> str:
        """Changes whenever one of these files does, as far as size and time of change tell."""

    def table(self, path: str) -> bytes:
        """The content of a table or list, which may also lie beside the tar. Raises `DataError`."""
        if self.has_file(path):
            return self.read(path)
        try:
            return (self.beside / path).read_bytes()
        except OSError as error:
            raise DataError(f"there is no file {path} in {self.root}{nearest(path, self.files())}") from error

    def table_state(self, path: str) -> str:
        """As `state`, of a table or list."""
        return self.state([path]) if self.has_file(path) else _stamp(self.beside / path)


def open_tree(source: DataSource, kind: str) -> FileTree:
    """The tree at the source's root: a folder, a tar, or a folder in a tar (ROOT.tar/FOLDER).

    A folder that holds nothing but one tar, its tables and at most one picture is opened as that tar.
    """
    tar = _tar_in(source.root)
    if source.root is not None and tar is not None and source.root != tar:
        return TarTree(tar, source.root.relative_to(tar).as_posix())
    root = existing_root(source, kind)
    if root.is_dir():
        only = _only_tar(root)
        return FolderTree(root) if only is None else TarTree(only)
    if root.name.lower().endswith(_COMPRESSED):
        raise DataError(
            f"data.root: {root} is compressed, so that no image can be read at random\n"
            "  unpack it to a folder or to a .tar"
        )
    if tar is None:
        raise DataError(f"data.root: {root} is a file, neither a folder nor a .tar{_reader_of(root)}")
    return TarTree(tar)


class FolderTree(FileTree):
    """A folder on disk; links are followed unless they lead in a circle."""

    def __init__(self, root: Path) -> None:
        self.root = self.beside = root

    def files(self, folder: str = "") -> list[str]:
        try:
            return sorted(_walk(self.root / folder, f"{folder}/" if folder else "", above=()))
        except OSError as error:
            raise DataError(f"{error.filename} cannot be listed: {error.strerror or error}") from error

    def folders(self, folder: str = "") -> list[str]:
        if not self.has_folder(folder):
            return []
        entries = (self.root / folder).iterdir()
        return sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))

    def has_folder(self, path: str) -> bool:
        return (self.root / path).is_dir()

    def has_file(self, path: str) -> bool:
        return (self.root / path).is_file()

    def read(self, path: str) -> bytes:
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise DataError(f"the file cannot be opened: {error.strerror or error}") from error

    def state(self, paths: Iterable[str]) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for path in paths:
            digest.update(os.fsencode(_stamp(self.root / path)))
        return digest.hexdigest()


class TarTree(FileTree):
    """An uncompressed tar, or a folder in it; read by offsets from an index that is kept in the cache folder.

    It holds no open file, so that forked and spawned workers share nothing.
    """

    def __init__(self, tar: Path, folder: str = "") -> None:
        self._tar, self._prefix = tar, f"{folder}/" if folder else ""
        self.root, self.beside = tar / folder, tar.parent
        self._members = members_of(tar)
        if folder and not len(self._members.below(self._prefix)):
            raise DataError(f"data.root: there is no folder {folder} in {tar}")

    def files(self, folder: str = "") -> list[str]:
        return sorted(
            name.removeprefix(self._prefix) for name in self._members.names_below(self._inside(folder))
        )

    def folders(self, folder: str = "") -> list[str]:
        inside = self._inside(folder)
        parts = (name.removeprefix(inside).split("/") for name in self._members.names_below(inside))
        return sorted({first for first, *rest in parts if rest})

    def has_folder(self, path: str) -> bool:
        return len(self._members.below(self._inside(path))) > 0

    def has_file(self, path: str) -> bool:
        return self._find(path) is not None

    def read(self, path: str) -> bytes:
        place = self._find(path)
        if place is None:
            raise DataError("the tar has no such file")
        return read_span(self._tar, int(self._members.offsets[place]), int(self._members.sizes[place]))

    def state(self, paths: Iterable[str]) -> str:
        return _stamp(self._tar)

    def _inside(self, folder: str) -> str:
        return self._prefix + (f"{folder}/" if folder else "")

    def _find(self, path: str) -> int | None:
        return self._members.find(posixpath.normpath(self._prefix + path))


def as_key(path: str) -> str:
    """A path as a sample's key; bytes that are no UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def packed(paths: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """One array instead of a million strings: forked workers share it, whereas counting references copies."""
    return np.array([os.fsencode(path) for path in paths])


def _walk(folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    """Relative paths of all files; links are followed unless they lead in a circle."""
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", (*above, real))
            elif entry.is_file():
                yield prefix + entry.name


def _stamp(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:
        return f"{path}: missing"
    return f"{path.resolve()}: {state.st_size} bytes, {state.st_mtime_ns}"


def _tar_in(root: Path | None) -> Path | None:
    """The tar that a path is, or leads into."""
    places = [] if root is None else [root, *root.parents]
    return next((place for place in places if place.suffix.lower() == ".tar" and place.is_file()), None)


def _only_tar(folder: Path) -> Path | None:
    """The tar that a folder was made for: beside it no folder, no second tar, no two pictures."""
    entries = [entry for entry in folder.iterdir() if not is_hidden(entry.name)]
    tars = [entry for entry in entries if entry.suffix.lower() == ".tar"]
    pictures = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
    if len(tars) == 1 and len(pictures) < 2 and not any(entry.is_dir() for entry in entries):
        return tars[0]
    return None


def _reader_of(path: Path) -> str:
    return "\n  for such a file set data.name=parquet" if path.suffix == ".parquet" else ""
