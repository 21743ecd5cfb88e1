"""GLOM's own training: regions of the image are missing, and the lowest level must say what was there."""

# B images, C channels, H x W pixels, L levels, N = h x w places (patches), p side of a place, D features

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit import Backbone, Method, Progress, Setup, StepOutput, Tokens, Views
from sslkit.core.diagnosis import Sign
from sslkit.errors import RecipeError
from sslkit.losses.dtype import raised
from sslkit_glom.agreement import agreement_anywhere
from sslkit_glom.backbone import Glom

ALIKE = 0.98
"""Mean cosine of any two places of an image from which on all of them say the same."""


@dataclass
class FillingInConfig:
    """Filling in regions that are missing, or covered with noise."""

    missing: float = 0.5
    """Share of the image's regions that are missing, above 0 and below 1."""
    region: int = 2
    """Side of a region in places, >= 1; half a view's longer side where the view is no larger than that."""
    noise: float = 0.0
    """0: missing regions are not looked at. Above 0: they are, under noise of this standard deviation, in
    units of `data.std`, and nothing says where it is."""
    present: float = 0.5
    """Weight of the error where the image was not missing, >= 0; where it was, the weight is 1."""
    imagined: float = 0.6
    """Weight of the error of the pixels as the higher levels imagine them through the top-down nets alone,
    mean over levels and places, >= 0. 0: nothing keeps higher levels from saying the same everywhere."""

    def __post_init__(self) -> None:
        _refuse_unless(0 < self.missing < 1, "missing", self.missing, "above 0 and below 1")
        _refuse_unless(self.region >= 1, "region", self.region, ">= 1")
        for key in ("noise", "present", "imagined"):
            value = getattr(self, key)
            _refuse_unless(0 <= value < math.inf, key, value, ">= 0")


class FillingIn(Method):
    """The pixels of each place are read off its lowest level, where the image is missing too.

    What is missing can only come from the level above, through a top-down net, and from the other places. The
    higher levels have to imagine the pixels too, through the top-down nets alone. Of another backbone than
    `glom` the pixels are read off the last tokens: a peer for comparison.
    """

    Config = FillingInConfig

    def __init__(self, config: FillingInConfig, setup: Setup) -> None:
        super().__init__()
        self.config = config
        self.backbone = setup.backbone()
        if self.backbone.patch_size is None:
            raise RecipeError(
                "'method.name' is glom, which needs a backbone with patches that can be missing"
                "\n  set backbone.name=glom, or a ViT"
            )
        self.side = self.backbone.patch_size
        self.pixels = nn.Linear(self.backbone.embed_dim, setup.channels * self.side**2)
        if isinstance(self.backbone, Glom):
            everywhere = {
                f"agreement_{level + 1}": (ALIKE, math.inf) for level in range(self.backbone.levels)
            }
            self.signs = (Sign("dead features", everywhere),)

    @property
    def encoder(self) -> Backbone:
        return self.backbone

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        sizes = [views.global_views, *([] if views.local_views is None else [views.local_views])]
        filled = [self._filled(view.flatten(0, 1)) for view in sizes]
        missing, present = (torch.cat([getattr(f, x) for f in filled]).mean() for x in ("missing", "present"))
        loss = missing + self.config.present * present
        metrics = {"missing_error": missing.detach(), "present_error": present.detach()}
        for number, level in enumerate(filled[0].levels, 1):
            metrics[f"agreement_{number}"] = agreement_anywhere(level.patches.detach()).mean()
        if filled[0].levels:
            imagined = torch.cat([f.imagined for f in filled], 1).mean(1)  # [L - 1]
            loss = loss + self.config.imagined * imagined.mean()
            metrics |= {f"imagined_error_{n}": x for n, x in enumerate(imagined.detach().unbind(), 2)}
        features = filled[0].features[: views.global_views.shape[1]].detach()
        return StepOutput(loss, metrics, features=features)

    def _filled(self, x: Tensor) -> "Filled":
        """Take regions of images [B, C, H, W] away, and see what the network makes of them."""
        c, grid = self.config, (x.shape[-2] // self.side, x.shape[-1] // self.side)
        gone = draw_missing(len(x), grid, share=c.missing, region=c.region, device=x.device)  # [B, N]
        shown, told = (with_noise(x, gone, grid, c.noise), None) if c.noise else (x, gone)
        if isinstance(self.backbone, Glom):
            levels, imagined = self.backbone.levels_and_imagined(shown, told)
            read, features = levels[0], levels[-1].patches.mean(1)
        else:
            levels, imagined = [], []
            features, read = self.backbone.features_and_tokens(shown, told)
        true = F.pixel_unshuffle(x, self.side).flatten(2).mT  # [B, N, C p p]
        errors = [self._error(tokens, true) for tokens in (read, *imagined)]  # [B, N] each
        return Filled(
            mean_over(errors[0], gone),
            mean_over(errors[0], ~gone),
            torch.stack([error.mean(1) for error in errors[1:]]) if imagined else errors[0][:0],
            levels,
            features,
        )

    def _error(self, tokens: Tokens, true: Tensor) -> Tensor:
        """Mean squared error of each place's pixels, [B, N]."""
        return (raised(self.pixels(tokens.patches)) - true).square().mean(-1)


@dataclass(frozen=True)
class Filled:
    """What became of images with missing regions."""

    missing: Tensor
    """[B] mean squared error of the pixels where the image was missing."""
    present: Tensor
    """[B] the same where it was not."""
    imagined: Tensor
    """[L - 1, B] the same at all places, as the higher levels imagine them; empty for another backbone."""
    levels: list[Tokens]
    """All levels, the lowest first; empty for another backbone."""
    features: Tensor
    """[B, D]"""


def draw_missing(
    count: int, grid: tuple[int, int], *, share: float, region: int, device: torch.device
) -> Tensor:
    """Which places of so many images are missing: bool [count, N], from torch's global generator.

    The grid is cut into squares of `region` places, and as many of them as make up the share, at least one,
    are missing whole; the others are not. A region that would be the whole grid is half its longer side.
    """
    region = region if region < max(grid) else max(1, max(grid) // 2)
    rows, columns = (-(-side // region) for side in grid)
    wanted = max(1, min(round(share * rows * columns), rows * columns - 1))
    rank = torch.rand(count, rows * columns, device=device).argsort(1).argsort(1)
    regions = (rank < wanted).view(count, rows, columns)
    places = regions.repeat_interleave(region, 1).repeat_interleave(region, 2)
    return places[:, : grid[0], : grid[1]].flatten(1)


def with_noise(x: Tensor, where: Tensor, grid: tuple[int, int], deviation: float) -> Tensor:
    """Images [B, C, H, W] with normal noise on the places `where`, bool [B, N], of a grid h x w."""
    covered = F.interpolate(where.view(-1, 1, *grid).to(x.dtype), x.shape[-2:])  # nearest, [B, 1, H, W]
    return x + deviation * covered * torch.randn_like(x)


def mean_over(values: Tensor, where: Tensor) -> Tensor:
    """The mean of each row of `values` [B, N] over the places `where` bool [B, N]; 0 without any: [B]."""
    return (values * where).sum(1) / where.sum(1).clamp(min=1)


def _refuse_unless(holds: bool, key: str, value: float, valid: str) -> None:
    if not holds:
        raise RecipeError(f"'{key}' is {value!r}, but must be {valid}")
