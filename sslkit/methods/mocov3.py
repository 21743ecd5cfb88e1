"""MoCo v3: contrast within the batch, for ViTs (Chen, Xie and He 2021)."""

# V views (G of them global), B images, R ranks, D dimensions of the projection

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import nn

from sslkit.core.backbone import Backbone
from sslkit.core.collectives import all_gather, own_rows
from sslkit.core.diagnosis import no_ema
from sslkit.core.ema import ema_, start_as_copy
from sslkit.core.method import Method, Progress, Setup, StepOutput, Views
from sslkit.core.schedules import cosine
from sslkit.hookspecs import hookimpl
from sslkit.losses.info_nce import in_batch_info_nce, retrieval_accuracy
from sslkit.methods.pairs import mean_over_pairs
from sslkit.methods.ranges import POSITIVE, SHARE, WIDTH, check_ranges
from sslkit.nn.heads import mlp_head


@dataclass
class MoCoV3Config:
    """MoCo v3's part of a recipe; the defaults are the paper's for ViTs."""

    hidden_dim: int = 4096
    """Width of the hidden layers of projector and predictor, >= 1."""
    out_dim: int = 256
    """Width of the projection, >= 1."""
    temperature: float = 0.2
    """Of the softmax over the batch, > 0."""
    key_momentum: float = 0.99
    """EMA momentum of the key encoder at the start, 0 to 1; 1 at the end, by a cosine."""
    projector_layers: int = 3
    """Linear layers of the projector, >= 1 (paper: 3 for ViTs, 2 for ResNets)."""
    freeze_patch_projection: bool = True
    """Keep a ViT's patch projection at its random start, which the paper finds steadier; networks without
    one have nothing to freeze."""

    @classmethod
    def for_checks(cls) -> Self:
        """Small enough for the conformance kit."""
        return cls(hidden_dim=32, out_dim=16)

    def __post_init__(self) -> None:
        widths = dict.fromkeys(("hidden_dim", "out_dim", "projector_layers"), WIDTH)
        check_ranges(self, {**widths, "temperature": POSITIVE, "key_momentum": SHARE})


class MoCoV3(Method):
    """From each view, tell the key of the other view from the keys of all other images of the batch.

    The negatives are the batch's own, gathered from all ranks, so large batches help; with
    `optim.accumulate` they are those of a micro-batch. Local crops look for keys and are none.
    """

    Config = MoCoV3Config

    def __init__(self, config: MoCoV3Config, setup: Setup) -> None:
        super().__init__()
        self.config = config
        self.backbone = setup.backbone()
        self.chance_loss = 4 * config.temperature * math.log(setup.batch_size)  # of one micro-batch
        self.causes = no_ema(key_momentum=config.key_momentum)
        if config.freeze_patch_projection:
            _freeze_patch_projection(self.backbone)
        hidden = [config.hidden_dim] * (config.projector_layers - 1)
        widths = (self.backbone.embed_dim, *hidden, config.out_dim)
        self.projector = mlp_head(widths, last_norm=True, last_affine=False)
        self.predictor = mlp_head(
            (config.out_dim, config.hidden_dim, config.out_dim), last_norm=True, last_affine=False
        )
        self.key_backbone = setup.backbone(drop_path_rate=0.0)
        self.key_projector = mlp_head(widths, last_norm=True, last_affine=False)
        start_as_copy(self.key_backbone, self.backbone)
        start_as_copy(self.key_projector, self.projector)

    @property
    def encoder(self) -> Backbone:
        return self.backbone

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        features = [self.backbone(view) for view in views.each()]  # V x [B, features]
        queries = [self.predictor(self.projector(x)) for x in features]  # V x [B, D]
        with torch.no_grad():
            keys = [
                all_gather(self.key_projector(self.key_backbone(v))) for v in views.global_views
            ]  # [R B, D]
        own, tau = own_rows(queries[0]), self.config.temperature  # [B]
        contrast = partial(in_batch_info_nce, own=own, temperature=tau)
        loss = 2 * (2 * tau) * mean_over_pairs(contrast, queries, keys)  # for two views: both directions' sum
        metrics = {
            "contrast_accuracy": retrieval_accuracy(queries[0].detach(), keys[1], own),
            "key_momentum": torch.full_like(loss.detach(), self._momentum(progress.step, progress)),
        }
        return StepOutput(loss, metrics, features=features[0].detach())

    def _momentum(self, step: int, progress: Progress) -> float:
        return cosine(step, progress.total_steps, start=self.config.key_momentum, end=1.0)

    @torch.no_grad()
    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        momentum = self._momentum(progress.step + 1, progress)  # the paper's EMA opens the next step
        ema_(self.key_backbone.parameters(), self.backbone.parameters(), momentum)
        ema_(self.key_projector.parameters(), self.projector.parameters(), momentum)


def _freeze_patch_projection(backbone: Backbone) -> None:
    projection = getattr(backbone.network, "patch_embed", None)
    if isinstance(projection, nn.Module):
        projection.requires_grad_(False)


@hookimpl
def sslkit_methods() -> dict[str, type[Method]]:
    return {"mocov3": MoCoV3}
