"""Pictures in folders or a tar: class sub-folders, split folders, or any tree of photos without labels."""

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.class_names import Labelled, from_words
from sslkit.data.decode import SUFFIXES, decode
from sslkit.data.masks import read_mask
from sslkit.data.splits import split_folder
from sslkit.data.tree import as_key, open_tree, packed
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
    """All images below a folder, or in a tar, in the order of their paths."""

    Config = FolderConfig

    def __init__(self, config: FolderConfig, source: DataSource) -> None:
        self._tree = open_tree(source, "folder")
        base = split_folder(self._tree.root, source.split, self._tree.has_folder)
        self._prefix = _prefix(base, config.images)
        self._masks = _prefix(base, config.masks) if config.masks else None
        self._mask_suffix = config.mask_suffix
        self._channels, self._how = source.channels, f"{source} {config}"
        self.has_masks = self._masks is not None
        paths = self._find(config.suffixes)
        labelled = labels_of(paths, source.labels, self._tree.root / self._prefix)
        self.classes = None if labelled is None else labelled.classes
        self._labels = None if labelled is None else labelled.labels
        self._paths = packed(paths)

    def _find(self, suffixes: Sequence[str]) -> list[str]:
        """Paths below the images' folder; masks are none of them."""
        folders = [prefix for prefix in (self._prefix, self._masks) if prefix is not None]
        for folder in folders:
            if not self._tree.has_folder(folder.rstrip("/")):
                raise DataError(f"there is no folder {self._tree.root / folder}")
        endings = tuple(suffix.lower() for suffix in suffixes)
        paths = [
            path.removeprefix(self._prefix)
            for path in self._tree.files(self._prefix.rstrip("/"))
            if path.lower().endswith(endings) and not path.startswith(tuple(folders[1:]))
        ]
        if not paths:
            raise DataError(
                f"found 0 images in {self._tree.root / self._prefix}\n  files count that end in "
                f"{', '.join(endings)}; choose another data.root, or name the endings in data.suffixes"
            )
        return paths

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, index: int) -> str:
        return as_key(self._prefix + self._path(index))

    def __getitem__(self, index: int) -> Sample:
        path = self._path(index)
        image = decode(self._tree.read(self._prefix + path), self._channels)
        label = None if self._labels is None else int(self._labels[index])
        mask = None if self._masks is None else self._mask(self._masks + path, image.shape[:2])
        return Sample(image, label, self.key(index), mask)

    def identity(self) -> str | None:
        """Changes whenever an image or a mask does."""
        paths = [self._path(index) for index in range(len(self))]
        read = [self._prefix + path for path in paths]
        if self._masks is not None:
            read += [self._mask_file(self._masks + path) for path in paths]
        return f"{self._how} {self._tree.state(read)}"

    def _path(self, index: int) -> str:
        return os.fsdecode(self._paths[index])

    def _mask(self, path: str, size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        return read_mask(self._tree, self._mask_file(path), size)

    def _mask_file(self, path: str) -> str:
        return str(PurePosixPath(path).with_suffix(self._mask_suffix))


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


def labels_of(
    paths: Sequence[str], labels: Literal["auto", "folders", "none"], folder: Path
) -> Labelled | None:
    """The labels of the images at these paths below a folder, as `data.labels` wants them; None: none.

    Raises `DataError` where every image should lie in a class folder and one does not.
    """
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


def _prefix(base: str, folder: str | None) -> str:
    """The folder with a slash at its end; nothing for the root."""
    path = posixpath.normpath(posixpath.join(base, folder or ""))
    return "" if path == "." else f"{path}/"


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"folder": Folder}
