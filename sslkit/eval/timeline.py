"""Evaluator `timeline`: where the network looks in six held-out images, kept at each evaluation."""

# N images, C channels, S side of an image, h x w grid of patches

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.evaluator import EvalContext, EvalData, Evaluator, ImageSet, Result, Subject
from sslkit.errors import RecipeError
from sslkit.eval.attention_maps import attention_maps
from sslkit.eval.features import eval_mode
from sslkit.hookspecs import hookimpl
from sslkit.style import shown

NAME = "timeline"
IMAGES = "images.png"
LARGEST = 128
"""Side of an image as it is kept, pixels."""


@dataclass
class TimelineConfig:
    """How much is kept at each evaluation, for the page's slider."""

    images: int = 6
    """Held-out images, the same each time, > 0."""

    def __post_init__(self) -> None:
        if self.images < 1:
            raise RecipeError(f"'images' of the evaluator timeline is {self.images}, but must be 1 or more")


@dataclass(frozen=True)
class Frame:
    """Where the network looks at one step."""

    step: int
    maps: npt.NDArray[np.float32]
    """[N, h, w], >= 0."""
    is_attention: bool
    """Attention of CLS, mean of all heads; else the strength of the last feature map."""

    def write(self, folder: Path) -> Path:
        """To `step-00000500.npz`, so that nobody ever reads half of it."""
        packed = io.BytesIO()
        np.savez_compressed(packed, maps=self.maps, is_attention=np.array(self.is_attention))
        return _write(folder / f"step-{self.step:08d}.npz", packed.getvalue())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, ValueError or KeyError where the file is no frame."""
        with np.load(path, allow_pickle=False) as kept:
            maps = kept["maps"].astype(np.float32)
            return cls(int(path.stem.removeprefix("step-")), maps, bool(kept["is_attention"]))


class Timeline(Evaluator):
    """Keeps a heat map of each image, since checkpoints are deleted as the run goes on; no numbers."""

    Config = TimelineConfig

    def __init__(self, config: TimelineConfig) -> None:
        self.config = config
        self._chosen: tuple[ImageSet, Tensor] | None = None

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        images = self._images(data.test)  # [N, C, S, S]
        with eval_mode(subject.backbone):
            found = attention_maps(subject.backbone, images.to(context.device))
        strip = picture_strip(images * data.test.std + data.test.mean)
        folder = context.figures
        if (folder / IMAGES).is_file() and (folder / IMAGES).read_bytes() != strip:
            return Result({}, notes=(f"{folder} is kept as it is: it shows other images",))
        _write(folder / IMAGES, strip)
        maps = found.values.mean(1).float().cpu().numpy()  # [N, h, w]
        Frame(context.step, maps, found.is_attention).write(folder)
        return Result({})

    def _images(self, images: ImageSet) -> Tensor:
        """Read once a run."""
        if self._chosen is None or self._chosen[0] is not images:
            self._chosen = images, spread_images(images, self.config.images)
        return self._chosen[1]


def spread_images(images: ImageSet, count: int) -> Tensor:
    """Images from all over a set, always the same, normalised, [at most count, C, S, S]."""
    return torch.cat([batch.images for batch in images.part(scattered(len(images), count), NAME).batches()])


def scattered(size: int, count: int) -> list[int]:
    """So many positions of a set, drawn at random, since even spaces would meet the period of its classes."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    places: list[int] = order[:count].sort().values.tolist()
    return places


def picture_strip(images: Tensor) -> bytes:
    """Images [N, C, S, S] in [0, 1] beside each other, as PNG."""
    from PIL import Image

    side = min(LARGEST, images.shape[-1])
    small = F.interpolate(images.float(), side, mode="bilinear", antialias=True)
    pixels = np.concatenate([shown(image) for image in small], axis=1)  # [side, N side, 3]
    packed = io.BytesIO()
    Image.fromarray((pixels * 255).round().astype(np.uint8)).save(packed, "PNG", optimize=True)
    return packed.getvalue()


def read_frames(folder: Path) -> list[Frame]:
    """What was kept of a run, by step; files that cannot be read are left out."""
    frames = []
    for path in sorted(folder.glob("step-*.npz")):
        try:
            frames.append(Frame.read(path))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            continue
    return frames


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    aside.write_bytes(content)
    return aside.replace(path)


@hookimpl
def sslkit_evaluators() -> Mapping[str, Any]:
    return {NAME: Timeline}
