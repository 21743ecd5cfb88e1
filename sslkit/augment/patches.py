"""Three small patches of each image for patch discrimination: which of A and B belongs to the anchor?"""

# B, n images, C channels, S side of the canvas, p side of a patch, V = 3 views: anchor, A, B

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sslkit.augment.config import PatchesConfig, check_channels
from sslkit.augment.crop import canvas_boxes
from sslkit.core.augmentation import Augmentation, ImageFormat
from sslkit.core.method import Views
from sslkit.core.patches import ROUNDING, draw_pairs, standardized
from sslkit.core.randomness import seed_of
from sslkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from sslkit.augment.ops import Drawn, Operation

VIEWS = 3
FLAT = 1 / 255
"""One grey level: a patch that varies less is not blown up to a deviation of 1."""


@dataclass(frozen=True)
class PatchesParams:
    """What was drawn for n images."""

    places: Tensor
    """[V, n, 4] float64, as `patch_boxes` takes them."""
    views: tuple[tuple["Drawn", ...], ...]
    """For each view its operations' values."""

    def rows(self, part: slice) -> "PatchesParams":
        """The draws of some of the images."""
        views = tuple(tuple(drawn.rows(part) for drawn in view) for view in self.views)
        return PatchesParams(self.places[:, part], views)


class Patches(Augmentation):
    """Anchor, A beside it, and the patch that is B for the image's neighbour.

    Rows 2k and 2k + 1 of a batch are neighbours: the B of image i is view 2 of image i ^ 1. The last image of
    an odd batch is its own neighbour. Anchor and A lie within a square of the image's shorter side, whose
    place is drawn too, so that what is drawn does not depend on the image's proportions. B is distributed as
    A is, in place, side and colours. Every operation of every view draws from a seed of its own, so switching
    one off leaves all other draws as they were.
    """

    Config = PatchesConfig
    global_name = "patches (anchor, A, B for the neighbour)"

    def __init__(self, config: PatchesConfig, image_format: ImageFormat) -> None:
        """Build the operations.

        Raises:
            RecipeError: an operation cannot work with the channels.
        """
        from sslkit.augment.pipeline import patch_operations

        super().__init__(config, image_format)
        check_channels(config, image_format.channels, bool)
        self.config = config
        self.canvas_size = math.ceil(config.size / config.scale[0] - ROUNDING)
        self.image_size = config.size
        self.view_sizes = (config.size,)
        # A tuple, so that `.to(device)` does not reach kornia's samplers: they must stay on the CPU.
        self._operations: tuple[Operation, ...] = patch_operations(config, image_format.channels)
        # Plain tensors: `.half()` must not round them.
        self.mean = torch.tensor(image_format.mean, dtype=torch.float32).view(-1, 1, 1)  # [C, 1, 1]
        self.std = torch.tensor(image_format.std, dtype=torch.float32).view(-1, 1, 1)

    def draw(self, n: int) -> PatchesParams:
        """All random choices for n images, from torch's global CPU generator; depends on n alone."""
        from sslkit.augment.pipeline import draw_all

        root = int(torch.randint(2**62, ()))
        with torch.random.fork_rng(devices=[]):
            places = self._places(n, root)
            views = tuple(draw_all(self._operations, n, seed_of(root, view)) for view in range(VIEWS))
        return PatchesParams(places, views)

    def _places(self, n: int, root: int) -> Tensor:
        """[V, n, 4]."""
        pair = self._pairs(n, seed_of(root, "places"))  # [2, n, 4]
        if self.config.same_place:
            return torch.cat([pair, pair[1:, neighbours(n)]])
        return torch.cat([pair, self._pairs(n, seed_of(root, "places of B"))[1:]])

    def _pairs(self, n: int, seed: int) -> Tensor:
        """Places of anchor and A, [2, n, 4], in one square of the shorter side."""
        within = draw_pairs(n, scale=self.config.scale, gap=self.config.gap, seed=seed_of(seed, "within"))
        generator = torch.Generator().manual_seed(seed_of(seed, "square"))
        square = torch.rand(n, 1, generator=generator, dtype=within.dtype)
        return torch.cat([square.expand(2, -1, -1), within], 2)

    def apply(self, canvas: Tensor, size: Tensor, params: PatchesParams) -> Views:  # type: ignore[override]
        """uint8 canvases [B, C, S, S], original (height, width) [B, 2] -> float32 views; draws nothing."""
        with torch.no_grad(), torch.autocast(canvas.device.type, enabled=False):
            views = [self._view(canvas, size, params, view) for view in range(VIEWS)]
        return Views(torch.stack(views))  # [V, B, C, p, p]

    def _view(self, canvas: Tensor, size: Tensor, params: PatchesParams, view: int) -> Tensor:
        from sslkit.augment.ops import cut_out
        from sslkit.augment.pipeline import apply_all

        places = params.places[view].float().to(canvas.device, non_blocking=True)  # [B, 4]
        boxes = canvas_boxes(patch_boxes(places, size), size, canvas.shape[-1])
        x = cut_out(canvas, boxes, self.config.size, antialias=self.config.resample == "antialias")
        x = apply_all(self._operations, x, params.views[view])  # [B, C, p, p]
        if self.config.standardize:
            return standardized(x, flat=FLAT)
        mean, std = (t.to(canvas.device, non_blocking=True) for t in (self.mean, self.std))
        return x.sub_(mean).div_(std)


def neighbours(n: int) -> Tensor:
    """The position of each image's neighbour, int64 [n]: 1, 0, 3, 2, ...; an odd last one has itself."""
    return (torch.arange(n) ^ 1).clamp(max=n - 1)


def patch_boxes(places: Tensor, size: Tensor) -> Tensor:
    """Square patches in the images' pixels.

    Args:
        places: [B, 4]: where the square of the shorter side lies along the longer one, 0 to 1 of the free
            pixels; top, left and side of the patch within it, in shares of its side.
        size: (height, width) of the images, [B, 2].

    Returns:
        (top, left, height, width) [B, 4] of the type of `places`, not rounded.
    """
    size = size.to(places)
    shorter = size.amin(1, keepdim=True)  # [B, 1]
    start = places[:, :1] * (size - shorter) + places[:, 1:3] * shorter  # [B, 2]
    return torch.cat([start, (places[:, 3:] * shorter).expand(-1, 2)], 1)


@hookimpl
def sslkit_augmentations() -> dict[str, type[Augmentation]]:
    return {"patches": Patches}
