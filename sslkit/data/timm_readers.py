"""Data sets that timm and torchvision know how to read, through timm's `create_dataset`."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.decode import decode, from_picture
from sslkit.data.splits import WHOLE, existing_root, missing_split, spellings, split_folder
from sslkit.data.tree import FolderTree
from sslkit.errors import DataError
from sslkit.hookspecs import hookimpl

_STREAMS = ("hfids/", "tfds/", "wds/")


@dataclass
class TimmConfig:
    """Keys of the `data` section for `name: timm`."""

    reader: str = ""
    """timm's name: empty for folders, or one .tar, with a folder for each class; `torch/cifar10` and the like
    for torchvision's; `hfds/NAME` for the Hugging Face hub (needs the package `datasets`). timm's readers of
    streams (hfids, tfds, wds) cannot be asked for image i and do not work here."""
    class_map: str | None = None
    """File that gives a class index for each class folder (timm's format); null: by the folders' names."""
    download: bool = False
    """Whether torchvision may download a missing data set."""
    args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the reader."""


class _Reader(Protocol):
    """What this room asks of timm's or torchvision's objects."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class TimmReader(Dataset):
    """A map-style data set of timm's."""

    Config = TimmConfig

    def __init__(self, config: TimmConfig, source: DataSource) -> None:
        if config.reader.lower().startswith(_STREAMS):
            raise DataError(
                f"data.reader '{config.reader}' is a stream, whose images cannot be asked for by number\n"
                "  for tars: data.name=webdataset; for the Hugging Face hub: data.reader=hfds/NAME"
            )
        dataset = _open(config, source)
        self._reader: _Reader = getattr(dataset, "reader", dataset)
        self._channels = source.channels
        if len(self) == 0:
            raise DataError(f"found 0 images through timm's reader '{config.reader}' in {source.root}")
        classes = None if source.labels == "none" else _class_names(self._reader)
        if source.labels == "auto" and classes is not None and len(classes) < 2:
            classes = None  # a folder of pictures is not a class
        self.classes = classes

    def __len__(self) -> int:
        return len(self._reader)

    def key(self, index: int) -> str:
        filename: Callable[[int], str] | None = getattr(self._reader, "filename", None)
        return str(index) if filename is None else str(filename(index) or index)

    def identity(self) -> str | None:
        """Of folders alone: the other readers do not tell which files they read."""
        from timm.data.readers.reader_image_folder import ReaderImageFolder

        if not isinstance(self._reader, ReaderImageFolder):
            return None
        paths, targets = zip(*self._reader.samples, strict=True)
        labels = hashlib.sha256(str(targets).encode()).hexdigest()
        return f"timm {FolderTree(Path()).state(map(str, paths))} labels {labels}"

    def __getitem__(self, index: int) -> Sample:
        try:
            content, target, *_ = self._reader[index]
        except OSError as error:
            raise DataError(f"the file cannot be opened: {error.strerror or error}") from error
        return Sample(self._decoded(content), None if self.classes is None else int(target), self.key(index))

    def _decoded(self, content: Any) -> Any:
        if isinstance(content, Image.Image):
            return from_picture(content, self._channels)
        with content, _tar_of(content):
            return decode(content.read(), self._channels)


def _tar_of(content: Any) -> AbstractContextManager[Any]:
    """The tar that timm opened for a member of it and leaves open; other contents have none."""
    file = getattr(getattr(content, "raw", None), "fileobj", None)
    return nullcontext() if file is None else file


def _open(config: TimmConfig, source: DataSource) -> Any:
    """timm's or torchvision's data set for a split."""
    prefix = config.reader.partition("/")[0].lower() if "/" in config.reader else ""
    if prefix == "torch":
        return _torch(config, source)
    if prefix == "hfds":
        return _hugging_face(config, source)
    root = existing_root(source, "timm")
    if root.is_dir():
        folder = split_folder(root, source.split, lambda name: (root / name).is_dir())
        return _create(config, root / folder, source.split)
    if source.split != WHOLE:
        raise missing_split(root, source.split, [])
    return _create(config, root, source.split, cache_tarfiles=False, cache_tarinfo=False)


def _torch(config: TimmConfig, source: DataSource) -> Any:
    """torchvision's sets are asked for training or not: timm takes every other name for the latter."""
    for name in ("train", "val"):
        if source.split in spellings(name):
            return _create(config, source.root, "train" if name == "train" else "validation")
    raise missing_split(f"timm's '{config.reader}'", source.split, ["train", "val"])


def _hugging_face(config: TimmConfig, source: DataSource) -> Any:
    for name in spellings(source.split):
        try:
            return _create(config, source.root, name)
        except DataError as error:
            if "Unknown split" not in str(error):
                raise
    raise missing_split(f"timm's '{config.reader}'", source.split, [])


def _create(config: TimmConfig, root: Path | None, split: str, **extra: Any) -> Any:
    """timm asserts and raises what it likes; all of it is about the data or the keys given here."""
    import timm.data

    path = None if root is None else str(root)
    arguments = {"class_map": config.class_map, **extra, **config.args}
    if config.reader.lower().startswith("torch/"):
        del arguments["class_map"]
        arguments["download"] = config.download
    try:
        return timm.data.create_dataset(config.reader, path, split, search_split=False, **arguments)
    except (AssertionError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"timm cannot open '{config.reader}' at {path} (split '{split}'): {type(error).__name__}: "
            f"{error}\n"
            "  check data.reader, data.root, data.args; data.download=true lets torchvision fetch its sets"
        ) from error


def _class_names(reader: Any) -> tuple[str, ...] | None:
    """Class names by index, wherever the reader keeps them."""
    for attribute in ("class_to_idx", "class_name_to_idx"):
        if by_name := getattr(reader, attribute, None):
            return _in_order(by_name)
    names = getattr(reader, "classes", None)
    return None if names is None else tuple(str(name) for name in names)


def _in_order(by_name: dict[str, int]) -> tuple[str, ...]:
    """A class map may leave out numbers, or give one to several names: the first name stands."""
    names = [str(number) for number in range(max(by_name.values()) + 1)]
    for name, number in reversed(by_name.items()):
        names[number] = str(name)
    return tuple(names)


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"timm": TimmReader}
