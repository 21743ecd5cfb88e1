"""Pictures in tars, as webdataset stores them; read at random, without a pass over the tar."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.class_names import from_texts, read_class_names
from sslkit.data.decode import SUFFIXES, decode
from sslkit.data.splits import WHOLE, existing_root, missing_split, spellings, split_files
from sslkit.data.tar_index import Extensions, index_of, read_span
from sslkit.data.tree import FolderTree
from sslkit.errors import DataError
from sslkit.hookspecs import hookimpl

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass
class WebDatasetConfig:
    """Keys of the `data` section for `name: webdataset`."""

    shards: dict[str, str] = field(default_factory=dict)
    """Tars of each split, as patterns below the root with `*`, `{000..146}` or `{a,b}`, such as
    {train: "train-{000..146}.tar", val: "val-*.tar"}; empty: by their names, SPLIT*.tar."""
    image_extensions: list[str] = field(default_factory=lambda: [suffix[1:] for suffix in SUFFIXES])
    """Extensions of the member that is the image (what follows the first dot), the preferred first."""
    label_extension: str = "cls"
    """Extension of the member that holds the label as text, a number or a word."""
    label_field: str = "label"
    """Field of a .json member that holds the label, where there is no member with `label_extension`."""


class WebDataset(Dataset):
    """The samples of all tars of a split, in order."""

    Config = WebDatasetConfig

    def __init__(self, config: WebDatasetConfig, source: DataSource) -> None:
        tars = _tars(config, source)
        extensions = Extensions(
            tuple(extension.lower().lstrip(".") for extension in config.image_extensions),
            config.label_extension.lower().lstrip("."),
            config.label_field,
        )
        indices = [index_of(tar, extensions) for tar in tars]
        self._tars, self._extensions = tars, extensions
        self._shard = np.repeat(np.arange(len(tars)), [len(index.keys) for index in indices])  # [N]
        self._keys = np.concatenate([index.keys for index in indices])  # [N]
        self._offsets = np.concatenate([index.offsets for index in indices])  # [N]
        self._sizes = np.concatenate([index.sizes for index in indices])  # [N]
        self._channels = source.channels
        if len(self) == 0:
            raise DataError(
                f"found 0 images in {len(tars)} tars ({tars[0]}, ...)\n  members count that end in "
                f"{', '.join(extensions.images)}; name the ending in data.image_extensions"
            )
        self._set_labels(np.concatenate([index.labels for index in indices]).tolist(), source)

    def _set_labels(self, texts: list[str], source: DataSource) -> None:
        place = self._tars[0].parent
        labelled = None
        if source.labels != "none":
            labelled = from_texts(texts, read_class_names(place), str(place))
        if labelled is None and source.labels == "folders":
            raise DataError(
                f"data.labels=folders, but no sample of {self._tars[0]} has a label\n"
                "  name the member with data.label_extension or data.label_field, or set data.labels=none"
            )
        self.classes = None if labelled is None else labelled.classes
        self._labels = None if labelled is None else labelled.labels

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        return f"{self._tars[int(self._shard[index])].name}/{self._keys[index]}"

    def identity(self) -> str:
        return f"webdataset {self._extensions} {FolderTree(Path()).state(map(str, self._tars))}"

    def __getitem__(self, index: int) -> Sample:
        image = decode(self._bytes(index), self._channels)
        label = None if self._labels is None else int(self._labels[index])
        return Sample(image, label, self.key(index))

    def _bytes(self, index: int) -> bytes:
        tar = self._tars[int(self._shard[index])]
        return read_span(tar, int(self._offsets[index]), int(self._sizes[index]))


def expand(pattern: str) -> list[str]:
    """`a-{00..02}.{x,y}` -> a-00.x, a-00.y, a-01.x, ...; without braces, the pattern itself."""
    pieces = _BRACES.split(pattern)  # text, inside, text, inside, ..., text
    choices = [_choices(piece) if number % 2 else [piece] for number, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _choices(inside: str) -> list[str]:
    if match := _RANGE.fullmatch(inside):
        first, last = match.groups()
        return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return inside.split(",")


def _tars(config: WebDatasetConfig, source: DataSource) -> list[Path]:
    """The tars of a split. A root with braces or stars is a pattern itself, and has no splits."""
    if source.root is not None and not source.root.exists() and re.search(r"[{*?]", str(source.root)):
        if source.split != WHOLE:
            raise missing_split(source.root, source.split, [])
        return _matching(Path.cwd(), str(source.root))
    root = existing_root(source, "webdataset")
    if not config.shards:
        return _some(split_files(root, source.split, ".tar"), root)
    for name in spellings(source.split):
        if name in config.shards:
            return _matching(root, config.shards[name])
    if source.split == WHOLE:
        raise DataError(f"data.shards names the splits {', '.join(config.shards)}: take one as data.split")
    raise missing_split("data.shards", source.split, list(config.shards))


def _matching(root: Path, pattern: str) -> list[Path]:
    """Files that a pattern names; one without a star has to be there."""
    files: list[Path] = []
    if anchor := Path(pattern).anchor:
        root, pattern = Path(anchor), str(Path(pattern).relative_to(anchor))
    for name in expand(pattern):
        found = sorted(root.glob(name))
        if not found and not re.search(r"[*?\[]", name):
            raise DataError(f"there is no {root / name}, which the pattern {pattern} names")
        files += found
    return _some(files, root / pattern)


def _some(files: Sequence[Path], where: Path) -> list[Path]:
    if not files:
        raise DataError(f"found no .tar file in {where}")
    return list(files)


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"webdataset": WebDataset}
