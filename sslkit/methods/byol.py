"""BYOL: bootstrap your own latent (Grill et al. 2020)."""

# V views (G of them global), B images, D dimensions of the projection

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch

from sslkit.core.backbone import Backbone
from sslkit.core.diagnosis import no_ema
from sslkit.core.ema import ema_, start_as_copy
from sslkit.core.method import Method, Progress, Setup, StepOutput, Views
from sslkit.core.schedules import cosine
from sslkit.hookspecs import hookimpl
from sslkit.losses.byol import byol_loss
from sslkit.methods.pairs import mean_over_pairs
from sslkit.methods.ranges import SHARE, WIDTH, check_ranges
from sslkit.nn.heads import mlp_head


@dataclass
class BYOLConfig:
    """BYOL's part of a recipe; the defaults are the paper's."""

    hidden_dim: int = 4096
    """Width of the hidden layer of projector and predictor, >= 1."""
    out_dim: int = 256
    """Width of the projection, >= 1."""
    target_momentum: float = 0.996
    """EMA momentum of the target network at the start, 0 to 1; smaller for short runs."""
    target_momentum_end: float = 1.0
    """EMA momentum at the end, by a cosine, 0 to 1."""

    @classmethod
    def for_checks(cls) -> Self:
        """Small enough for the conformance kit."""
        return cls(hidden_dim=32, out_dim=16)

    def __post_init__(self) -> None:
        ranges = {"target_momentum": SHARE, "target_momentum_end": SHARE}
        check_ranges(self, {"hidden_dim": WIDTH, "out_dim": WIDTH, **ranges})


class BYOL(Method):
    """From each view the online network predicts the target network's projection of the other views.

    There is no negative sample: the predictor and the slowly moving target keep it from collapse. Batch norm
    takes its statistics over each view alone. Local crops are predicted from, never predicted.
    """

    Config = BYOLConfig

    def __init__(self, config: BYOLConfig, setup: Setup) -> None:
        super().__init__()
        self.config = config
        self.backbone = setup.backbone()
        self.causes = no_ema(
            target_momentum=config.target_momentum, target_momentum_end=config.target_momentum_end
        )
        widths = (self.backbone.embed_dim, config.hidden_dim, config.out_dim)
        self.projector = mlp_head(widths)
        self.predictor = mlp_head((config.out_dim, config.hidden_dim, config.out_dim))
        self.target = setup.backbone(drop_path_rate=0.0)
        self.target_projector = mlp_head(widths)
        start_as_copy(self.target, self.backbone)
        start_as_copy(self.target_projector, self.projector)

    @property
    def encoder(self) -> Backbone:
        return self.backbone

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        features = [self.backbone(view) for view in views.each()]  # V x [B, features]
        predictions = [self.predictor(self.projector(x)) for x in features]  # V x [B, D]
        with torch.no_grad():
            targets = [self.target_projector(self.target(view)) for view in views.global_views]  # G x [B, D]
        loss = 2 * mean_over_pairs(byol_loss, predictions, targets)  # for two views: both directions' sum
        metrics = {"target_momentum": torch.full_like(loss.detach(), self._momentum(progress))}
        return StepOutput(loss, metrics, features=features[0].detach())

    def _momentum(self, progress: Progress) -> float:
        c = self.config
        return cosine(progress.step, progress.total_steps, start=c.target_momentum, end=c.target_momentum_end)

    @torch.no_grad()
    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        momentum = self._momentum(progress)
        ema_(self.target.parameters(), self.backbone.parameters(), momentum)
        ema_(self.target_projector.parameters(), self.projector.parameters(), momentum)


@hookimpl
def sslkit_methods() -> dict[str, type[Method]]:
    return {"byol": BYOL}
