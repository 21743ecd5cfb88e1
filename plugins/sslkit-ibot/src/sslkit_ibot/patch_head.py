"""One head for images and patches, or a second one for the patches."""

# V views, B images, M masked patches, K prototypes, J prototypes of the patches, D features

import torch
from torch import Tensor

from sslkit.core.ema import start_as_copy
from sslkit.methods.dino import DINO
from sslkit.nn.heads import DINOHead
from sslkit_ibot.config import IBOTConfig

NAME = "patch"
"""Of a separate patch head, which lives within the image head: DINO's moving average takes it along."""


def add_patch_heads(dino: DINO, config: IBOTConfig) -> None:
    """Give both of DINO's heads a patch head inside; the teacher's starts as a copy."""
    for net, head in ((dino.student, dino.student_head), (dino.teacher, dino.teacher_head)):
        patch_head = DINOHead(
            net.embed_dim,
            config.patch_prototypes,
            hidden_dim=config.hidden_dim,
            bottleneck_dim=config.bottleneck_dim,
            layers=config.head_layers,
            norm_last_layer=config.norm_last_layer,
        )
        head.add_module(NAME, patch_head)
    start_as_copy(dino.teacher_head, dino.student_head)


def patch_head_of(head: DINOHead) -> DINOHead:
    """The patch head inside, or the head itself where it is shared."""
    inside = dict(head.named_children()).get(NAME, head)
    assert isinstance(inside, DINOHead)
    return inside


def outputs(head: DINOHead, features: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Features of images [V B, D] and of patches [M, D] -> [V B, K] and [M, J]."""
    patch_head = patch_head_of(head)
    if patch_head is not head:
        return head(features), patch_head(patches)
    both = head(torch.cat([features, patches]))  # in one call: the prototypes are normalised once
    return both[: len(features)], both[len(features) :]
