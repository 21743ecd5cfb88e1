"""The optimiser's groups, schedules and clipping against what DINO's training script does."""

import numpy as np
import pytest
import torch
from torch import nn

from sslkit.core.method import ParameterGroup
from sslkit.errors import RecipeError
from sslkit.recipe.schema import ClipSection, OptimSection
from sslkit.testing import SmallSetup
from sslkit.train.optim import Schedules, build_optimizer, clip_gradients, set_schedules


class Toy(nn.Module):
    """A matrix, a vector, a bias, a [K, 1] gain and a position embedding: each has its rule."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.LayerNorm(2)
        self.gain = nn.Parameter(torch.ones(4, 1))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 2))

    def parameter_groups(self) -> list[ParameterGroup]:
        slow = {"gain": self.gain}
        rest = {n: p for n, p in self.named_parameters() if n not in slow}
        return [ParameterGroup(rest), ParameterGroup(slow, lr_scale=0.1)]


def test_biases_and_vectors_never_decay_and_everything_else_does() -> None:
    toy = Toy()
    optimizer = build_optimizer(toy, OptimSection())  # type: ignore[arg-type]
    set_schedules(optimizer, Schedules(OptimSection(), 100, 10), step=50)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    decaying = {n for n, p in toy.named_parameters() if decay[id(p)] > 0}
    assert decaying == {"linear.weight", "gain", "pos_embed"}


def test_a_group_keeps_its_share_of_the_learning_rate() -> None:
    toy = Toy()
    optimizer = build_optimizer(toy, OptimSection())  # type: ignore[arg-type]
    lr, _ = set_schedules(optimizer, Schedules(OptimSection(), 1000, 10), step=150)
    by_parameter = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert by_parameter[id(toy.gain)] == pytest.approx(0.1 * lr)
    assert by_parameter[id(toy.linear.weight)] == lr


def test_the_learning_rate_is_the_authors_array() -> None:
    optim = OptimSection(batch_size=512, lr=0.0005, warmup_epochs=2, min_lr=1e-6, epochs=6)
    schedules = Schedules(optim, total_steps=60, steps_per_epoch=10)
    peak = 0.0005 * 512 / 256
    steps = np.arange(40)
    wanted = np.concatenate(
        [np.linspace(0, peak, 20), 1e-6 + 0.5 * (peak - 1e-6) * (1 + np.cos(np.pi * steps / len(steps)))]
    )
    np.testing.assert_allclose([schedules.lr(s) for s in range(60)], wanted, rtol=1e-12)
    assert schedules.lr(0) == 0


def test_no_base_batch_takes_the_learning_rate_as_it_is() -> None:
    assert Schedules(OptimSection(lr=0.01, lr_base_batch=None, batch_size=64), 10, 5).peak_lr == 0.01


def test_each_tensor_is_clipped_by_its_own_norm() -> None:
    toy = Toy()
    wanted = {}
    for i, (name, parameter) in enumerate(toy.named_parameters()):
        parameter.grad = torch.full_like(parameter, float(i))
        norm = parameter.grad.norm()
        factor = 3.0 / (norm + 1e-6)
        wanted[name] = parameter.grad * (factor if factor < 1 else 1.0)
    total = torch.stack([p.grad.norm() for p in toy.parameters() if p.grad is not None]).norm()
    got = clip_gradients(toy, ClipSection("per_parameter", 3.0))
    assert got == pytest.approx(total.item())
    for name, parameter in toy.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize(("mode", "norm"), [("global", 3.0), ("none", 10.0)])
def test_other_clip_modes(mode: str, norm: float) -> None:
    weight = nn.Linear(2, 2, bias=False)
    weight.weight.grad = torch.full((2, 2), 5.0)
    assert clip_gradients(weight, ClipSection(mode, 3.0)) == pytest.approx(10.0)
    assert weight.weight.grad.norm() == pytest.approx(norm, rel=1e-5)


def test_an_unknown_optimiser_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"adamm.*\n.*adam"):
        build_optimizer(Toy(), OptimSection(name="adamm"))  # type: ignore[arg-type]


def test_the_setup_of_the_kit_is_small() -> None:
    assert sum(p.numel() for p in SmallSetup().backbone().parameters()) < 50_000
