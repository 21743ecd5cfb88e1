"""The heads against their formulas; DINO's also against the state of the authors' own."""

import copy

import numpy as np
import pytest
import torch
from oracles import dino as oracle
from tolerances import assert_close
from torch import nn

from sslkit.nn.heads import DINOHead, mlp_head

GAIN = "last_layer.parametrizations.weight.original0"
DIRECTION = "last_layer.parametrizations.weight.original1"


def small_head(layers: int = 3, *, norm_last_layer: bool = True) -> DINOHead:
    torch.manual_seed(0)
    return DINOHead(6, 11, hidden_dim=8, bottleneck_dim=4, layers=layers, norm_last_layer=norm_last_layer)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_it_is_the_papers(layers: int) -> None:
    head = small_head(layers, norm_last_layer=False).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    state = head.state_dict()
    state[GAIN] = torch.rand(11, 1, dtype=torch.float64) + 0.5
    head.load_state_dict(state)
    numbers = {k: v.numpy() for k, v in state.items()}
    names = sorted({k.rsplit(".", 1)[0] for k in state if k.startswith("mlp")})
    linears = [(numbers[f"{name}.weight"], numbers[f"{name}.bias"]) for name in names]
    assert len(linears) == layers
    assert_close(head(x), oracle.head(x.numpy(), linears, numbers[GAIN], numbers[DIRECTION]))


def test_it_loads_the_authors_names() -> None:
    ours = small_head()
    theirs = {k: torch.randn_like(v) for k, v in ours.state_dict().items()}
    renamed = {GAIN: "last_layer.weight_g", DIRECTION: "last_layer.weight_v"}
    ours.load_state_dict({renamed.get(k, k): v for k, v in theirs.items()})
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs[name])
    assert set(theirs) == {*(f"mlp.{i}.{p}" for i in (0, 2, 4) for p in ("weight", "bias")), GAIN, DIRECTION}


@pytest.mark.parametrize("norm_last_layer", [True, False])
def test_the_gain_is_one_and_trained_only_if_asked(norm_last_layer: bool) -> None:
    head = small_head(norm_last_layer=norm_last_layer)
    gain = dict(head.named_parameters())[GAIN]
    assert torch.equal(gain, torch.ones(11, 1))
    assert gain.requires_grad is not norm_last_layer
    logits = head(torch.randn(50, 6))
    assert logits.abs().max() <= 1 + 1e-6


def test_initial_weights_are_the_authors() -> None:
    head = DINOHead(64, 32, hidden_dim=512, bottleneck_dim=256)
    for linear in (m for m in head.mlp.modules() if isinstance(m, nn.Linear)):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        assert not linear.bias.any()
    direction = head.state_dict()[
        DIRECTION
    ]  # torch's default for a linear layer: uniform up to 1 / sqrt(256)
    assert float(direction.abs().max()) == pytest.approx(1 / 16, rel=0.01)


def test_a_copy_is_a_head_of_its_own() -> None:
    head = small_head()
    twin = copy.deepcopy(head)
    x = torch.randn(3, 6)
    before = twin(x)
    assert torch.equal(before, head(x))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(1)
    assert torch.equal(twin(x), before)


def test_views_together_are_views_apart() -> None:
    head, x = small_head(), torch.randn(7, 6)
    np.testing.assert_allclose(head(x).detach(), torch.cat([head(x[:2]), head(x[2:])]).detach(), rtol=1e-5)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        small_head(0)


def batch_norm(x: oracle.Array, weight: oracle.Array, bias: oracle.Array) -> oracle.Array:
    """As in training: over the rows."""
    scaled = (x - x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).mean(0) + 1e-5)
    return np.asarray(scaled * weight + bias)


@pytest.mark.parametrize("widths", [(6, 4), (6, 8, 4), (6, 8, 9, 4)])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(("last_norm", "last_affine"), [(False, True), (True, True), (True, False)])
def test_an_mlp_is_its_formula(
    widths: tuple[int, ...], norm: bool, last_norm: bool, last_affine: bool
) -> None:
    torch.manual_seed(0)
    head = mlp_head(widths, norm=norm, last_norm=last_norm, last_affine=last_affine).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    modules, rows = iter(head), torch.randn(5, 6, dtype=torch.float64)
    x, count = rows.numpy(), len(widths) - 1
    for i in range(count):
        is_last, normed = i == count - 1, last_norm if i == count - 1 else norm
        linear = next(modules)
        assert isinstance(linear, nn.Linear)
        assert linear.weight.shape == (widths[i + 1], widths[i])
        assert (linear.bias is None) is normed  # the norm's own shift makes it useless
        x = x @ linear.weight.detach().numpy().T
        x = x if normed else x + linear.bias.detach().numpy()
        if normed:
            layer = next(modules)
            assert isinstance(layer, nn.BatchNorm1d)
            assert layer.affine is (last_affine or not is_last)
            ones = torch.ones(widths[i + 1])
            weight, bias = (layer.weight.detach(), layer.bias.detach()) if layer.affine else (ones, 0 * ones)
            x = batch_norm(x, weight.numpy(), bias.numpy())
        if not is_last:
            assert isinstance(next(modules), nn.ReLU)
            x = np.maximum(x, 0)
    assert next(modules, None) is None
    assert_close(head(rows), x)


def test_an_mlp_by_default_has_batch_norm_between_its_layers_alone() -> None:
    types = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [type(m) for m in mlp_head((6, 8, 4))] == types
    assert [type(m) for m in mlp_head((6, 8, 4), last_norm=True)] == [*types, nn.BatchNorm1d]
    assert all(m.affine for m in mlp_head((6, 8, 4), last_norm=True) if isinstance(m, nn.BatchNorm1d))
