"""Is this a data set? Every check of it, on a small one that the caller has made."""

# H, W, C of an image

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sslkit.conformance.configs import DATASET_KEYS, configured
from sslkit.conformance.findings import Check, Finding, NotChecked, demand, examine, pass_gates
from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.loader import train_loader
from sslkit.errors import DataError, MissingSplitError, SslkitError
from sslkit.recipe.schema import DataSection

LOOKED_AT = 16
"""Images that are decoded, spread over the set."""
KEYS = 20_000
"""Keys that are compared with each other at the most."""
NO_SPLIT = "no-such-split"
CANVAS = 16


@dataclass(frozen=True)
class DatasetKit:
    """A data set's class and configuration, and where the data are."""

    cls: type[Dataset]
    config: Any
    source: DataSource

    def open(self, **changes: Any) -> Dataset:
        """As a run opens it, or with another split, other labels, other channels."""
        return self.cls(self.config, replace(self.source, **changes))


def dataset_findings(
    cls: type[Dataset],
    config: Any = None,
    *,
    root: Path | str | None = None,
    split: str = "train",
    labels: Literal["auto", "folders", "none"] = "auto",
    channels: int = 3,
) -> Iterator[Finding]:
    """Check a data set on data that are there; a dozen small images are enough.

    Args:
        config: its configuration; None: `Config.for_checks()`, or its defaults.
        root, split, labels, channels: what a recipe's `data` section says.
    """
    config = yield from configured(cls, config, it_opens, shared=DATASET_KEYS)
    if config is None:
        return
    source = DataSource(None if root is None else Path(root), split, labels, channels)
    alive = yield from pass_gates(GATES, {"": DatasetKit(cls, config, source)})
    yield from examine(CHECKS, alive)


# --- gates -------------------------------------------------------------------------------------------------


def it_opens(kit: DatasetKit) -> None:
    """Without reading every image; where a root is needed and none given, it says so."""
    try:
        opened = kit.open()
    except DataError as error:
        demand(kit.source.root is None, f"it does not open: {error}")
        raise NotChecked(f"it needs data. Give them as data.root=DIR: {error}") from error
    demand(isinstance(opened, Dataset), f"it is a {type(opened).__name__}, not a sslkit.Dataset")
    count = len(opened)
    demand(
        isinstance(count, int) and count > 0, f"len() is {count!r}; raise a DataError where nothing is found"
    )


def samples_are_whole(kit: DatasetKit) -> None:
    """Each is a `Sample` with an image [H, W, C] uint8 and the key that `key(i)` gives."""
    opened = kit.open()
    for index in _spread(len(opened)):
        sample = opened[index]
        demand(isinstance(sample, Sample), f"[{index}] is a {type(sample).__name__}, not a sslkit.Sample")
        _check_image(sample.image, kit.source.channels, index)
        demand(
            sample.key == opened.key(index),
            f"[{index}] has the key {sample.key!r}, but key({index}) is {opened.key(index)!r}",
        )


def _check_image(image: Any, channels: int, index: int) -> None:
    demand(isinstance(image, np.ndarray), f"[{index}].image is a {type(image).__name__}, not a numpy array")
    demand(image.dtype == np.uint8, f"[{index}].image is {image.dtype}, but must be uint8, 0 to 255")
    demand(
        image.ndim == 3 and image.shape[2] == channels and image.size > 0,
        f"[{index}].image has shape {image.shape}, but must be [H, W, C] with C = {channels}, the channels of"
        " the source",
    )


# --- what is known of an image -----------------------------------------------------------------------------


def labels_are_classes(kit: DatasetKit) -> str | None:
    """Every label is an index into `classes`, below 0 where it is not known; without classes it is None."""
    opened = kit.open()
    classes = opened.classes
    if classes is not None:
        _check_classes(classes)
    for index, sample in _samples(opened):
        label = sample.label
        if classes is None:
            demand(label is None, f"[{index}].label is {label!r}, but classes is None: then it must be None")
            continue
        demand(
            isinstance(label, int) and not isinstance(label, bool),
            f"[{index}].label is {label!r}, a {type(label).__name__}, but must be an int, an index into"
            " classes (int(label) of a numpy number)",
        )
        demand(
            isinstance(label, int) and label < len(classes),
            f"[{index}].label is {label!r}, but there are {len(classes)} classes",
        )
    return (
        None if classes is not None else "it has no classes here, so evaluators that need labels are skipped"
    )


def _check_classes(classes: Any) -> None:
    demand(
        isinstance(classes, tuple) and all(isinstance(name, str) for name in classes),
        f"classes is {str(classes)[:60]}, but must be a tuple of names",
    )
    demand(len({*classes}) == len(classes), "classes has a name twice")


def labels_can_be_left_out(kit: DatasetKit) -> None:
    """`data.labels=none` gives the same images without classes."""
    opened = kit.open(labels="none")
    demand(opened.classes is None, "with labels='none' of the source it still has classes: set them to None")
    for index, sample in _samples(opened, 4):
        demand(sample.label is None, f"with labels='none' [{index}].label is {sample.label!r}, not None")


def masks_fit_their_images(kit: DatasetKit) -> str | None:
    """`mask` bool and `objects` uint8 [H, W], where `has_masks` says so; `instance` below `instances`."""
    opened = kit.open()
    for index, sample in _samples(opened):
        size = sample.image.shape[:2]
        demand(
            opened.has_masks or sample.mask is None,
            f"[{index}] has a mask, but has_masks is False: set it to True",
        )
        for name, dtype in (("mask", "bool"), ("objects", "uint8")):
            array = getattr(sample, name)
            demand(
                array is None or (str(array.dtype) == dtype and array.shape == size),
                f"[{index}].{name} is {_described(array)}, but must be {dtype} {size}, as the image",
            )
        instance = sample.instance
        demand(
            instance is None or (opened.instances is not None and instance < opened.instances),
            f"[{index}].instance is {instance}, but instances is {opened.instances}: it is their number",
        )
    if not opened.has_masks:
        return None
    demand(any(s.mask is not None for _, s in _samples(opened)), "has_masks is True, but no image has one")
    return None


def _described(array: Any) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__


def what_is_listed_is_listed_for_all(kit: DatasetKit) -> None:
    """`kinds` has an entry for each image; `relevance` for each query."""
    opened, count = kit.open(), len(kit.open())
    if opened.kinds is not None:
        demand(len(opened.kinds) == count, f"kinds has {len(opened.kinds)} entries for {count} images")
    if opened.relevance is not None:
        levels = (opened.relevance.easy, opened.relevance.hard, opened.relevance.junk)
        lengths = [len(level) for level in levels]
        demand({*lengths} == {count}, f"relevance lists {lengths} queries, but there are {count}")


# --- order -------------------------------------------------------------------------------------------------


def keys_are_unique_and_stable(kit: DatasetKit) -> None:
    """Words that name an image, the same whenever the data are opened: what is held out follows from them."""
    opened, again = kit.open(), kit.open()
    keys = [opened.key(index) for index in range(min(len(opened), KEYS))]
    wrong = [key for key in keys if not isinstance(key, str)]
    demand(not wrong, f"a key is {wrong[:1]}, but keys are words")
    seen: set[str] = set()
    twice = [key for key in keys if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
    demand(not twice, f"{len(twice)} keys are there twice, such as {twice[:1]}")
    demand(len(again) == len(opened), f"opened again it has {len(again)} images instead of {len(opened)}")
    moved = [i for i in _spread(len(opened)) if opened.key(i) != again.key(i)]
    demand(not moved, f"opened again the order is another: sort the files ([{moved[:1]}] changed its key)")


def an_image_is_the_same_each_time(kit: DatasetKit) -> None:
    """Also after somebody wrote into what it gave before, and from another instance."""
    opened, again = kit.open(), kit.open()
    for index in _spread(len(opened), 4):
        first = opened[index].image
        kept = first.copy()
        if first.flags.writeable:
            first[...] = 0
        for which, other in (("a second time", opened), ("from a second instance", again)):
            demand(
                np.array_equal(other[index].image, kept),
                f"[{index}] gives another image {which}: draw nothing, and give a copy of what is cached",
            )


def beyond_the_end_is_an_index_error(kit: DatasetKit) -> None:
    """Which ends `for sample in data`."""
    opened = kit.open()
    try:
        opened[len(opened)]
    except IndexError:
        return
    except Exception as error:
        demand(False, f"[len] raises {type(error).__name__}; Python ends a loop at an IndexError alone")
    demand(False, "[len] gives an image instead of an IndexError, so that `for sample in data` never ends")


def a_split_that_is_not_there_is_missing(kit: DatasetKit) -> str | None:
    """It raises `MissingSplitError`, so that a part of the images is held out for evaluation."""
    try:
        kit.open(split=NO_SPLIT)
    except MissingSplitError:
        return None
    except DataError as error:
        return f"no split can be held out of it: {str(error).splitlines()[0]}"
    demand(
        False,
        f"it opens a split '{NO_SPLIT}', so a run would train and evaluate on the same images: raise"
        " sslkit.errors.MissingSplitError for a split that the data do not have ('' asks for all of them)",
    )
    return None


# --- in a run ----------------------------------------------------------------------------------------------


def workers_can_have_it(kit: DatasetKit) -> None:
    """It survives pickling, as worker processes need where they are not forked."""
    opened = kit.open()
    try:
        copied: Dataset = pickle.loads(pickle.dumps(opened))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        demand(False, f"it cannot be pickled for worker processes: {error}. Open files when they are read")
    index = _spread(len(opened), 2)[-1]
    demand(
        np.array_equal(copied[index].image, opened[index].image), "a pickled copy of it gives another image"
    )


def workers_change_nothing(kit: DatasetKit) -> None:
    """A real loader gives the same batches with `data.workers=0` and with 1."""
    alone, helped = (_batches(kit.open(), workers) for workers in (0, 1))
    for name in ("canvas", "indices", "labels"):
        pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(alone, helped, strict=True)]
        demand(
            all(a is b is None or torch.equal(a, b) for a, b in pairs),
            f"with data.workers=1 the batches' {name} are others than with 0: an image must depend on its"
            " index alone",
        )


def _batches(opened: Dataset, workers: int) -> list[Any]:
    size = min(len(opened), 4)
    steps = min(len(opened) // size, 2)
    loader = train_loader(
        opened,
        seed=0,
        batch_size=size,
        canvas_size=CANVAS,
        start_step=0,
        end_step=steps,
        rows=slice(0, size),
        data=DataSection(workers=workers, on_error="stop"),
    )
    return list(loader)


def it_gives_other_channels(kit: DatasetKit) -> None:
    """`data.channels=1` and 3: every image is brought to so many."""
    for channels in (1, 3):
        try:
            image = kit.open(channels=channels)[0].image
        except SslkitError as error:
            raise NotChecked(f"it refuses {channels} channels: {str(error).splitlines()[0]}") from error
        _check_image(image, channels, 0)


def identity_is_stable(kit: DatasetKit) -> str | None:
    """The same of the same data, so that features are kept; None where it cannot be told."""
    first, again = kit.open().identity(), kit.open().identity()
    if first is None and again is None:
        return "identity() is None, so features of it are never kept"
    demand(
        isinstance(first, str) and first == again,
        f"identity() is {str(first)[:60]!r} and then {str(again)[:60]!r}: the same data are the same words",
    )
    return None


def _spread(count: int, most: int = LOOKED_AT) -> list[int]:
    """Places from the first to the last."""
    return sorted({round(i * (count - 1) / max(most - 1, 1)) for i in range(most)})


def _samples(opened: Dataset, most: int = LOOKED_AT) -> Sequence[tuple[int, Sample]]:
    return [(index, opened[index]) for index in _spread(len(opened), most)]


GATES: tuple[Check[DatasetKit], ...] = (it_opens, samples_are_whole)
CHECKS: tuple[Check[DatasetKit], ...] = (
    labels_are_classes,
    labels_can_be_left_out,
    masks_fit_their_images,
    what_is_listed_is_listed_for_all,
    keys_are_unique_and_stable,
    an_image_is_the_same_each_time,
    beyond_the_end_is_an_index_error,
    a_split_that_is_not_there_is_missing,
    workers_can_have_it,
    workers_change_nothing,
    it_gives_other_channels,
    identity_is_stable,
)
"""What `check_dataset` checks, in this order."""
