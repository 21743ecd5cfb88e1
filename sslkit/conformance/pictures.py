"""Small pictures with all that can be known of them, for evaluators to be asked about."""

# H, W of an image

from dataclasses import dataclass, replace

import numpy as np

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.core.evaluator import EvalData
from sslkit.data.loader import EvalImages

NAMES = ("disc", "bar", "frame", "cross")
INSTANCES = 8
HEIGHT, WIDTH = 36, 44
TRAIN, TEST = 48, 40
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class PicturesConfig:
    """Which pictures, and what is told of them."""

    count: int = TRAIN
    """Pictures, >= 1."""
    first: int = 0
    """Number of the first one; training and held-out pictures are others."""


class Pictures(Dataset):
    """Coloured shapes of four kinds on noise: classes, instances, masks; nothing is read from a disk."""

    Config = PicturesConfig

    def __init__(self, config: PicturesConfig, source: DataSource, *, has_masks: bool = True) -> None:
        self._config, self._labelled, self._channels = config, source.labels != "none", source.channels
        self.classes = NAMES if self._labelled else None
        self.instances = INSTANCES if self._labelled else None
        self.has_masks = has_masks

    def __len__(self) -> int:
        return self._config.count

    def key(self, index: int) -> str:
        return f"picture-{self._config.first + index}"

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = self._config.first + index
        rng = np.random.default_rng(number)
        label, instance = number % len(NAMES), number % INSTANCES
        mask = _shape(label, rng)
        image = rng.integers(90, 166, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        image[mask] = np.array([25 * instance + 40, 220 - 25 * instance, 60], np.uint8)
        known = Sample(image[..., : self._channels], label, self.key(index), mask, instance)
        known = known if self.has_masks else replace(known, mask=None)
        return known if self._labelled else replace(known, label=None, instance=None)


def _shape(label: int, rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """[H, W], some quarter of the picture."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    dy, dx = np.abs(y - rng.integers(14, HEIGHT - 14)), np.abs(x - rng.integers(14, WIDTH - 14))
    near = (dy <= 10) & (dx <= 10)
    shapes = (
        dy**2 + dx**2 <= 100,
        near & (dy <= 5),
        near & ((dy >= 6) | (dx >= 6)),
        near & ((dy <= 3) | (dx <= 3)),
    )
    return np.asarray(shapes[label])


def pictures(
    side: int, *, labels: bool = True, masks: bool = True, train: int = TRAIN, test: int = TEST
) -> EvalData:
    """Memory bank and held-out images as evaluators see them, `side` pixels."""
    return EvalData(
        *(
            EvalImages(
                Pictures(
                    PicturesConfig(count, first),
                    DataSource(None, name, "auto" if labels else "none"),
                    has_masks=masks,
                ),
                resize=side,
                crop=side,
                batch_size=16,
                mean=MEAN,
                std=STD,
                name=f"pictures/{name}",
            )
            for name, count, first in (("train", train, 0), ("val", test, 1000))
        )
    )
