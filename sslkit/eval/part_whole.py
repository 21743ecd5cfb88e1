"""Part and whole: a local crop must find its own image among others."""

# N images, n of a group, C channels, S side of an image, s side of the network's input, D features

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.augment.config import MultiCropConfig, PatchesConfig
from sslkit.augment.crop import resample
from sslkit.core.evaluator import Estimate, EvalContext, EvalData, Evaluator, Result, Subject
from sslkit.core.randomness import seed_of
from sslkit.errors import RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.features import eval_mode
from sslkit.eval.floors import untrained
from sslkit.eval.in_memory import ROUNDING, choose, embed, unit
from sslkit.hookspecs import hookimpl

FEWEST = 2


@dataclass
class PartWholeConfig:
    """Crops of held-out images, and the whole images among which each has to find its own."""

    n: int = 100
    """Whole images among which a crop finds its own, >= 2; with fewer held-out images all of them."""
    areas: list[float] = field(default_factory=lambda: [0.05, 0.1, 0.2, 0.4, 0.8])
    """Crops' shares of the image's area, each above 0 to 1."""
    images: int = 300
    """At most so many images, >= 2, spread evenly over the held-out ones and drawn into groups of n."""
    size: int | None = None
    """Side that crops are resized to for the network, pixels, a multiple of its patch size; null: that of the
    run's local crops (of its patches), or `eval.crop` where it had none."""

    def __post_init__(self) -> None:
        for key in ("n", "images"):
            if getattr(self, key) < FEWEST:
                raise RecipeError(f"'{key}' is {getattr(self, key)}, but must be {FEWEST} or more")
        if not self.areas or not all(0 < area <= 1 for area in self.areas):
            raise RecipeError(f"'areas' is {list(self.areas)!r}, but must be numbers above 0 to 1")
        if self.size is not None and self.size < 1:
            raise RecipeError(f"'size' is {self.size}, but must be 1 or more (pixels), or null")


@dataclass(frozen=True)
class Ranks:
    """Where the crops' own images came, for one network."""

    nearer: Tensor
    """[N] int64, wholes of the group that are nearer than the own one."""
    equal: Tensor
    """[N] int64, others that are equally near."""
    nearest: Tensor
    """[N] int64, position of the nearest whole."""

    @property
    def top1(self) -> Tensor:
        """[N] in [0, 1]: whether a crop found its own; ties are shared."""
        return torch.where(self.nearer > 0, 0.0, 1 / (self.equal.double() + 1))

    @property
    def reciprocal(self) -> Tensor:
        """[N] in (0, 1]: of the mean rank among those that are equally near."""
        return 1 / (1 + self.nearer.double() + self.equal.double() / 2)


@dataclass(frozen=True)
class Finding:
    """How the crops of one size did."""

    crops: Tensor
    """[N, C, s, s] in [0, 1]."""
    ranks: Mapping[str, Ranks]
    """Of the backbone (""), of `pixels`, and of the `untrained` network where it can be built anew."""


class PartWhole(Evaluator):
    """Whether a crop's features are nearest to those of its own whole image among n.

    `top1_0.1` and so on: share of the crops of this share of the area that find their own image by the cosine
    of the features, ties shared; chance is 1/n. `mrr_0.1`: mean reciprocal rank. `top1_0.1_untrained`: the
    same network with initial weights; `top1_0.1_pixels`: crops and wholes as they are, of one size. Groups
    and places are the same for every network, places the same for all sizes.
    """

    Config = PartWholeConfig

    def __init__(self, config: PartWholeConfig) -> None:
        self.config = config

    @torch.no_grad()
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        from sslkit.eval.part_whole_figure import draw_findings

        chosen = choose(data.test, self.config.images, least=FEWEST, what="part_whole")
        n = min(self.config.n, len(chosen.pixels))
        wholes, size = grouped(chosen.pixels, n), self._input_side(context)
        small = F.interpolate(wholes, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        networks = {"": subject.backbone}
        if (floor := untrained(subject.backbone, context.recipe.seed)) is not None:
            networks["untrained"] = floor
        findings = {}
        with eval_mode(subject.backbone):
            to_find = {k: embed(net, wholes, data.test, context.device) for k, net in networks.items()}
            to_find["pixels"] = unit((small - data.test.mean) / data.test.std)
            for area in context.track(self.config.areas, len(self.config.areas), "crop sizes"):
                crops = cut(wholes, area, size)
                seen = {k: embed(net, crops, data.test, context.device) for k, net in networks.items()}
                seen["pixels"] = unit((crops - data.test.mean) / data.test.std)
                findings[area] = Finding(crops, {k: find(seen[k], to_find[k], n) for k in to_find})
        figure = draw_findings(findings, wholes, n, context.figures / "part_whole.png")
        note = f"Each crop, seen at {size} px, among {n} whole images: chance is {1 / n:.3g}."
        return Result.of(_metrics(findings), figures={"part_whole": figure}, notes=[note])

    def _input_side(self, context: EvalContext) -> int:
        augment: Any = context.recipe.augment.config
        if self.config.size is not None:
            return self.config.size
        if isinstance(augment, MultiCropConfig) and augment.local_count:
            return augment.local_size
        return augment.size if isinstance(augment, PatchesConfig) else context.recipe.eval.crop


def grouped(pixels: Tensor, n: int) -> Tensor:
    """Images in a random order that is always the same, as many as make whole groups of n <= N."""
    order = torch.randperm(len(pixels), generator=_generator("groups"))
    return pixels[order[: len(pixels) // n * n]]


def cut(wholes: Tensor, area: float, size: int) -> Tensor:
    """A square crop of each image [N, C, S, S] in [0, 1], resized as in training, [N, C, s, s].

    Its place in the free room is drawn for each image, whatever the area.
    """
    side = wholes.shape[-1]
    extent = max(1, round(math.sqrt(area) * side))
    place = torch.rand(len(wholes), 2, generator=_generator("places"))
    corner = (place * (side - extent)).round().long()  # top, left
    boxes = torch.cat([corner, corner + extent], 1)  # [N, 4]
    return resample((wholes * 255).round().to(torch.uint8), boxes, size)


def find(crops: Tensor, wholes: Tensor, n: int) -> Ranks:
    """Where each crop's own image comes among the n of its group, by cosine.

    Args:
        crops, wholes: of length 1, float64 [N, D]; groups are n in a row, and n divides N.
    """
    parts = []
    for start in range(0, len(wholes), n):
        cosine = crops[start : start + n] @ wholes[start : start + n].T  # [n, n]
        lead = cosine - cosine.diagonal()[:, None]
        equal = (lead.abs() <= ROUNDING).sum(1) - 1
        parts.append(((lead > ROUNDING).sum(1), equal, start + cosine.argmax(1)))
    return Ranks(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _metrics(findings: Mapping[float, Finding]) -> dict[str, Estimate]:
    found = {}
    for area, finding in findings.items():
        for name, ranks in finding.ranks.items():
            found[f"top1_{area:g}{'_' if name else ''}{name}"] = mean_estimate(ranks.top1)
        found[f"mrr_{area:g}"] = mean_estimate(finding.ranks[""].reciprocal)
    return found


def _generator(what: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of("part_whole", what))


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"part_whole": PartWhole}
