"""Is this a backbone? Every check of a factory, on small images of random numbers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from sslkit.conformance.backbone_kit import SIDES, BackboneKit, check_features
from sslkit.conformance.backbone_state import (
    export_is_complete,
    features_are_finite_in_bf16,
    gradients_reach_every_parameter,
    it_waits_for_no_device,
    it_works_on_a_gpu,
    state_changes_in_batch_norms_alone,
    state_dict_is_complete,
)
from sslkit.conformance.backbone_tokens import (
    cls_attention_is_a_share,
    features_and_tokens_agree,
    images_do_not_mix,
    it_takes_other_channels,
    it_takes_other_sizes,
    layers_end_with_the_tokens,
    masked_patches_are_not_seen,
    tokens_have_their_shapes,
)
from sslkit.conformance.findings import Check, Finding, NotChecked, demand, examine, pass_gates
from sslkit.conformance.method_checks import one_thread
from sslkit.core.backbone import Backbone
from sslkit.errors import SslkitError


def backbone_findings(
    factory: Callable[..., Backbone], args: Mapping[str, Any] | None = None
) -> Iterator[Finding]:
    """Check a factory of backbones, as `sslkit_backbones` returns them.

    Args:
        args: its `backbone.args`.
    """
    with one_thread():
        kit = _fitting(BackboneKit(factory, args or {}))
        alive = yield from pass_gates(GATES, {"": kit})
        yield from examine(CHECKS, alive)


def _fitting(kit: BackboneKit) -> BackboneKit:
    """With the smallest images that it takes."""
    for side in SIDES:
        tried = replace(kit, side=side)
        try:
            tried.build()(tried.images())
        except Exception:  # told by the gates
            continue
        return tried
    return kit


def it_is_built(kit: BackboneKit) -> None:
    """By keyword: channels, image_size, drop_path_rate, and the arguments of `backbone.args`."""
    try:
        built = kit.build()
    except SslkitError as error:
        raise NotChecked(f"it refuses {kit.channels} channels at {kit.side} pixels: {error}") from error
    demand(isinstance(built, Backbone), f"the factory gives a {type(built).__name__}, not a sslkit.Backbone")
    demand(
        isinstance(built.embed_dim, int) and built.embed_dim > 0,
        f"embed_dim is {built.embed_dim!r}, but must be the width of the features, a whole number",
    )
    size = built.patch_size
    demand(size is None or isinstance(size, int), f"patch_size is {size!r}, but must be pixels or None")
    demand(isinstance(built.network, nn.Module), f"network is a {type(built.network).__name__}, no nn.Module")
    demand(
        any(module is built.network for module in built.modules()),
        "network is no submodule of the backbone: assign it to an attribute in __init__",
    )


def features_have_their_shape(kit: BackboneKit) -> None:
    """Images [B, C, H, W] -> features [B, D], finite."""
    built, x = kit.build(), kit.images()
    check_features(built, x, built(x))


GATES: tuple[Check[BackboneKit], ...] = (it_is_built, features_have_their_shape)
CHECKS: tuple[Check[BackboneKit], ...] = (
    tokens_have_their_shapes,
    features_and_tokens_agree,
    layers_end_with_the_tokens,
    cls_attention_is_a_share,
    masked_patches_are_not_seen,
    it_takes_other_sizes,
    it_takes_other_channels,
    images_do_not_mix,
    state_changes_in_batch_norms_alone,
    state_dict_is_complete,
    export_is_complete,
    gradients_reach_every_parameter,
    features_are_finite_in_bf16,
    it_waits_for_no_device,
    it_works_on_a_gpu,
)
"""What `check_backbone` checks, in this order."""
