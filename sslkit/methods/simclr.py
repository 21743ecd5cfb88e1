"""SimCLR: contrastive learning within the batch (Chen et al. 2020)."""

# V views, B images, R ranks, D dimensions of the projection

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.collectives import all_gather, own_rows
from sslkit.core.method import Method, Progress, Setup, StepOutput, Views
from sslkit.hookspecs import hookimpl
from sslkit.losses.info_nce import in_batch_info_nce, nt_xent, retrieval_accuracy
from sslkit.methods.ranges import POSITIVE, WIDTH, check_ranges
from sslkit.nn.heads import mlp_head


@dataclass
class SimCLRConfig:
    """SimCLR's part of a recipe; the defaults are the paper's."""

    hidden_dim: int = 2048
    """Width of the projector's hidden layer, >= 1."""
    out_dim: int = 128
    """Width of the projection, >= 1."""
    temperature: float = 0.1
    """Of the softmax over the batch, > 0 (paper: 0.1 for batches of 4096, 0.5 for small images)."""

    @classmethod
    def for_checks(cls) -> Self:
        """Small enough for the conformance kit."""
        return cls(hidden_dim=32, out_dim=16)

    def __post_init__(self) -> None:
        check_ranges(self, {"hidden_dim": WIDTH, "out_dim": WIDTH, "temperature": POSITIVE})


class SimCLR(Method):
    """Each view must tell its partner from all other views of the batch, which are gathered from all ranks.

    The negatives are the batch's own, so large batches help; with `optim.accumulate` they are those of a
    micro-batch. Further views, local crops (Caron et al. 2020) or a third global one, look for the first two
    of their image among all images'.
    """

    Config = SimCLRConfig

    def __init__(self, config: SimCLRConfig, setup: Setup) -> None:
        super().__init__()
        self.config = config
        self.backbone = setup.backbone()
        self.chance_loss = math.log(2 * setup.batch_size - 1)  # of one micro-batch
        self.projector = mlp_head(
            (self.backbone.embed_dim, config.hidden_dim, config.out_dim), last_norm=True
        )

    @property
    def encoder(self) -> Backbone:
        return self.backbone

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        pair, others = views.global_views[:2], views.each()[2:]
        features = self.backbone(pair.flatten(0, 1))  # [2B, features]
        first, second = (all_gather(z) for z in self.projector(features).chunk(2))  # [R B, D] each
        loss = nt_xent(first, second, temperature=self.config.temperature)
        if others:
            loss = self._with_other_views(loss, others, (first, second))
        count = pair.shape[1]
        partner = torch.arange(len(first), device=first.device)  # [R B]
        metrics = {"contrast_accuracy": retrieval_accuracy(first.detach(), second.detach(), partner)}
        return StepOutput(loss, metrics, features=features[:count].detach())

    def _with_other_views(
        self, loss: Tensor, others: Sequence[Tensor], pair_z: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Mean over all pairs of a view and another that is one of the first two; `loss` is that of two."""
        own = own_rows(others[0])  # [B]
        losses = [loss, loss]
        for view in others:
            z = self.projector(self.backbone(view))  # [B, D]
            losses += [
                in_batch_info_nce(z, keys, own, temperature=self.config.temperature) for keys in pair_z
            ]
        return torch.stack(losses).mean()


@hookimpl
def sslkit_methods() -> dict[str, type[Method]]:
    return {"simclr": SimCLR}
