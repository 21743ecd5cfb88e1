"""What a backbone answers: tokens, layers, attention, masks, other sizes and channels."""

# B images, P prefix tokens, N patches, D features

from dataclasses import replace

import torch
from torch import Tensor

from sslkit.conformance.backbone_kit import BackboneKit, check_close, check_features
from sslkit.conformance.findings import NotChecked, demand
from sslkit.core.backbone import Backbone, Tokens
from sslkit.errors import SslkitError

REFUSALS = (SslkitError, RuntimeError, AssertionError, ValueError)
"""What a run takes for "this network does not take such images"."""


@torch.no_grad()
def tokens_have_their_shapes(kit: BackboneKit) -> None:
    built, x = kit.build().eval(), kit.images()
    _check_tokens(built, x, built.tokens(x), "tokens")


def _check_tokens(built: Backbone, x: Tensor, tokens: Tokens, name: str) -> None:
    demand(isinstance(tokens, Tokens), f"{name} gives a {type(tokens).__name__}, not Tokens")
    prefix, patches, (rows, columns) = tokens.prefix, tokens.patches, tokens.grid
    demand(
        prefix.ndim == 3 and patches.ndim == 3 and len(prefix) == len(patches) == len(x),
        f"{name} gives prefix {tuple(prefix.shape)} and patches {tuple(patches.shape)} of {len(x)} images,"
        " but must give [B, P, D] and [B, N, D]; P is 0 without CLS",
    )
    demand(
        rows * columns == patches.shape[1],
        f"{name} gives {patches.shape[1]} patches on a grid of {tokens.grid}, which has {rows * columns}:"
        " leave CLS and registers to `prefix`",
    )
    demand(prefix.shape[2] == patches.shape[2], f"{name}: prefix and patches are of different width")
    if built.patch_size is None:
        return
    wanted = tuple(-(-side // built.patch_size) for side in x.shape[-2:])
    demand(
        tokens.grid == wanted,
        f"{name} gives a grid of {tokens.grid} for images of {tuple(x.shape[-2:])} pixels and patches of"
        f" {built.patch_size}; it is (rows, columns), {wanted} (patch_size None: the tokens are no patches)",
    )
    demand(
        patches.shape[2] == built.embed_dim,
        f"{name} gives tokens of width {patches.shape[2]}, but embed_dim is {built.embed_dim}",
    )


@torch.no_grad()
def features_and_tokens_agree(kit: BackboneKit) -> None:
    """One pass gives what `forward` and `tokens` give in two."""
    built, x = kit.build().eval(), kit.images()
    features, tokens = built.features_and_tokens(x)
    check_close(features, built(x), "features_and_tokens gives other features than forward: override it")
    check_close(tokens.patches, built.tokens(x).patches, "features_and_tokens gives other tokens than tokens")


@torch.no_grad()
def layers_end_with_the_tokens(kit: BackboneKit) -> None:
    """The last n blocks, normed, the last block last: it is what `tokens` gives."""
    built, x = kit.build().eval(), kit.images()
    one, many = built.layers(x, 1), built.layers(x, 1000)
    demand(len(one) == 1, f"layers(x, 1) gives {len(one)} blocks")
    demand(1 <= len(many) <= 1000, "layers(x, 1000) gives no block; it gives all where there are fewer")
    for tokens in (*one, *many):
        demand(isinstance(tokens, Tokens), f"layers gives {type(tokens).__name__}s, not Tokens")
        rows, columns = tokens.grid
        demand(
            rows * columns == tokens.patches.shape[1], f"layers gives a grid of {tokens.grid} that misfits"
        )
    last = built.tokens(x)
    for name in ("patches", "prefix"):
        told = f"the last of layers has other {name} than tokens: is it normed, is it the last block?"
        check_close(getattr(one[0], name), getattr(last, name), told)
        check_close(getattr(many[-1], name), getattr(last, name), told)


@torch.no_grad()
def cls_attention_is_a_share(kit: BackboneKit) -> str | None:
    """[B, heads, N], from 0 on, at most 1 together; None without CLS or attention."""
    built, x = kit.build().eval(), kit.images()
    attention = built.cls_attention(x)
    if attention is None:
        return "it has no attention of CLS: pictures show how strong its features are instead"
    count = built.tokens(x).patches.shape[1]
    demand(
        attention.ndim == 3 and (len(attention), attention.shape[2]) == (len(x), count),
        f"cls_attention gives {tuple(attention.shape)}, but must give [B, heads, N] with B = {len(x)} and"
        f" N = {count}: the patches alone, without CLS and registers",
    )
    sums = attention.float().sum(-1)
    demand(
        bool((attention >= 0).all() and (sums <= 1 + 1e-3).all()),
        f"cls_attention of an image adds up to {sums.max().item():.3g}; it is a softmax's row, 1 at the most",
    )
    return None


@torch.no_grad()
def masked_patches_are_not_seen(kit: BackboneKit) -> None:
    """`tokens(x, mask)`: of what is masked nothing is left; a mask of nothing changes nothing."""
    built, x = kit.build().eval(), kit.images()
    count = built.tokens(x).patches.shape[1]
    none = torch.zeros(len(x), count, dtype=torch.bool)
    if built.patch_size is None:
        try:
            built.tokens(x, ~none)
        except (ValueError, SslkitError) as error:
            raise NotChecked(f"it has no patches to mask: {error}") from error
        demand(False, "its patch_size is None, so tokens(x, mask) must raise a ValueError")
    check_close(
        built.tokens(x, none).patches, built.tokens(x).patches, "a mask of nothing changes the tokens"
    )
    all_masked = built.tokens(x, ~none).patches, built.tokens(x.flip(0) + 1, ~none).patches
    check_close(
        *all_masked,
        "with every patch masked the tokens still depend on the pixels: put the mask token in the place of"
        " the embedded patches, before anything mixes them",
    )


@torch.no_grad()
def it_takes_other_sizes(kit: BackboneKit) -> str | None:
    """Half the size (local crops), twice it (evaluation), and an image that is not square."""
    built, side = kit.build().eval(), kit.side
    asked = {
        "half the size": (side // 2,) * 2,
        "twice the size": (2 * side,) * 2,
        "not square": (side, 2 * side),
    }
    refused = []
    for what, (height, width) in asked.items():
        x = kit.images(height, width)
        try:
            features = built(x)
        except REFUSALS as error:
            refused.append(f"{what} ({height} x {width}): {' '.join(str(error).split())[:160]}")
            continue
        check_features(built, x, features)
        _check_tokens(built, x, built.tokens(x), f"tokens at {height} x {width} pixels")
    if len(refused) == len(asked):
        raise NotChecked(
            f"it takes images of {side} pixels alone, so augment.local_count=0 and eval.crop={side}:"
            f" {refused[0]}"
        )
    return f"it refuses {'; '.join(refused)}" if refused else None


def it_takes_other_channels(kit: BackboneKit) -> None:
    """1 and 5, as `data.channels` says."""
    for channels in (1, 5):
        other = replace(kit, channels=channels)
        try:
            built = other.build()
        except SslkitError as error:
            raise NotChecked(f"it refuses {channels} channels: {error}") from error
        x = other.images()
        check_features(built, x, built(x))


@torch.no_grad()
def images_do_not_mix(kit: BackboneKit) -> None:
    """In eval mode an image's features are the same whatever else is in the batch."""
    built, x = kit.build().eval(), kit.images()
    alone = torch.cat([built(image[None]) for image in x])
    check_close(alone, built(x), "in eval mode the features of an image depend on the others in its batch")
