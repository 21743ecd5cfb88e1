"""MoCo v2: contrast with a queue of keys (He et al. 2020; Chen, Fan et al. 2020)."""

# B images, R ranks, N keys in the queue, D dimensions of the projection

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.core.backbone import Backbone
from sslkit.core.collectives import all_gather
from sslkit.core.diagnosis import no_ema
from sslkit.core.ema import ema_, start_as_copy
from sslkit.core.method import Method, Progress, Setup, StepOutput, Views
from sslkit.errors import RecipeError
from sslkit.hookspecs import hookimpl
from sslkit.losses.info_nce import contrast_accuracy, info_nce
from sslkit.methods.ranges import POSITIVE, SHARE, WIDTH, check_ranges
from sslkit.nn.heads import mlp_head
from sslkit.nn.queue import KeyQueue


@dataclass
class MoCoV2Config:
    """MoCo v2's part of a recipe; the defaults are the paper's."""

    hidden_dim: int = 2048
    """Width of the projector's hidden layer, >= 1."""
    out_dim: int = 128
    """Width of the projection, >= 1."""
    temperature: float = 0.2
    """Of the softmax over the queue, > 0."""
    queue_size: int = 65536
    """Keys that serve as negatives, a multiple of `optim.batch_size`; 4 x queue_size x out_dim bytes."""
    key_momentum: float = 0.999
    """EMA momentum of the key encoder, 0 to 1; smaller for short runs."""
    shuffle_groups: int = 8
    """The key encoder takes its batch in so many random groups, >= 1, so that the batch norms of a
    convolutional net cannot give the partner away (the paper: 8 GPUs); networks without are left whole."""

    @classmethod
    def for_checks(cls) -> Self:
        """Small enough for the conformance kit."""
        return cls(hidden_dim=32, out_dim=16, queue_size=64, shuffle_groups=2)

    def __post_init__(self) -> None:
        widths = dict.fromkeys(("hidden_dim", "out_dim", "queue_size", "shuffle_groups"), WIDTH)
        check_ranges(self, {**widths, "temperature": POSITIVE, "key_momentum": SHARE})


class MoCoV2(Method):
    """The first view must tell the second one's key from the keys of past batches.

    Local crops look for the same key as the first view. The queue takes the keys of all ranks.
    """

    Config = MoCoV2Config

    def __init__(self, config: MoCoV2Config, setup: Setup) -> None:
        super().__init__()
        if config.queue_size % setup.batch_size:
            raise RecipeError(
                f"'method.queue_size' is {config.queue_size}, which 'optim.batch_size' {setup.batch_size}"
                f" does not divide\n  take {_nearest_multiple(config.queue_size, setup.batch_size)}"
            )
        self.config = config
        self.backbone = setup.backbone()
        self.chance_loss = math.log(config.queue_size + 1)
        self.causes = no_ema(key_momentum=config.key_momentum)
        widths = (self.backbone.embed_dim, config.hidden_dim, config.out_dim)
        self.projector = mlp_head(widths, norm=False)
        self.key_backbone = setup.backbone(drop_path_rate=0.0)
        self.key_projector = mlp_head(widths, norm=False)
        start_as_copy(self.key_backbone, self.backbone)
        start_as_copy(self.key_projector, self.projector)
        has_norm = any(isinstance(m, _BatchNorm) for m in self.key_backbone.modules())
        self.groups = config.shuffle_groups if has_norm else 1
        self.queue = KeyQueue(config.queue_size, config.out_dim)

    @property
    def encoder(self) -> Backbone:
        return self.backbone

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        first, second, *local = views.each()  # [B, C, H, W] each
        keys = self._keys(second)  # [B, D]
        features = [self.backbone(view) for view in (first, *local)]
        queries = [self.projector(x) for x in features]  # [B, D] each
        tau, negatives = self.config.temperature, self.queue.keys
        loss = torch.stack([info_nce(q, keys, negatives, temperature=tau) for q in queries]).mean()
        metrics = {"contrast_accuracy": contrast_accuracy(queries[0].detach(), keys, negatives)}
        return StepOutput(loss, metrics, {"keys": keys}, features[0].detach())

    @torch.no_grad()
    def _keys(self, view: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D], through the key encoder in random groups."""
        if self.groups == 1:
            return self.key_projector(self.key_backbone(view))  # type: ignore[no-any-return]
        _check_groups(self.groups, len(view))
        order = torch.randperm(len(view)).to(view.device, non_blocking=True)  # [B]
        groups = view[order].tensor_split(self.groups)
        keys = torch.cat([self.key_projector(self.key_backbone(group)) for group in groups])
        return keys[order.argsort()]

    @torch.no_grad()
    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        momentum = self.config.key_momentum
        ema_(self.key_backbone.parameters(), self.backbone.parameters(), momentum)
        ema_(self.key_projector.parameters(), self.projector.parameters(), momentum)
        for output in outputs:
            self.queue.enqueue(all_gather(output.carry["keys"]))  # [R B, D]


def _check_groups(groups: int, images: int) -> None:
    if images < 2 * groups:
        raise RecipeError(
            f"'method.shuffle_groups' is {groups}, but a process has {images} images of each micro-batch,"
            f" and batch norm needs two a group\n  take {images // 2 or 1} or fewer, or a larger batch"
        )


def _nearest_multiple(value: int, of: int) -> int:
    return max(round(value / of), 1) * of


@hookimpl
def sslkit_methods() -> dict[str, type[Method]]:
    return {"mocov2": MoCoV2}
