"""Any timm network as a `Backbone`."""

# B images, C channels, P prefix tokens (CLS, registers), N patches, D features

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone, Tokens
from sslkit.errors import PluginError, RecipeError, nearest
from sslkit.nn.attention import AttentionCapture

SIZE_DEFAULTS = {"dynamic_img_size": True, "strict_img_size": False}
"""What lets a network take crops of several sizes, where its constructor knows the argument."""
RESERVED = {
    "in_chans": "data.channels",
    "num_classes": "nothing: a backbone has no classifier",
    "drop_path_rate": "backbone.drop_path_rate",
}
"""Arguments that are not the user's to give, and what to set instead."""


class TimmBackbone(Backbone):
    """A timm network without its classifier; features are pooled as the network does (`global_pool`)."""

    def __init__(self, network: nn.Module, name: str, args: Mapping[str, Any]) -> None:
        """Wrap a network.

        Args:
            network: what `timm.create_model(name, num_classes=0, **args)` gives, with any weights.
            name: timm's name.
            args: timm's arguments, JSON-able.
        """
        super().__init__()
        self._network = network
        self._metadata = {"name": name, "args": dict(args)}
        widths: Any = network
        self.embed_dim = int(getattr(network, "head_hidden_size", None) or widths.num_features)
        self.patch_size = _patch_size(network)

    @property
    def network(self) -> nn.Module:
        return self._network

    @property
    def export_metadata(self) -> Mapping[str, Any]:
        return self._metadata

    def forward(self, x: Tensor) -> Tensor:
        self._check_size(*x.shape[-2:])
        return self._network(x)  # type: ignore[no-any-return]

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        return self._as_tokens(self._last(x, mask), x)

    def features_and_tokens(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tokens]:
        network: Any = self._network
        last = self._last(x, mask)
        return network.forward_head(last), self._as_tokens(last, x)

    def layers(self, x: Tensor, n: int) -> list[Tokens]:
        self._check_size(*x.shape[-2:])
        forward: Any = self._network.forward_intermediates
        info: Any = getattr(self._network, "feature_info", None)
        n = min(n, len(info)) if info else n
        options = {"norm": True, "return_prefix_tokens": True}
        known = inspect.signature(forward).parameters
        outputs = forward(x, n, intermediates_only=True, **{k: v for k, v in options.items() if k in known})
        return [self._as_tokens(output, x) for output in outputs]

    def cls_attention(self, x: Tensor) -> Tensor | None:
        if getattr(self._network, "cls_token", None) is None:
            return None
        capture = AttentionCapture()
        with capture:
            tokens = self.tokens(x)
        row = capture.cls_row()  # [B, heads, P + N]
        prefix, patches = tokens.prefix.shape[1], tokens.patches.shape[1]
        return row[..., prefix:] if row is not None and row.shape[-1] == prefix + patches else None

    def _last(self, x: Tensor, mask: Tensor | None) -> Any:
        """What the network gives before it pools, in its own shape."""
        self._check_size(*x.shape[-2:])
        network: Any = self._network
        with self._masked(mask):
            return network.forward_features(x)

    def _as_tokens(self, output: Any, x: Tensor) -> Tokens:
        if isinstance(output, tuple):  # a map and its prefix
            return replace(self._map_as_tokens(output[0]), prefix=output[1])
        if output.ndim == 4:
            return self._map_as_tokens(output)
        prefix = int(getattr(self._network, "num_prefix_tokens", 0))
        patches = output[:, prefix:]
        return Tokens(output[:, :prefix], patches, self._grid(x, patches.shape[1]))

    def _map_as_tokens(self, output: Tensor) -> Tokens:
        """[B, D, rows, columns], or Swin's [B, rows, columns, D]."""
        channels_last = output.shape[1] != output.shape[-1] == self._network.num_features
        features = output if channels_last else output.permute(0, 2, 3, 1)  # [B, rows, columns, D]
        patches = features.flatten(1, 2)
        return Tokens(patches[:, :0], patches, (features.shape[1], features.shape[2]))

    def _grid(self, x: Tensor, patches: int) -> tuple[int, int]:
        """Rows and columns of N patches of an image [B, C, H, W]; only padding rounds up."""
        reduction = self.patch_size or round((x.shape[2] * x.shape[3] / patches) ** 0.5)
        rows, columns = (-(-side // reduction) for side in x.shape[-2:])
        assert rows * columns == patches
        return rows, columns

    @contextmanager
    def _masked(self, mask: Tensor | None) -> Iterator[None]:
        if mask is None:
            yield
            return
        if self.patch_size is None:
            raise ValueError(f"'{self._metadata['name']}' has no patches that could be masked; use a ViT")

        def put(_module: nn.Module, _args: Any, embedded: Tensor) -> Tensor:  # [B, N, D] or [B, h, w, D]
            where = mask.reshape(*embedded.shape[:-1], 1)
            return torch.where(where, self._mask_value(embedded), embedded)

        handle = self._network.get_submodule("patch_embed").register_forward_hook(put)
        try:
            yield
        finally:
            handle.remove()

    def _mask_value(self, embedded: Tensor) -> Tensor:
        return embedded.new_zeros(()) if self.mask_token is None else self.mask_token.to(embedded.dtype)

    def _check_size(self, height: int, width: int) -> None:
        side = self.patch_size
        if side and not _pads(self._network) and (height % side or width % side):
            raise RecipeError(
                f"images of {height} x {width} pixels do not divide into patches of {side}"
                f"\n  choose multiples of {side} for augment.global_size, augment.local_size and eval.crop"
                " (with patches: augment.size)"
            )


def timm_backbone(
    name: str,
    *,
    channels: int,
    image_size: int,
    drop_path_rate: float = 0.0,
    args: Mapping[str, Any] | None = None,
    known: Iterable[str] = (),
) -> TimmBackbone:
    """Build any timm network as a backbone, ready for crops of several sizes.

    Args:
        name: timm's name, such as vit_small_patch8_224.
        channels: of the images, C.
        image_size: side of the global crops in pixels, which a ViT's position embedding is made for unless
            `args` has `img_size`.
        drop_path_rate: stochastic depth, 0 to 1.
        args: further arguments of the network's constructor; `pos_embed_resize: timm|dino` is ours.
        known: names of plugins' backbones, for the error about an unknown name.

    Raises:
        PluginError: timm has no network of this name.
        RecipeError: the network does not take an argument, or not this value.
    """
    args = {} if args is None else args
    _check_arguments(name, args, known)
    given = dict(args)
    resize = given.pop("pos_embed_resize", "timm")
    defaults = {"img_size": image_size, **SIZE_DEFAULTS}
    required = {**given, "in_chans": channels}
    if drop_path_rate:
        required["drop_path_rate"] = drop_path_rate
    network, used = _create(name, required, {k: v for k, v in defaults.items() if k not in given})
    if resize == "dino":
        _resize_as_authors(network, name)
    used = {k: v for k, v in used.items() if k not in ("drop_path_rate", "pretrained")}
    return _checked_grid(TimmBackbone(network, name, used))


def _create(
    name: str, required: Mapping[str, Any], optional: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """The network, and the arguments that it took; an optional one that it does not know is left out."""
    import timm

    used = {**optional, **required}
    try:
        return timm.create_model(name, num_classes=0, **used), used
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None or unknown[1] not in used:
            raise _refusal(name, str(error)) from error
        if unknown[1] not in optional:
            raise _refusal(name, _unknown_argument(unknown[1])) from error
        rest = {k: v for k, v in optional.items() if k != unknown[1]}
    except (ValueError, AssertionError, RuntimeError) as error:
        raise _refusal(name, str(error) or type(error).__name__) from error
    return _create(name, required, rest)


def _unknown_argument(argument: str) -> str:
    if argument == "drop_path_rate":
        return "it has no stochastic depth\n  set backbone.drop_path_rate=0"
    if argument == "in_chans":
        return "it has a fixed number of channels"
    return f"it takes no argument '{argument}'\n  see backbone.args"


def _refusal(name: str, reason: str) -> RecipeError:
    return RecipeError(f"'{name}' cannot be built: {reason}")


def _check_arguments(name: str, args: Mapping[str, Any], known: Iterable[str]) -> None:
    import timm

    if not timm.is_model(name):
        near = nearest(name, [*known, *timm.list_models()])
        raise PluginError(
            f"there is no backbone '{name}', neither in a plugin nor in timm{near}"
            f"\n  plugins' names: {', '.join(known) or 'none'}"
            "\n  timm's names: python -c \"import timm; print(*timm.list_models(), sep='\\n')\""
        )
    for argument, instead in RESERVED.items():
        if argument in args:
            raise _refusal(name, f"'{argument}' is not given in backbone.args; set {instead}")
    resize = args.get("pos_embed_resize", "timm")
    if resize not in ("timm", "dino"):
        raise RecipeError(f"backbone.args.pos_embed_resize is '{resize}'; valid: timm, dino")


def _resize_as_authors(network: nn.Module, name: str) -> None:
    from timm.models.vision_transformer import VisionTransformer

    from sslkit.nn.pos_embed import AuthorsPositionsViT

    if type(network) is not VisionTransformer or network.pos_embed is None or not network.dynamic_img_size:
        raise _refusal(
            name, "pos_embed_resize: dino needs a plain ViT with learned positions and dynamic_img_size"
        )
    network.__class__ = AuthorsPositionsViT


def _checked_grid(backbone: TimmBackbone) -> TimmBackbone:
    """Refuse what timm would round down: a position embedding is made for whole patches."""
    side = backbone.patch_size
    image = getattr(getattr(backbone.network, "patch_embed", None), "img_size", None)
    if side and image and not _pads(backbone.network) and any(length % side for length in image):
        reason = (
            f"{image[0]} pixels do not divide into patches of {side}"
            f"\n  choose a multiple of {side} for augment.global_size (or backbone.args.img_size)"
        )
        raise _refusal(backbone.export_metadata["name"], reason)
    return backbone


def _pads(network: nn.Module) -> bool:
    return bool(getattr(getattr(network, "patch_embed", None), "dynamic_img_pad", False))


def _patch_size(network: nn.Module) -> int | None:
    """Side of the patches that the last tokens stand for; None if they are no longer the patches."""
    size = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    info: Any = getattr(network, "feature_info", None)
    if size is None or not info:
        return None
    side = int(size[0] if isinstance(size, (tuple, list)) else size)
    reduction = info[-1]["reduction"]
    return side if side == (reduction[0] if isinstance(reduction, (tuple, list)) else reduction) else None
