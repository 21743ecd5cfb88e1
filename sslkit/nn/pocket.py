"""Small backbones that learn in minutes on two cores: thin doors to timm's ViT and ResNet."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sslkit.core.backbone import Backbone
from sslkit.hookspecs import hookimpl
from sslkit.nn.backbones import timm_backbone


def vit_pocket(
    *,
    channels: int,
    image_size: int,
    drop_path_rate: float,
    patch_size: int = 4,
    embed_dim: int = 64,
    depth: int = 3,
    num_heads: int = 4,
    **args: Any,
) -> Backbone:
    """A plain ViT of under half a million parameters; `args` are those of timm's VisionTransformer.

    Args:
        patch_size: side of a patch in pixels.
        embed_dim: width of a token, and of the features.
        depth: blocks.
        num_heads: heads of attention in each block, which share `embed_dim`.
    """
    shape = {"patch_size": patch_size, "embed_dim": embed_dim, "depth": depth, "num_heads": num_heads}
    return timm_backbone(
        "vit_tiny_patch16_224",
        channels=channels,
        image_size=image_size,
        drop_path_rate=drop_path_rate,
        args={**shape, **args},
    )


def conv_pocket(
    *,
    channels: int,
    image_size: int,
    drop_path_rate: float,
    widths: Sequence[int] = (32, 32, 64, 128),
    layers: Sequence[int] = (1, 1, 1, 1),
    **args: Any,
) -> Backbone:
    """A ResNet of basic blocks with few channels; `args` are those of timm's ResNet.

    Args:
        widths: channels of the four stages; the last are the features.
        layers: blocks of each stage.
    """
    shape = {"channels": list(widths), "layers": list(layers)}
    return timm_backbone(
        "resnet18",
        channels=channels,
        image_size=image_size,
        drop_path_rate=drop_path_rate,
        args={**shape, **args},
    )


@hookimpl
def sslkit_backbones() -> Mapping[str, Callable[..., Backbone]]:
    return {"vit_pocket": vit_pocket, "conv_pocket": conv_pocket}
