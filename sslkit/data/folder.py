"""Pictures in folders: class sub-folders, split folders, or any tree of photos without labels."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.class_names import Labelled, from_words
from sslkit.data.decode import SUFFIXES, decode
from sslkit.data.splits import existing_root, split_folder
from sslkit.errors import DataError
from sslkit.hookspecs import hookimpl

_DATE = re.compile(r"(19|20)\d\d([-_. ]?\d\d){0,2}")
_CONTAINERS = frozenset(
    ("images", "image", "img", "imgs", "pictures", "photos", "masks", "mask", "annotations", "labels")
)


@dataclass
class FolderConfig:
    """Keys of the `data` section for `name: folder`."""

    suffixes: list[str] = field(default_factory=lambda: list(SUFFIXES))
    """Endings of the files that are taken for images, upper or lower case."""
    images: str | None = None
    """Folder below the root (or below the split's folder) that holds the images; null: all of it."""
    masks: str | None = None
    """Folder beside it with a mask for each image, at the same relative path; every pixel above 0 is object.
    null: no masks."""
    mask_suffix: str = ".png"
    """Ending of the masks' files."""


class Folder(Dataset):
    """All images below a folder, in the order of their paths."""

    Config = FolderConfig

    def __init__(self, config: FolderConfig, source: DataSource) -> None:
        root = existing_root(source, "folder")
        if not root.is_dir():
            raise DataError(f"data.root: {root} is a file, not a folder{_reader_of(root)}")
        base = split_folder(root, source.split)
        self._folder = base / config.images if config.images else base
        self._prefix = "" if self._folder == root else self._folder.relative_to(root).as_posix() + "/"
        self._masks = base / config.masks if config.masks else None
        self._mask_suffix = config.mask_suffix
        self._channels = source.channels
        self.has_masks = self._masks is not None
        paths = sorted(self._find(config.suffixes))
        labelled = _labels_of(paths, source.labels, self._folder)
        self.classes = None if labelled is None else labelled.classes
        self._labels = None if labelled is None else labelled.labels
        self._paths = _packed(paths)

    def _find(self, suffixes: Sequence[str]) -> list[str]:
        for folder in filter(None, (self._folder, self._masks)):
            if not folder.is_dir():
                raise DataError(f"there is no folder {folder}")
        endings = tuple(suffix.lower() for suffix in suffixes)
        try:
            files = list(_walk(self._folder, "", skip=self._masks, above=()))
        except OSError as error:
            raise DataError(f"{error.filename} cannot be listed: {error.strerror or error}") from error
        paths = [path for path in files if path.lower().endswith(endings)]
        if not paths:
            raise DataError(
                f"found 0 images in {self._folder}\n  files count that end in {', '.join(endings)}; "
                "choose another data.root, or name the endings in data.suffixes"
            )
        return paths

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, index: int) -> str:
        path = self._prefix.encode() + bytes(self._paths[index])
        return path.decode("utf-8", errors="backslashreplace")

    def __getitem__(self, index: int) -> Sample:
        path = self._path(index)
        image = decode(self._folder / path, self._channels)
        label = None if self._labels is None else int(self._labels[index])
        mask = None if self._masks is None else self._mask(self._masks, path, image.shape[:2])
        return Sample(image, label, self.key(index), mask)

    def _path(self, index: int) -> str:
        return os.fsdecode(self._paths[index])

    def _mask(self, masks: Path, path: str, size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        file = (masks / path).with_suffix(self._mask_suffix)
        try:
            mask = decode(file, 1)[..., 0] > 0  # [H, W]
        except DataError as error:
            raise DataError(f"its mask {file}: {error}") from error
        if mask.shape != size:
            raise DataError(f"its mask {file} is {mask.shape} (height, width), the image {size}")
        return mask


def class_folders(paths: Sequence[str]) -> list[str] | None:
    """The class of each path where the tree is one of classes, else None.

    It is one if every image lies exactly one folder deep, in at least two folders, none of which is called
    images, masks or the like, and which are not all dates (2021, 2021-05). So `cat/1.jpg, dog/2.jpg` has
    classes; `2021/05/1.jpg`, `holiday/1.jpg` alone, `1.jpg` and a mixture of these have none.
    """
    if any(path.count("/") != 1 for path in paths):
        return None
    tops = [path.partition("/")[0] for path in paths]
    names = set(tops)
    contains = any(name.lower() in _CONTAINERS for name in names)
    if len(names) < 2 or contains or all(_DATE.fullmatch(name) for name in names):
        return None
    return tops


def _labels_of(
    paths: Sequence[str], labels: Literal["auto", "folders", "none"], folder: Path
) -> Labelled | None:
    if labels == "none":
        return None
    if labels == "auto":
        tops = class_folders(paths)
        return None if tops is None else from_words(tops)
    if loose := [path for path in paths if "/" not in path]:
        raise DataError(
            f"data.labels=folders, but {len(loose)} of {len(paths)} images lie in no class folder of "
            f"{folder} (such as {loose[0]})\n  move them into one, or set data.labels=auto or none"
        )
    return from_words([path.partition("/")[0] for path in paths])


def _walk(folder: Path, prefix: str, skip: Path | None, above: tuple[str, ...]) -> Iterator[str]:
    """Relative paths of all files; hidden ones are left out, links followed unless they lead in a circle."""
    real = os.path.realpath(folder)
    if real in above or folder == skip:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", skip, (*above, real))
            elif entry.is_file():
                yield prefix + entry.name


def _packed(paths: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """One array instead of a million strings: forked workers share it, whereas counting references copies."""
    return np.array([os.fsencode(path) for path in paths])


def _reader_of(path: Path) -> str:
    names = {".parquet": "parquet", ".tar": "webdataset"}
    return f"\n  for such a file set data.name={names[path.suffix]}" if path.suffix in names else ""


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"folder": Folder}
