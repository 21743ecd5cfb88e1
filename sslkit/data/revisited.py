"""Oxford and Paris buildings with the revisited ground truth: a database, queries, and their answers."""

# N images of the database, Q queries

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from sslkit.core.dataset import Dataset, DataSource, Relevance, Sample, UInt8Array
from sslkit.data.decode import decode
from sslkit.data.plain_pickle import load_plain
from sslkit.data.splits import is_queries
from sslkit.data.tree import FileTree, as_key, open_tree
from sslkit.errors import DataError
from sslkit.hookspecs import hookimpl

_LEVELS = ("easy", "hard", "junk")


@dataclass
class RevisitedConfig:
    """Keys of the `data` section for `name: revisited`."""

    ground_truth: str = ""
    """File with the ground truth, below the root or beside the tar: gnd_roxford5k.pkl or gnd_rparis6k.pkl as
    published (Radenovic et al. 2018), or its content as .json; empty: the only gnd_*.pkl or gnd_*.json."""
    images: str = "jpg"
    """Folder below the root with the images, NAME.jpg each; "." for the root itself."""
    crop_queries: bool = True
    """Whether a query is cut to its box, as in the protocol."""


@dataclass(frozen=True)
class GroundTruth:
    """The published file's content, checked."""

    database: list[str]
    """[N] names of the images, without folder and ending."""
    queries: list[str]
    """[Q] the same."""
    boxes: npt.NDArray[np.float64]
    """[Q, 4] left, top, right, bottom of the building, pixels."""
    relevance: Relevance


class Revisited(Dataset):
    """The database (split db or train) or the queries (split queries, val or test)."""

    Config = RevisitedConfig

    def __init__(self, config: RevisitedConfig, source: DataSource) -> None:
        self._tree, self._channels = open_tree(source, "revisited"), source.channels
        queries = is_queries(source.split, self._tree.root)
        self._file, self._how = _find(self._tree, config.ground_truth), f"{source} {config}"
        truth = read_ground_truth(self._tree, self._file)
        names = truth.queries if queries else truth.database
        self._paths = [posixpath.normpath(f"{config.images}/{name}.jpg") for name in names]
        first = self._paths[0]
        if not self._tree.has_file(first):
            raise DataError(
                f"{self._file} names the image {names[0]}, but there is no {self._tree.root / first}\n"
                "  data.images names the folder with the images"
            )
        self._boxes = truth.boxes if queries and config.crop_queries else None
        self.relevance = truth.relevance if queries else None

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, index: int) -> str:
        return as_key(self._paths[index])

    def __getitem__(self, index: int) -> Sample:
        image = decode(self._tree.read(self._paths[index]), self._channels)
        if self._boxes is not None:
            image = _cropped(image, self._boxes[index])
        return Sample(image, None, self.key(index))

    def identity(self) -> str | None:
        """Changes whenever the ground truth or an image does."""
        return f"{self._how} {self._tree.table_state(self._file)} {self._tree.state(self._paths)}"


def read_ground_truth(tree: FileTree, path: str) -> GroundTruth:
    """The ground truth in a .pkl or .json file: {imlist, qimlist, gnd: [{bbx, easy, hard, junk}]}.

    Raises `DataError` for anything else, and for a pickle that holds more than plain data.
    """
    data = tree.table(path)
    try:
        content = json.loads(data) if path.endswith(".json") else load_plain(data)
        return _checked(content)
    except DataError as error:
        raise DataError(f"{tree.root / path} is refused: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{tree.root / path} is no ground truth of revisited Oxford or Paris "
            f"({type(error).__name__}: {error})\n  valid: {{imlist: names, qimlist: names, "
            "gnd: for each query {bbx, easy, hard, junk}}"
        ) from error


def _checked(content: Mapping[str, Any]) -> GroundTruth:
    database, queries = ([str(name) for name in content[key]] for key in ("imlist", "qimlist"))
    truths = list(content["gnd"])
    if not database or not queries or len(truths) != len(queries):
        raise ValueError(f"{len(database)} images, {len(queries)} queries, {len(truths)} entries of gnd")
    levels = [[_positions(truth[level], len(database)) for truth in truths] for level in _LEVELS]
    boxes = np.array([np.asarray(truth["bbx"], np.float64).reshape(4) for truth in truths])  # [Q, 4]
    return GroundTruth(database, queries, boxes, Relevance(*levels))


def _positions(values: Any, count: int) -> npt.NDArray[np.int64]:
    positions = np.asarray(values).reshape(-1)
    if not len(positions):
        return np.zeros(0, np.int64)
    whole = positions.astype(np.int64)
    if (whole != positions).any() or whole.min() < 0 or whole.max() >= count:
        raise ValueError(f"an answer outside the {count} images of imlist")
    return whole


def _find(tree: FileTree, given: str) -> str:
    """The ground truth's file."""
    if given:
        return given
    beside = [path.name for path in tree.beside.iterdir()]
    names = {*(path for path in tree.files() if "/" not in path), *beside}
    found = sorted(
        name for name in names if name.startswith("gnd_") and PurePosixPath(name).suffix in (".pkl", ".json")
    )
    if len(found) == 1:
        return found[0]
    there = f"there are {', '.join(found)}" if found else "there is no gnd_*.pkl or gnd_*.json"
    raise DataError(f"{tree.root}: {there}; name the ground truth's file as data.ground_truth")


def _cropped(image: UInt8Array, box: npt.NDArray[np.float64]) -> UInt8Array:
    """The box rounded to whole pixels, as Pillow's `crop` does it, and kept within the image."""
    height, width = image.shape[:2]
    left, top, right, bottom = (round(float(side)) for side in box)
    cropped = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if not cropped.size:
        raise DataError(
            f"its box {box.tolist()} lies outside the image, which is {height} high, {width} wide"
        )
    return np.ascontiguousarray(cropped)


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"revisited": Revisited}
