"""Pascal VOC's segmentation sets: images with masks that tell objects apart."""

# H, W height and width in pixels

from dataclasses import dataclass
from pathlib import PurePosixPath

from sslkit.core.dataset import VOID, Dataset, DataSource, Sample
from sslkit.data.decode import decode
from sslkit.data.masks import read_objects
from sslkit.data.splits import WHOLE, missing_split, refuse_whole, spellings
from sslkit.data.tree import FileTree, as_key, open_tree
from sslkit.errors import DataError
from sslkit.hookspecs import hookimpl

_LISTS = "ImageSets/Segmentation"


@dataclass
class VocConfig:
    """Keys of the `data` section for `name: voc`: none of its own."""


class Voc(Dataset):
    """The images of one list in ImageSets/Segmentation. An image shows several classes, so it has no label.

    The mask is True on every object; `objects` numbers them, 255 on the borders that VOC does not count.
    """

    Config = VocConfig

    def __init__(self, config: VocConfig, source: DataSource) -> None:
        self._tree, self._source = open_tree(source, "voc"), source
        self._prefix = _set_folder(self._tree)
        if source.labels == "folders":
            raise DataError("data.labels=folders, but images of VOC show several classes; take auto or none")
        self._list = _list_of(self._tree, self._prefix + _LISTS, source.split)
        self._names = self._tree.read(self._list).decode().split()
        if not self._names:
            raise DataError(f"{self._tree.root / self._list} names no images")
        self.has_masks = any(self._tree.has_file(self._mask(name)) for name in self._names)

    def __len__(self) -> int:
        return len(self._names)

    def key(self, index: int) -> str:
        return as_key(self._image(self._names[index]))

    def __getitem__(self, index: int) -> Sample:
        name = self._names[index]
        image = decode(self._tree.read(self._image(name)), self._source.channels)
        if not self.has_masks:
            return Sample(image, None, self.key(index))
        objects = read_objects(self._tree, self._mask(name), image.shape[:2])  # [H, W]
        mask = (objects > 0) & (objects < VOID)
        return Sample(image, None, self.key(index), mask, objects=objects)

    def identity(self) -> str | None:
        """Changes whenever the list, an image or a mask does."""
        masks = map(self._mask, self._names) if self.has_masks else ()
        return f"{self._source} " + self._tree.state([self._list, *map(self._image, self._names), *masks])

    def _image(self, name: str) -> str:
        return f"{self._prefix}JPEGImages/{name}.jpg"

    def _mask(self, name: str) -> str:
        return f"{self._prefix}SegmentationObject/{name}.png"


def _set_folder(tree: FileTree) -> str:
    """Where JPEGImages lies, with a slash at its end: the root, VOC2012/ or VOCdevkit/VOC2012/."""
    if tree.has_folder("JPEGImages"):
        return ""
    inner = [*tree.folders(""), *(f"VOCdevkit/{name}" for name in tree.folders("VOCdevkit"))]
    found = [folder for folder in inner if tree.has_folder(f"{folder}/JPEGImages")]
    if len(found) == 1:
        return f"{found[0]}/"
    if found:
        raise DataError(
            f"{tree.root} holds {', '.join(found)}: choose one, such as data.root={tree.root / found[-1]}"
        )
    raise DataError(
        f"{tree.root} is no VOC set: there is no JPEGImages in it, in VOC2012 or in VOCdevkit/VOC2012 below"
    )


def _list_of(tree: FileTree, folder: str, split: str) -> str:
    """The list of a split, ImageSets/Segmentation/SPLIT.txt."""
    files = tree.files(folder) if tree.has_folder(folder) else []
    there = [PurePosixPath(path).stem for path in files]
    if split == WHOLE:
        refuse_whole(tree.root / folder, there)
    for name in spellings(split):
        if name in there:
            return files[there.index(name)]
    raise missing_split(tree.root / folder, split, there)


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"voc": Voc}
