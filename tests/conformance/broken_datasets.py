"""A data set that conforms, and for each check one that does not."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sslkit.core.dataset import Dataset, DataSource, Relevance, Sample
from sslkit.errors import DataError, MissingSplitError

COUNT, CLASSES = 10, ("odd", "even")


@dataclass
class SquaresConfig:
    """Squares of noise."""

    side: int = 12
    """Side in pixels, >= 1."""


class Plain(Dataset):
    """Noise with classes and masks; the mistakes below inherit from it."""

    Config = SquaresConfig
    classes: tuple[str, ...] | None
    has_masks = True
    instances = 4

    def __init__(self, config: SquaresConfig, source: DataSource) -> None:
        if source.split not in ("train", "val"):
            raise MissingSplitError(f"there is no split '{source.split}'; it has train, val")
        self.config, self.source = config, source
        self.classes = CLASSES if source.labels != "none" else None

    def __len__(self) -> int:
        return COUNT

    def key(self, index: int) -> str:
        return f"{self.source.split}/{index}"

    def image(self, index: int) -> Any:
        side = self.config.side
        rng = np.random.default_rng(index)
        return rng.integers(0, 256, (side, side + 4, self.source.channels), dtype=np.uint8)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < COUNT:
            raise IndexError(index)
        image = self.image(index)
        label = None if self.classes is None else index % 2
        return Sample(image, label, self.key(index), image[..., 0] > 100, index % 4)

    def identity(self) -> str | None:
        return f"squares {self.config} {self.source}"


# --- opening, samples --------------------------------------------------------------------------------------


class FindsNothing(Plain):
    def __init__(self, config: SquaresConfig, source: DataSource) -> None:
        raise DataError(f"found 0 images in {source.root}")


class IsEmpty(Plain):
    def __len__(self) -> int:
        return 0


class GivesFloats(Plain):
    def image(self, index: int) -> Any:
        return super().image(index) / 255


class PutsChannelsFirst(Plain):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, image=sample.image.transpose(2, 0, 1))


class HasTwoKeys(Plain):
    def __getitem__(self, index: int) -> Sample:
        return replace(super().__getitem__(index), key=str(index))


# --- what is known -----------------------------------------------------------------------------------------


class CountsLabelsFromOne(Plain):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, label=None if sample.label is None else sample.label + 1)


class GivesNumpysLabels(Plain):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        label: Any = None if sample.label is None else np.int64(sample.label)
        return replace(sample, label=label)


class ListsItsClasses(Plain):
    def __init__(self, config: SquaresConfig, source: DataSource) -> None:
        super().__init__(config, source)
        self.classes = None if self.classes is None else list(self.classes)  # type: ignore[assignment]


class InsistsOnLabels(Plain):
    def __init__(self, config: SquaresConfig, source: DataSource) -> None:
        super().__init__(config, source)
        self.classes = CLASSES


class GivesMasksOfNumbers(Plain):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        numbers: Any = sample.image[..., 0]
        return replace(sample, mask=numbers)


class GivesSmallMasks(Plain):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        assert sample.mask is not None
        return replace(sample, mask=sample.mask[:4])


class HidesItsMasks(Plain):
    has_masks = False


class MiscountsInstances(Plain):
    instances = 2


class ListsTooFewKinds(Plain):
    kinds = ("crop", "rotate")


class ListsTooManyAnswers(Plain):
    relevance = Relevance(*([[np.arange(1)] * (COUNT + 1)] * 3))


# --- order -------------------------------------------------------------------------------------------------


class RepeatsAKey(Plain):
    def key(self, index: int) -> str:
        return super().key(index // 2)


class ShufflesItself(Plain):
    opened = 0

    def __init__(self, config: SquaresConfig, source: DataSource) -> None:
        super().__init__(config, source)
        type(self).opened += 1
        self.order = np.random.default_rng(type(self).opened).permutation(COUNT)

    def key(self, index: int) -> str:
        return super().key(int(self.order[index]))


class DrawsImages(Plain):
    def image(self, index: int) -> Any:
        return super().image(index + int(np.random.default_rng().integers(1000)))


class GivesItsCacheAway(Plain):
    def __init__(self, config: SquaresConfig, source: DataSource) -> None:
        super().__init__(config, source)
        self.cache: dict[int, Any] = {}

    def image(self, index: int) -> Any:
        if index not in self.cache:
            self.cache[index] = super().image(index)
        return self.cache[index]


class NeverEnds(Plain):
    def __getitem__(self, index: int) -> Sample:
        return super().__getitem__(index % COUNT)


class EndsWithADataError(Plain):
    def __getitem__(self, index: int) -> Sample:
        if index >= COUNT:
            raise DataError("there is no such image")
        return super().__getitem__(index)


class KnowsNoSplits(Plain):
    def __init__(self, config: SquaresConfig, source: DataSource) -> None:
        super().__init__(config, replace(source, split="train"))


class CannotBeDivided(Plain):
    def __init__(self, config: SquaresConfig, source: DataSource) -> None:
        if source.split not in ("train", "val"):
            raise DataError("queries are no part of the database")
        super().__init__(config, source)


# --- in a run ----------------------------------------------------------------------------------------------


class HoldsAFile(Plain):
    def __init__(self, config: SquaresConfig, source: DataSource) -> None:
        super().__init__(config, source)
        self.read = lambda index: super(HoldsAFile, self).image(index)


class LooksForItsWorker(Plain):
    def image(self, index: int) -> Any:
        from torch.utils.data import get_worker_info

        return super().image(index + (100 if get_worker_info() else 0))


class KnowsThreeChannels(Plain):
    def image(self, index: int) -> Any:
        return np.zeros((8, 8, 3), np.uint8)


class IsAlwaysAnother(Plain):
    def identity(self) -> str | None:
        return f"{id(self)} {np.random.default_rng().random()}"
