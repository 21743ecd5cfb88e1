"""iBOT for sslkit: DINO that also fills in masked patches (Zhou et al. 2022), with DINOv2's KoLeo term."""

from sslkit import Evaluator, Method, hookimpl
from sslkit_ibot.config import IBOTConfig
from sslkit_ibot.ibot import IBOT
from sslkit_ibot.losses import koleo_loss, patch_loss, sinkhorn_knopp
from sslkit_ibot.masks import block_mask, draw_masks, random_mask
from sslkit_ibot.patch_knn import PatchKNN, PatchKNNConfig

__all__ = [
    "IBOT",
    "IBOTConfig",
    "PatchKNN",
    "PatchKNNConfig",
    "block_mask",
    "draw_masks",
    "koleo_loss",
    "patch_loss",
    "random_mask",
    "sinkhorn_knopp",
]

SSLKIT_API = "1"
"""Version of sslkit's hooks that this package is written for."""


@hookimpl
def sslkit_methods() -> dict[str, type[Method]]:
    return {"ibot": IBOT}


@hookimpl
def sslkit_evaluators() -> dict[str, type[Evaluator]]:
    return {"patch_knn": PatchKNN}
