"""The conformance kit: what every component must keep to, built in or a plugin's.

from sslkit.testing import check_method

def test_it_conforms():
    check_method(MyMethod, MyConfig(width=16))
"""

# G global views, L local views, B images

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.method import Method, Progress, StepOutput, Views
from sslkit.core.randomness import seeded
from sslkit.nn.backbones import timm_backbone
from sslkit.recipe.explain import field_meanings

BATCH, IMAGE, CROP, CLASSES = 8, 32, 16, 4


class ConformanceError(AssertionError):
    """One or more checks failed; the message lists each with what to change."""


@dataclass(frozen=True)
class SmallSetup:
    """A `Setup` of a very small network on 32 px images, for checks and tests."""

    network: str = "vit"
    """vit or resnet."""
    num_classes: int | None = CLASSES
    batch_size: int = BATCH
    channels: int = 3
    steps_per_epoch: int = 4

    def backbone(self, *, drop_path_rate: float | None = None) -> Backbone:
        common: dict[str, Any] = {"channels": self.channels, "image_size": IMAGE}
        if self.network == "resnet":
            small: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 32)}
            return timm_backbone("resnet18", args=small, **common)
        small = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
        rate = 0.1 if drop_path_rate is None else drop_path_rate
        return timm_backbone("vit_tiny_patch16_224", drop_path_rate=rate, args=small, **common)


@dataclass(frozen=True)
class Kit:
    """What one round of checks works with."""

    cls: type[Method]
    config: Any
    setup: SmallSetup
    views: Views

    def build(self) -> Method:
        with seeded(0, "weights"):
            return self.cls(self.config, self.setup).train()

    def progress(self, step: int = 5) -> Progress:
        return Progress(step, 5 * self.setup.steps_per_epoch, self.setup.steps_per_epoch)

    def forward(self, method: Method, views: Views | None = None, step: int = 5) -> StepOutput:
        with seeded(0, "model", step):
            output: StepOutput = method(self.views if views is None else views, self.progress(step))
        return output

    def step(
        self, method: Method, optimizer: torch.optim.Optimizer, step: int, *, moves_on: bool = True
    ) -> float:
        """One optimiser step as the loop does it; gives back the loss before it.

        Unless it `moves_on`, `after_step` is left out: teacher, centre and queue stand still.
        """
        optimizer.zero_grad(set_to_none=True)
        output = self.forward(method, step=step)
        output.loss.backward()
        method.before_step(self.progress(step))
        optimizer.step()
        if moves_on:
            method.after_step(self.progress(step), [replace(output, loss=output.loss.detach())])
        return output.loss.item()


def check_method(cls: type[Method], config: Any = None) -> None:
    """Check a method against the interface, on a small ViT and a small ResNet, with and without local views.

    Args:
        cls: the method.
        config: its configuration, small enough for a test; the `Config`'s defaults if None.

    Raises:
        ConformanceError: naming each check that failed, on which network and views, and what to change.
    """
    failures = [f"{name}: {problem}" for name, problem in _problems(cls, config)]
    if failures:
        raise ConformanceError(f"{cls.__name__} does not conform:\n  " + "\n  ".join(dict.fromkeys(failures)))


def _problems(cls: type[Method], config: Any) -> Iterator[tuple[str, str]]:
    yield from _failures("Config", lambda: check_config(cls.Config))
    config = cls.Config() if config is None else config
    for network in ("vit", "resnet"):
        for local_count in (0, 2):
            kit = Kit(cls, config, SmallSetup(network), make_views(local_count))
            for check in METHOD_CHECKS:
                where = f"{check.__name__} ({network}, {local_count} local views)"
                yield from _failures(where, lambda check=check, kit=kit: check(kit))  # type: ignore[misc]


def _failures(where: str, check: Callable[[], None]) -> Iterator[tuple[str, str]]:
    try:
        check()
    except AssertionError as error:
        yield where, str(error)
    except Exception as error:  # whatever a stranger's code raises belongs in the list
        yield where, f"raised {type(error).__name__}: {error}"


def make_views(local_count: int = 2, batch: int = BATCH, channels: int = 3) -> Views:
    """Two global and `local_count` local views of random images, normalised, with labels."""
    with seeded(0, "views"):
        base = torch.randn(batch, channels, IMAGE, IMAGE)  # [B, C, H, W]
        global_views = torch.stack([base + 0.3 * torch.randn_like(base) for _ in range(2)])  # [2, B, C, H, W]
        crops = [base[..., :CROP, :CROP] + 0.3 * torch.randn(CROP, CROP) for _ in range(local_count)]
        labels = torch.randint(CLASSES, (batch,))
    local_views = torch.stack(crops) if crops else None  # [L, B, C, h, w]
    return Views(global_views, local_views, labels, torch.arange(batch))


def check_config(config: type) -> None:
    """A component's `Config` is a dataclass with a docstring under every field."""
    assert is_dataclass(config), f"{config!r} is no dataclass: write @dataclass above it"
    bare = [f.name for f in fields(config) if f.name not in field_meanings(config)]
    assert not bare, f"{config.__name__} has fields without a docstring under them: {', '.join(bare)}"


def loss_is_finite_and_has_a_gradient(kit: Kit) -> None:
    method = kit.build()
    output = kit.forward(method)
    assert output.loss.shape == (), f"the loss has shape {tuple(output.loss.shape)}; it must be a scalar, []"
    assert math.isfinite(output.loss.item()), f"the loss is {output.loss.item()}"
    output.loss.backward()
    reached = [p for p in method.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert reached, "no parameter gets a gradient"


def loss_is_finite_in_bf16(kit: Kit) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = kit.forward(kit.build()).loss
    assert math.isfinite(loss.item()), f"the loss is {loss.item()} under bf16: compute it in float32"


def outputs_are_detached(kit: Kit) -> None:
    output = kit.forward(kit.build())
    for name, value in {**output.metrics, **output.carry}.items():
        assert not value.requires_grad, f"'{name}' carries a gradient: detach it"
    for name, value in output.metrics.items():
        assert value.shape == (), f"metric '{name}' has shape {tuple(value.shape)}; metrics are scalars, []"
    if output.features is not None:
        assert not output.features.requires_grad, "features carry a gradient: detach them"
        assert output.features.ndim == 2, f"features have shape {tuple(output.features.shape)}, not [B, D]"


def forward_changes_no_state(kit: Kit) -> None:
    method = kit.build()
    before = _copy(method)
    kit.forward(method)
    norms = {f"{n}." for n, m in method.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    changed = [k for k, v in method.state_dict().items() if not torch.equal(v, before[k])]
    changed = [k for k in changed if not any(k.startswith(n) for n in norms)]
    assert not changed, f"forward changed {', '.join(changed[:3])}: move that to after_step"


def forward_is_deterministic(kit: Kit) -> None:
    first, second = kit.forward(kit.build()).loss, kit.forward(kit.build()).loss
    assert torch.equal(first, second), (
        f"the same step gave {first.item()} and {second.item()}: draw only from torch's global generator"
    )


def gradients_only_where_declared(kit: Kit) -> None:
    method = kit.build()
    kit.forward(method).loss.backward()
    declared = {id(p) for group in method.parameter_groups() for p in group.parameters.values()}
    stray = [n for n, p in method.named_parameters() if p.grad is not None and id(p) not in declared]
    assert not stray, f"{', '.join(stray[:3])} gets a gradient but is in no parameter group"


def encoder_is_part_of_the_method(kit: Kit) -> None:
    method = kit.build()
    assert isinstance(method.encoder, Backbone), (
        f"encoder is a {type(method.encoder).__name__}, not a Backbone"
    )
    assert any(m is method.encoder for m in method.modules()), "the encoder is not a submodule of the method"


def resume_is_exact(kit: Kit) -> None:
    """All that matters is in `state_dict()`: a new instance that loads it goes on with the same losses."""
    method = kit.build()
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.01)
    for step in range(2):
        kit.step(method, optimizer, step)
    again = kit.cls(kit.config, kit.setup).train()
    again.load_state_dict(_copy(method))
    other = torch.optim.SGD([p for p in again.parameters() if p.requires_grad], lr=0.01)
    for step in range(2, 4):
        wanted, got = kit.step(method, optimizer, step), kit.step(again, other, step)
        assert got == wanted, (
            f"after a resume the loss is {got} instead of {wanted}: some state is not in state_dict()"
        )


def loss_falls_on_a_fixed_batch(kit: Kit) -> None:
    method = kit.build()
    optimizer = torch.optim.AdamW(
        [p for p in method.parameters() if p.requires_grad], lr=3e-4, weight_decay=0
    )
    losses = [kit.step(method, optimizer, step=5, moves_on=False) for _ in range(8)]
    assert min(losses[1:]) < losses[0], f"eight steps on one batch do not lower the loss: {losses}"


def labels_matter_only_where_declared(kit: Kit) -> None:
    """Shuffled or missing labels change no loss, unless the method says that it needs them."""
    labels = kit.views.labels
    assert labels is not None
    own, shuffled = (
        kit.forward(kit.build(), replace(kit.views, labels=x)).loss for x in (labels, labels.flip(0))
    )
    if kit.cls.needs_labels:
        assert not torch.equal(own, shuffled), "it declares `needs_labels`, but its loss ignores the labels"
        return
    assert torch.equal(own, shuffled), "the loss depends on labels: declare `needs_labels = True`"
    without = kit.forward(kit.build(), replace(kit.views, labels=None)).loss
    assert torch.equal(own, without), "the loss changes without labels: declare `needs_labels = True`"


def _copy(method: Method) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in method.state_dict().items()}


METHOD_CHECKS: tuple[Callable[[Kit], None], ...] = (
    loss_is_finite_and_has_a_gradient,
    loss_is_finite_in_bf16,
    outputs_are_detached,
    forward_changes_no_state,
    forward_is_deterministic,
    gradients_only_where_declared,
    encoder_is_part_of_the_method,
    resume_is_exact,
    loss_falls_on_a_fixed_batch,
    labels_matter_only_where_declared,
)
"""What `check_method` checks, in this order."""
