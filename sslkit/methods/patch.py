"""Patch discrimination: which of two patches is from the anchor's image? Chance is one half."""

# B images, D features, P dimensions of the projection

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.method import Method, Progress, Setup, StepOutput, Views
from sslkit.errors import RecipeError
from sslkit.hookspecs import hookimpl
from sslkit.losses.dtype import raised
from sslkit.losses.patch import choice_accuracy, patch_choice_loss
from sslkit.methods.ranges import POSITIVE, WIDTH, check_ranges
from sslkit.nn.heads import mlp_head


@dataclass
class PatchConfig:
    """Patch discrimination's part of a recipe."""

    similarity: Literal["learned", "cosine"] = "learned"
    """What compares an anchor with a candidate: a small network that sees both, or the cosine of their
    projections."""
    hidden_dim: int = 512
    """Width of the projector's hidden layer, >= 1."""
    out_dim: int = 128
    """Width of the projection, >= 1."""
    temperature: float = 0.1
    """The cosine is divided by it, > 0; the learned similarity has none."""

    @classmethod
    def for_checks(cls) -> Self:
        """Small enough for the conformance kit."""
        return cls(hidden_dim=32, out_dim=16)

    def __post_init__(self) -> None:
        check_ranges(self, {"hidden_dim": WIDTH, "out_dim": WIDTH, "temperature": POSITIVE})
        if self.similarity not in ("learned", "cosine"):
            raise RecipeError(f"'similarity' is {self.similarity!r}, but must be learned or cosine")


class PatchDiscrimination(Method):
    """The negative-sample game in its plainest form.

    The network sees an anchor patch and two candidates, one from the anchor's image and one from another
    image, and says which of them belongs to it. The images 2k and 2k + 1 of a batch are each other's
    "other image". Three global views, as `patches` cuts them, are the anchor, the candidate for the own
    image, and the candidate for the other image; of any other views the first is the anchor and every other
    one is a candidate in both roles.
    """

    Config = PatchConfig

    def __init__(self, config: PatchConfig, setup: Setup) -> None:
        super().__init__()
        _check_pairs(setup.batch_size, "'optim.batch_size'")
        self.config = config
        self.backbone = setup.backbone()
        self.chance_loss = math.log(2)
        self.projector = mlp_head((self.backbone.embed_dim, config.hidden_dim, config.out_dim), norm=False)
        learned = config.similarity == "learned"
        self.judge = mlp_head((2 * config.out_dim, config.hidden_dim, 1), norm=False) if learned else None

    @property
    def encoder(self) -> Backbone:
        return self.backbone

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        anchor, *candidates = [self.backbone(view) for view in views.each()]  # [B, D] each
        _check_pairs(len(anchor), "the number of images of a process and micro-batch")
        other = torch.arange(len(anchor), device=anchor.device) ^ 1  # [B] the neighbour
        # With `patches` the last view was cut for the neighbour; other views are candidates in both roles.
        for_own, for_other = ([candidates[0]], [candidates[1]]) if _is_triplet(views) else [candidates] * 2
        own = torch.cat([self.similarity(anchor, x) for x in for_own])  # [pairs of views * B]
        wrong = torch.cat([self.similarity(anchor, x[other]) for x in for_other])
        metrics = {"accuracy": choice_accuracy(own.detach(), wrong.detach())}
        return StepOutput(patch_choice_loss(own, wrong), metrics, features=anchor.detach())

    def similarity(self, anchors: Tensor, candidates: Tensor) -> Tensor:
        """How much a candidate seems to be from the anchor's image: features [B, D] each -> scores [B]."""
        x, y = self.projector(torch.cat([anchors, candidates])).chunk(2)  # [B, P] each
        if self.judge is None:
            return F.cosine_similarity(raised(x), raised(y), dim=1) / self.config.temperature
        return self.judge(torch.cat([x * y, (x - y).abs()], 1)).squeeze(1)  # type: ignore[no-any-return]


def _is_triplet(views: Views) -> bool:
    return len(views.global_views) == 3 and views.local_views is None


def _check_pairs(count: int, what: str) -> None:
    if count % 2:
        raise RecipeError(
            f"{what} is {count}, but patch discrimination needs pairs: an even number"
            "\n  choose an optim.batch_size whose share of a process and micro-batch is even"
        )


@hookimpl
def sslkit_methods() -> dict[str, type[Method]]:
    return {"patch": PatchDiscrimination}
