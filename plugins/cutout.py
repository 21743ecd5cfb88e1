"""Two crops of each image, some without a rectangle: what does a method gain from what it cannot see?

    sslkit run dino_pocket --variant nano --plugin plugins/cutout.py augment.name=cutout
    sslkit run dino_pocket --variant nano --plugin plugins/cutout.py augment.name=cutout augment.p=0 name=seen

The crops are torchvision's, as those of `multicrop`; the rectangles are kornia's RandomErasing (Zhong et al.
2017), in the mean colour. A seed gives the same of both whatever `p` is: arms of a study differ in nothing
but what is hidden.
"""

# B, n images, C channels, S side of the canvas, s side of a view, K candidates for a crop, V = 2 views

import math
from dataclasses import dataclass, field

import torch
from kornia.augmentation import RandomErasing
from torch import Tensor

from sslkit import Augmentation, Views, hookimpl
from sslkit.augment.crop import ASPECTS, CANDIDATES, canvas_boxes, choose_boxes, resample
from sslkit.core.augmentation import ImageFormat
from sslkit.errors import RecipeError

SSLKIT_API = "1"
VIEWS = 2


@dataclass
class CutoutConfig:
    """Keys of the `augment` section for `name: cutout`."""

    size: int = 24
    """Side of the views, pixels, >= 1."""
    scale: list[float] = field(default_factory=lambda: [0.4, 1.0])
    """Range of a crop's share of the image, above 0 to 1."""
    p: float = 0.5
    """Share of the views that lose a rectangle, 0 to 1."""
    erased: list[float] = field(default_factory=lambda: [0.1, 0.3])
    """Range of the rectangle's share of the view, above 0 to 1; a long one that does not fit is cut off."""

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.p <= 1:
            raise RecipeError(
                f"'size' and 'p' are {self.size} and {self.p}, but must be >= 1 and from 0 to 1"
            )
        for key, values in {"scale": self.scale, "erased": self.erased}.items():
            if len(values) != 2 or not 0 < values[0] <= values[1] <= 1:
                raise RecipeError(f"'{key}' is {values}, but must be two rising numbers above 0, up to 1")


@dataclass(frozen=True)
class Drawn:
    """The random part, for n images."""

    u: Tensor
    """Uniform in [0, 1): K areas, K aspects, place (two), mirrored or not, erased or not; [V, n, 2K + 4]."""
    rectangles: tuple[dict[str, Tensor], ...]
    """For each view, by kornia's names, [n] each."""

    def rows(self, part: slice) -> "Drawn":
        """The draws of some of the images."""
        rectangles = tuple({name: value[part] for name, value in view.items()} for view in self.rectangles)
        return Drawn(self.u[:, part], rectangles)


class Cutout(Augmentation):
    """Two crops of each image, mirrored at random, that may lack a rectangle."""

    Config = CutoutConfig

    def __init__(self, config: CutoutConfig, image_format: ImageFormat) -> None:
        super().__init__(config, image_format)
        self.config, self.image_size, self.view_sizes = config, config.size, (config.size,)
        self.canvas_size = math.ceil(config.size / math.sqrt(config.scale[0]))
        # A tuple: `.to(device)` must not move kornia's samplers. Plain tensors: `.half()` rounds buffers.
        self._erasing = (RandomErasing(tuple(config.erased), p=1.0),)
        self.mean = torch.tensor(image_format.mean).view(-1, 1, 1)  # [C, 1, 1]
        self.std = torch.tensor(image_format.std).view(-1, 1, 1)

    def draw(self, n: int) -> Drawn:
        """All random choices for n images, from torch's generator; the same whatever `p` is."""
        u = torch.rand(VIEWS, n, 2 * CANDIDATES + 4)
        return Drawn(u, tuple(self._draw_rectangles(n) for _ in range(VIEWS)))

    def _draw_rectangles(self, n: int) -> dict[str, Tensor]:
        shape = torch.Size((n, len(self.mean), self.image_size, self.image_size))
        drawn: dict[str, Tensor] = self._erasing[0].forward_parameters(shape)
        del drawn["forward_input_shape"]  # has no entry for each image
        return drawn

    def apply(self, canvas: Tensor, size: Tensor, params: Drawn) -> Views:  # type: ignore[override]
        """Canvases [B, C, S, S] uint8, original sizes [B, 2] -> two views [2, B, C, s, s]; draws nothing."""
        drawn = zip(params.u.to(canvas.device), params.rectangles, strict=True)
        with torch.no_grad(), torch.autocast(canvas.device.type, enabled=False):
            return Views(torch.stack([self._view(canvas, size, *view) for view in drawn]))

    def _view(self, canvas: Tensor, size: Tensor, u: Tensor, rectangles: dict[str, Tensor]) -> Tensor:
        area, aspect, place, mirrored, erased = u.split((CANDIDATES, CANDIDATES, 2, 1, 1), 1)
        (least, most), (tall, wide) = self.config.scale, map(math.log, ASPECTS)
        boxes = choose_boxes(
            least + (most - least) * area, (tall + (wide - tall) * aspect).exp(), place, size
        )
        x = resample(canvas, canvas_boxes(boxes, size, canvas.shape[-1]), self.image_size)  # [B, C, s, s]
        x = (x - self.mean.to(x)) / self.std.to(x)  # the mean colour is 0 now, with which kornia fills
        x = torch.where(mirrored[..., None, None] < 0.5, x.flip(-1), x)
        without = self._erasing[0](x, params={**rectangles, "forward_input_shape": torch.tensor(x.shape)})
        return torch.where(erased[..., None, None] < self.config.p, without, x)


@hookimpl
def sslkit_augmentations() -> dict[str, type[Augmentation]]:
    """The name that `augment.name` takes."""
    return {"cutout": Cutout}
