"""From the recipe to the images that are trained on, the memory bank and the queries."""

# n images of a data set

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.loader import check_enough
from sslkit.data.splits import WHOLE
from sslkit.errors import DataError, MissingSplitError, RecipeError, nearest
from sslkit.recipe.schema import DataSection, Recipe
from sslkit.recipe.sections import read_data

if TYPE_CHECKING:
    from sslkit.plugins import Registry

HELD_OUT = 0.1
"""Share of the images that is held out where there is no split to evaluate on."""
_LABELS = ("auto", "folders", "none")


def open_all(recipe: Recipe, registry: "Registry") -> tuple[Dataset, Dataset, Dataset]:
    """What `open_train` and `open_eval` give, with nothing opened twice: listing a large tree takes long."""
    if recipe.eval.data is not None:
        return open_train(recipe, registry), *open_eval(recipe, registry)
    train, queries = _open_pair(recipe.data, recipe.data_config, registry)
    check_enough(len(train), recipe.optim.batch_size)
    return train, train, _with_classes_of(train, queries)


def open_train(recipe: Recipe, registry: "Registry") -> Dataset:
    """The images to train on, without those that are held out for evaluation.

    Raises `DataError` for data that are missing, empty, or fewer than one batch.
    """
    if recipe.eval.data is not None:  # evaluated elsewhere: nothing has to be held out
        dataset = _open_main(recipe.data, recipe.data_config, registry)
    else:
        dataset, _ = _open_pair(recipe.data, recipe.data_config, registry)
    check_enough(len(dataset), recipe.optim.batch_size)
    return dataset


def open_eval(recipe: Recipe, registry: "Registry") -> tuple[Dataset, Dataset]:
    """Memory bank and queries, of `eval.data` where it names a set elsewhere; their labels mean the same."""
    if recipe.eval.data is None:
        bank, queries = _open_pair(recipe.data, recipe.data_config, registry)
    else:
        section, config = read_data(recipe.eval.data, registry)
        section = replace(section, channels=recipe.data.channels)  # the network takes no others
        bank, queries = _open_pair(section, config, registry)
    return bank, _with_classes_of(bank, queries)


def held_out(keys: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which of n images are held out, [n]: by a hash of each key, whatever the others are; at least one."""
    digests = (hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    position = np.array([int.from_bytes(digest, "big") for digest in digests], dtype=np.uint64)
    chosen = position < np.uint64(HELD_OUT * 2**64)
    if not chosen.any():
        chosen[position.argmin()] = True
    return chosen


class Part(Dataset):
    """Some of a data set's images, their labels possibly numbered anew."""

    def __init__(
        self, dataset: Dataset, rows: npt.NDArray[np.int64], classes: tuple[str, ...] | None
    ) -> None:
        """`classes` holds at least the names that `dataset.classes` has."""
        self._dataset, self._rows = dataset, rows
        self.classes, self.instances, self.has_masks = classes, dataset.instances, dataset.has_masks
        self.paired = dataset.paired
        self.relevance = None if dataset.relevance is None else dataset.relevance.of(rows)
        self.kinds = None if dataset.kinds is None else [dataset.kinds[row] for row in rows]
        self._labels: list[int] | None = None
        if classes is not None and dataset.classes is not None and classes != dataset.classes:
            self._labels = [classes.index(name) for name in dataset.classes]

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, index: int) -> str:
        return self._dataset.key(int(self._rows[index]))

    def identity(self) -> str | None:
        whole = self._dataset.identity()
        rows = hashlib.sha256(self._rows.astype(np.int64).tobytes()).hexdigest()
        return None if whole is None else f"{whole} rows {rows} labels {self._labels}"

    def __getitem__(self, index: int) -> Sample:
        sample = self._dataset[int(self._rows[index])]
        if self._labels is None or sample.label is None:
            return sample
        return replace(sample, label=self._labels[sample.label])


def _open_pair(section: DataSection, config: Any, registry: "Registry") -> tuple[Dataset, Dataset]:
    """The split to train on and the one to evaluate on, or the first in two."""
    main = _open_main(section, config, registry)
    try:
        return main, _open_split(section, config, registry, section.eval_split)
    except MissingSplitError:
        return _divided(main)


def _open_main(section: DataSection, config: Any, registry: "Registry") -> Dataset:
    """The split to train on; of data that are not divided, all."""
    try:
        return _open_split(section, config, registry, section.split)
    except MissingSplitError as missing:
        try:
            return _open_split(section, config, registry, WHOLE)
        except DataError as error:
            raise (missing if isinstance(error, MissingSplitError) else error) from error


def _open_split(section: DataSection, config: Any, registry: "Registry", split: str) -> Dataset:
    if section.labels not in _LABELS:
        raise RecipeError(
            f"'data.labels' is '{section.labels}'; valid: {', '.join(_LABELS)}"
            + nearest(section.labels, _LABELS)
        )
    if section.channels < 1:
        raise RecipeError(f"'data.channels' is {section.channels}; valid: 1 or more")
    cls: type[Dataset] = registry.get("datasets", section.name, where="data.name")
    root = None if section.root is None else Path(section.root).expanduser()
    labels = cast(Literal["auto", "folders", "none"], section.labels)
    source = DataSource(root, split, labels, section.channels)
    return cls(cls.Config() if config is None else config, source)


def _divided(dataset: Dataset) -> tuple[Dataset, Dataset]:
    if len(dataset) < 2:
        raise DataError(f"found {len(dataset)} image; at least 2 are needed, one of them to evaluate on")
    out = held_out([dataset.key(index) for index in range(len(dataset))])
    train, test = (Part(dataset, np.flatnonzero(part), dataset.classes) for part in (~out, out))
    return train, test


def _with_classes_of(bank: Dataset, queries: Dataset) -> Dataset:
    """The queries, their labels numbered as the bank's; a split need not show every class."""
    if bank.classes is None or queries.classes is None or bank.classes == queries.classes:
        return queries
    if unknown := [name for name in queries.classes if name not in bank.classes]:
        raise DataError(
            f"the images to evaluate on have {len(unknown)} classes that the others lack: "
            f"{', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}\n"
            "  both splits need the same class names; or set data.labels=none"
        )
    return Part(queries, np.arange(len(queries)), bank.classes)
