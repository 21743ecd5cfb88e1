"""What a backbone keeps, exports and learns, and where it runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.conformance.backbone_kit import BackboneKit, check_close, weights_of
from sslkit.conformance.devices import Reads, works_on_another_device
from sslkit.conformance.findings import demand, few
from sslkit.conformance.method_kit import differing
from sslkit.core.backbone import Backbone
from sslkit.core.randomness import seeded
from sslkit.recipe.schema import BackboneSection
from sslkit.train.export import FILE_NAME, load_weights, save_backbone


def state_changes_in_batch_norms_alone(kit: BackboneKit) -> None:
    """In train mode; in eval mode nothing changes at all, and nothing is drawn."""
    built, x = kit.build(), kit.images()
    norms = tuple(f"{n}." for n, m in built.named_modules() if isinstance(m, _BatchNorm))
    before = weights_of(built)
    with seeded(0, "model"):
        first = built.train()(x)
    wrong = [key for key in differing(before, weights_of(built)) if not key.startswith(norms)]
    demand(not wrong, f"forward changes {few(wrong)} in train mode")
    built.load_state_dict(before)
    with seeded(0, "model"):
        again = built(x)
    demand(
        torch.equal(first, again),
        "in train mode the same draws give two results: draw from torch's global generator alone",
    )
    before = weights_of(built.eval())
    first = built(x)
    demand(torch.equal(first, built(x)), "in eval mode two passes differ: use self.training for dropout")
    wrong = differing(before, weights_of(built))
    demand(not wrong, f"forward changes {few(wrong)} in eval mode")


@torch.no_grad()
def state_dict_is_complete(kit: BackboneKit) -> None:
    built, other, x = kit.build().eval(), kit.build(seed=1).eval(), kit.images()
    other.load_state_dict(weights_of(built))
    check_close(
        other(x),
        built(x),
        "another instance with its state_dict gives other features: keep all that matters in parameters and"
        " buffers",
    )


@torch.no_grad()
def export_is_complete(kit: BackboneKit) -> None:
    """From `backbone.safetensors`, which holds `network` alone, the same features come back."""
    built, other, x = kit.build().eval(), kit.build(seed=1).eval(), kit.images()
    metadata = dict(built.export_metadata)
    demand(
        {"name", "args"} <= metadata.keys(),
        f"export_metadata has {few(list(metadata))}, but must have name and args",
    )
    try:
        json.dumps({"metadata": metadata, "args": dict(kit.args)}, allow_nan=False)
    except (TypeError, ValueError) as error:
        demand(False, f"export_metadata and backbone.args must be plain numbers, words and lists: {error}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / FILE_NAME
        section = BackboneSection("checked", args=dict(kit.args))
        save_backbone(built, section, path, channels=kit.channels, image_size=kit.side)
        load_weights(other, path)
    told = (
        "built again from what is exported it gives other features: what forward uses has to be in `network`,"
        " and to follow from channels, image_size and args"
    )
    check_close(other(x), built(x), told)
    _check_as_timm(built, metadata, x)


def _check_as_timm(built: Backbone, metadata: Mapping[str, Any], x: Tensor) -> None:
    """A name of timm's promises that timm builds it."""
    import timm

    if not timm.is_model(str(metadata["name"])):
        return
    network = timm.create_model(metadata["name"], num_classes=0, **metadata["args"])
    network.load_state_dict(built.network.state_dict())
    told = f"export_metadata names timm's {metadata['name']}, which gives other features from its weights"
    check_close(network.eval()(x), built(x), told)


def gradients_reach_every_parameter(kit: BackboneKit) -> None:
    """From `forward` alone; a parameter without one stops a run on several processes."""
    built = kit.build(drop_path_rate=0.0).train()
    built(kit.images()).square().sum().backward()
    idle = [n for n, p in built.named_parameters() if p.requires_grad and p.grad is None]
    demand(
        not idle,
        f"{few(idle)} gets no gradient from forward, which stops a run on several processes: use it there,"
        " let the method that needs it own it, or call requires_grad_(False)",
    )
    bad = [n for n, p in built.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    demand(not bad, f"the gradient of {few(bad)} is not finite")


# --- where it runs -----------------------------------------------------------------------------------------


def features_are_finite_in_bf16(kit: BackboneKit) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        features = kit.build()(kit.images())
    demand(features.is_floating_point(), f"under bf16 it gives {features.dtype}")
    demand(bool(features.isfinite().all()), "under bf16 the features are not finite")


def it_waits_for_no_device(kit: BackboneKit) -> None:
    built, reads = kit.build(), Reads()
    with reads:
        built(kit.images())
    demand(
        not reads.places,
        f"a number is read from a tensor at {few(reads.places, 1)}: a pass must not wait for the device",
    )


def it_works_on_a_gpu(kit: BackboneKit) -> None:
    """Tensors are made where their inputs are; without a GPU told on torch's device without numbers."""
    works_on_another_device(
        lambda device: kit.build().to(device)(kit.images().to(device)).square().sum().backward()
    )
