"""What a step of a method costs beside one of DINO, measured."""

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from sslkit.conformance.findings import NotChecked, raised
from sslkit.conformance.method_kit import MethodKit
from sslkit.core.backbone import Backbone
from sslkit.errors import SslkitError
from sslkit.methods.dino import DINO, DINOConfig
from sslkit.nn.pocket import vit_pocket

REPEATS = 3


@dataclass(frozen=True)
class Cost:
    """Of one step."""

    seconds: float
    """The fastest of some."""
    kept_mib: float
    """What the forward pass keeps for the backward pass, MiB, parameters not counted."""
    parameters: int


def cost_beside_dino(kit: MethodKit) -> str:
    """Ratios of CPU time, memory and parameters, with small heads on a ViT that the backbone dominates."""
    network = wider_vit if isinstance(kit.setup.network, str) else kit.setup.network
    own = replace(kit, setup=replace(kit.setup, network=network))
    dino = replace(own, cls=DINO, config=DINOConfig(out_dim=64, hidden_dim=64, bottleneck_dim=32))
    try:
        a = measure(own)
    except SslkitError as error:
        raise NotChecked(f"it refuses the ViT that both are measured on: {error}") from error
    try:
        b = measure(dino)
    except Exception as error:
        raise NotChecked(f"DINO takes no step with this network and these views: {raised(error)}") from error
    return (
        f"a step takes {a.seconds / b.seconds:.2f} x DINO's time ({a.seconds * 1e3:.0f} ms against"
        f" {b.seconds * 1e3:.0f} ms on this machine), keeps {a.kept_mib / b.kept_mib:.2f} x as much for the"
        f" backward pass, and has {a.parameters / b.parameters:.2f} x its parameters"
    )


def wider_vit(**common: Any) -> Backbone:
    """Wide enough that a step's time is that of its products, not of Python."""
    return vit_pocket(patch_size=8, embed_dim=128, depth=4, num_heads=4, **common)


def measure(kit: MethodKit) -> Cost:
    """Time and memory of a step of the product's loop."""
    method = kit.build()
    trainer = kit.trainer(method)
    kit.step(trainer)
    seconds = [_timed(kit, trainer) for _ in range(REPEATS)]
    return Cost(min(seconds), _kept(kit, method), sum(p.numel() for p in method.parameters()))


def _timed(kit: MethodKit, trainer: Any) -> float:
    started = time.process_time()
    kit.step(trainer)
    return time.process_time() - started


def _kept(kit: MethodKit, method: torch.nn.Module) -> float:
    own = {p.untyped_storage().data_ptr() for p in method.parameters()}
    sizes: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        output = method(kit.views, kit.progress())
    del output
    return sum(sizes.values()) / 2**20
