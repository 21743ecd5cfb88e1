"""Supervised training on the labels: the reference that self-supervised features are compared with."""

# V views, B images, C classes

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.collectives import mean_over_ranks
from sslkit.core.method import Method, Progress, Setup, StepOutput, Views
from sslkit.hookspecs import hookimpl
from sslkit.losses.dtype import raised
from sslkit.methods.ranges import SHARE, check_ranges


@dataclass
class SupervisedConfig:
    """Supervised training's part of a recipe."""

    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes, 0 to 1 (DeiT: 0.1)."""

    def __post_init__(self) -> None:
        check_ranges(self, {"label_smoothing": SHARE})


class Supervised(Method):
    """Cross-entropy on the labels with the backbone, the crops and the loop of the other methods.

    Every view is classified, local crops too. Images without a label (below 0) do not count;
    with `optim.accumulate` each micro-batch is a mean over its own.
    """

    Config = SupervisedConfig
    needs_labels = True

    def __init__(self, config: SupervisedConfig, setup: Setup) -> None:
        super().__init__()
        assert setup.num_classes is not None
        self.config = config
        self.backbone = setup.backbone()
        self.chance_loss = math.log(setup.num_classes)
        self.classifier = nn.Linear(self.backbone.embed_dim, setup.num_classes)

    @property
    def encoder(self) -> Backbone:
        return self.backbone

    def assignments(self, features: Tensor) -> Tensor:
        """Probabilities of the classes, [B, C]."""
        return raised(self.classifier(features)).softmax(1)

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        assert views.labels is not None
        features = [self.backbone(view) for view in views.each()]  # V x [B, features]
        logits = raised(self.classifier(torch.cat(features)))  # [V B, C]
        labels = views.labels.clamp(min=-1).repeat(len(features))  # [V B]
        known = (labels >= 0).to(logits.dtype)
        losses = F.cross_entropy(
            logits, labels, ignore_index=-1, label_smoothing=self.config.label_smoothing, reduction="none"
        )  # [V B]
        right = (logits.detach().argmax(1) == labels).to(logits.dtype)
        count = mean_over_ranks(known.sum()).clamp(min=1)  # [] so that each label counts alike on all ranks
        metrics = {"accuracy": right.sum() / count}
        return StepOutput(losses.sum() / count, metrics, features=features[0].detach())


@hookimpl
def sslkit_methods() -> dict[str, type[Method]]:
    return {"supervised": Supervised}
