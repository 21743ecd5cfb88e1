"""The images of a .zip, read where they lie: nothing is unpacked.

    sslkit run dino_pocket --plugin plugins/zip_images.py data.name=zip_images data.root=photos.zip

Folders mean what they mean to the built-in `folder`: train, val and the like are splits, `cat/1.jpg`
and `dog/2.jpg` have classes, `1.jpg` and `2.jpg` none. Where all of it lies in a folder of the zip, that is
`data.folder=photos`.
"""

import os
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from sslkit import Dataset, Sample, hookimpl
from sslkit.core.dataset import DataSource
from sslkit.data.decode import SUFFIXES, decode
from sslkit.data.folder import labels_of
from sslkit.data.splits import existing_root, split_folder
from sslkit.errors import DataError

SSLKIT_API = "1"


@dataclass
class ZipImagesConfig:
    """Keys of the `data` section for `name: zip_images`."""

    folder: str = ""
    """Folder in the zip that holds the images, or the splits' folders; empty: the zip itself."""


class ZipImages(Dataset):
    """All images of a zip, or of a folder in it, in the order of their paths.

    Each process opens the zip for itself when it first reads: of one open file, two would move the place.
    """

    Config = ZipImagesConfig

    def __init__(self, config: ZipImagesConfig, source: DataSource) -> None:
        self._zip, self._channels = existing_root(source, "zip_images"), source.channels
        self._opened: tuple[int, ZipFile] | None = None
        names = self._names()
        top = f"{config.folder.strip('/')}/" if config.folder.strip("/") else ""
        split = split_folder(
            self._zip / top,
            source.split,
            lambda name: any(path.startswith(f"{top}{name}/") for path in names),
        )
        self._prefix = f"{top}{split}/" if split else top
        paths = [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]
        if not paths:
            endings = ", ".join(SUFFIXES)
            raise DataError(
                f"found 0 images in {self._zip / self._prefix}\n  files count that end in {endings}"
            )
        self._paths = np.array(paths)  # one array: forked workers would copy a million strings
        labelled = labels_of(paths, source.labels, self._zip / self._prefix)
        self.classes = None if labelled is None else labelled.classes
        self._labels = None if labelled is None else labelled.labels
        self._how = f"{source} {config}"

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, index: int) -> str:
        """The path in the zip."""
        return f"{self._prefix}{self._paths[index]}"

    def __getitem__(self, index: int) -> Sample:
        image = decode(self._read(self.key(index)), self._channels)
        return Sample(image, None if self._labels is None else int(self._labels[index]), self.key(index))

    def identity(self) -> str:
        """Changes whenever the zip does."""
        state = self._zip.stat()
        return f"{self._how} {self._zip.resolve()} {state.st_size} {state.st_mtime_ns}"

    def _names(self) -> list[str]:
        """Of all images, sorted, each once; without hidden ones and what macOS adds."""
        with self._open() as opened:
            found = {name for name in opened.namelist() if name.lower().endswith(SUFFIXES)}
        return sorted(name for name in found if not name.startswith("__MACOSX/") and "/." not in f"/{name}")

    def _read(self, name: str) -> bytes:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), self._open())
        try:
            return self._opened[1].read(name)
        except Exception as error:  # of the zip, its ways of compressing, the disk; or it wants a password
            raise DataError(f"it cannot be read from the zip: {error or type(error).__name__}") from error

    def _open(self) -> ZipFile:
        try:
            return ZipFile(self._zip)
        except (OSError, BadZipFile) as error:
            raise DataError(f"data.root: {self._zip} cannot be read as a .zip: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        """For a worker that is not forked: without the open file."""
        return {**vars(self), "_opened": None}


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    """The name that `data.name` takes."""
    return {"zip_images": ZipImages}
