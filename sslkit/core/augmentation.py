"""What an augmentation is: parameters drawn for a whole batch, applied to any part of it."""

# B images, C channels, S side of the canvas

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor, nn

from sslkit.core.method import Views
from sslkit.core.randomness import seeded


class Params(Protocol):
    """The random part of an augmentation, for n images."""

    def rows(self, part: slice) -> Self:
        """The parameters of some of the images."""
        ...


@dataclass(frozen=True)
class ImageFormat:
    """What the images are like that an augmentation gets and that a network expects."""

    channels: int
    mean: tuple[float, ...]
    """Per channel, of images in [0, 1]."""
    std: tuple[float, ...]


class Augmentation(nn.Module, ABC):
    """Turns uint8 canvases into normalised views, on the device."""

    Config: ClassVar[type]
    """A dataclass: the `augment` section of the recipe."""
    global_name: ClassVar[str] = "global crops"
    """What pictures call the global views."""
    canvas_size: int
    """Side in pixels of the canvas that has enough resolution for the smallest crop."""
    image_size: int
    """Side in pixels of the global views."""
    view_sizes: tuple[int, ...]
    """Sides in pixels of all views, each once."""

    @abstractmethod
    def __init__(self, config: Any, image_format: ImageFormat) -> None:
        """Raises `RecipeError` for an operation that cannot work with the channels."""
        super().__init__()

    @abstractmethod
    def draw(self, n: int) -> Params:
        """All random choices for n images, from torch's global CPU generator; depends on n alone."""

    @abstractmethod
    def apply(self, canvas: Tensor, size: Tensor, params: Any) -> Views:  # type: ignore[override]
        """Canvases [B, C, S, S] uint8 and original sizes [B, 2] (height, width) -> views; draws nothing."""


def draw_for_step(augmentation: Augmentation, *, seed: int, step: int, batch_size: int) -> Any:
    """What a step draws for its whole global batch: a function of (seed, step), whoever asks."""
    with seeded(seed, "augment", step):
        return augmentation.draw(batch_size)
