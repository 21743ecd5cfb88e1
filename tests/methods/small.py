"""Small methods in float64 without drop path, so that a second forward pass and an oracle can be exact."""

# B images

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from timm.layers import DropPath
from tolerances import assert_close
from torch import Tensor, nn

from sslkit.core.method import Method, Progress, StepOutput, Views
from sslkit.core.randomness import seeded
from sslkit.errors import RecipeError
from sslkit.testing import BATCH, SmallSetup, make_views

M = TypeVar("M", bound=Method)
TOTAL_STEPS = 20
WIDTHS: list[tuple[str, Any, str]] = [(k, v, ">= 1") for k in ("hidden_dim", "out_dim") for v in (0, -3)]
"""Key, wrong value, what is valid: of all methods with a head."""


def build(cls: type[M], config: object, network: str = "resnet", batch: int = BATCH) -> M:
    """The method with fixed initial weights."""
    with seeded(0, "weights"):
        method = cls(config, SmallSetup(network, batch_size=batch))
    for module in method.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    return method.double().train()


def disturb(*modules: nn.Module) -> None:
    """Change all parameters and statistics, so that a network and its copy differ."""
    with torch.no_grad(), seeded(0, "disturb"):
        for module in modules:
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
            for statistic in (b for b in module.buffers() if b.is_floating_point()):
                statistic.add_(torch.rand_like(statistic), alpha=0.1)


def batch_of_views(local_count: int = 0, *, batch: int = BATCH, seed: int = 0) -> Views:
    views = make_views(local_count, batch)
    with seeded(seed, "noise"):
        global_views, local_views = (
            None if x is None else x.double() + torch.randn_like(x, dtype=torch.float64)
            for x in (views.global_views, views.local_views)
        )
    assert global_views is not None
    return replace(views, global_views=global_views, local_views=local_views)


def progress(step: int = 5) -> Progress:
    return Progress(step, TOTAL_STEPS, steps_per_epoch=4)


def train_step(
    method: Method, optimizer: torch.optim.Optimizer, batches: Sequence[Views], step: int
) -> list[StepOutput]:
    """One optimiser step over micro-batches, as the loop does it."""
    optimizer.zero_grad(set_to_none=True)
    outputs = [method(views, progress(step)) for views in batches]
    for output in outputs:
        (output.loss / len(outputs)).backward()
    optimizer.step()
    method.after_step(progress(step), outputs)
    return outputs


def sgd(method: Method, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for g in method.parameter_groups() for p in g.parameters.values()], lr=lr)


def numbers(x: Tensor) -> npt.NDArray[np.float64]:
    return x.detach().double().numpy()


@contextmanager
def inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a module is given within the block, call by call."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    try:
        yield seen
    finally:
        handle.remove()


def check_starts_as_copy(method: Method, copies: Mapping[str, str]) -> None:
    """Each copy has its original's weights and buffers, tensors of its own, no gradient, no drop path."""
    state = method.state_dict()
    for copy, original in copies.items():
        module = method.get_submodule(copy)
        assert module.state_dict()
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[f"{original}.{name}"])
            assert value.data_ptr() != state[f"{original}.{name}"].data_ptr()
        assert not any(p.requires_grad for p in module.parameters())


def check_drop_path(method: Method, *, original: str, copy: str) -> None:
    rates = {
        name: [m.drop_prob or 0.0 for m in method.get_submodule(name).modules() if isinstance(m, DropPath)]
        for name in (original, copy)
    }
    assert any(rates[original])
    assert not any(rates[copy])


def check_gradients(method: Method, copies: Mapping[str, str], without: int | None = None) -> None:
    """What is learned: by every parameter but the copies', which no optimiser sees either; and from every one
    of two global and two local views but number `without`, which only a copy sees."""
    views = batch_of_views(2)
    assert views.local_views is not None
    pixels = views.global_views.requires_grad_(True), views.local_views.requires_grad_(True)
    method(views, progress()).loss.backward()
    slopes = [view for x in pixels if x.grad is not None for view in x.grad]
    assert [bool(x.any()) for x in slopes] == [i != without for i in range(4)]
    trained = {name for group in method.parameter_groups() for name in group.parameters}
    for name, parameter in method.named_parameters():
        is_copy = name.startswith(tuple(f"{copy}." for copy in copies))
        assert (parameter.grad is None) is is_copy, name
        assert (name not in trained) is is_copy, name


def check_ema(method: Method, copies: Mapping[str, str], momentum: float, update: Callable[[], None]) -> None:
    """The update moves the copies' parameters by the momentum, and nothing else, not even their buffers."""
    before = {name: value.clone() for name, value in method.state_dict().items()}
    update()
    parameters = dict(method.named_parameters())
    for name, value in method.state_dict().items():
        copy = next((c for c in copies if name.startswith(f"{c}.") and name in parameters), None)
        if copy is None:
            assert torch.equal(value, before[name]), name
        else:
            source = before[copies[copy] + name.removeprefix(copy)]
            assert_close(value, momentum * before[name] + (1 - momentum) * source)


def check_range(config: type, key: str, value: object, valid: str) -> None:
    with pytest.raises(RecipeError) as caught:
        config(**{key: value})
    assert str(caught.value) == f"'{key}' is {value}, but must be {valid}"
