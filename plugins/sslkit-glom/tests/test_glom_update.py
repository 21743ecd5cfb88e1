"""The update against an oracle that goes from place to place and from level to level, in float64."""

# L levels, B images, N places, D features

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from sslkit_glom.backbone import Glom
from sslkit_glom.columns import Columns
from sslkit_glom.update import attention_weights, consensus, next_states, places_seen

Array = npt.NDArray[np.float64]


def oracle_norm(x: Array) -> Array:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def oracle_net(nets: torch.nn.Module, number: int, x: Array, beside: Array | None = None) -> Array:
    """Norm, linear, GELU, linear, of one net at one place."""
    weights = [getattr(nets, layer).weight[number].numpy() for layer in ("first", "second")]
    biases = [getattr(nets, layer).bias[number, 0].numpy() for layer in ("first", "second")]
    given = oracle_norm(x) if beside is None else np.concatenate([oracle_norm(x), beside])
    hidden = given @ weights[0] + biases[0]
    hidden = np.array([h * 0.5 * (1 + math.erf(h / math.sqrt(2))) for h in hidden])
    return np.asarray(hidden @ weights[1] + biases[1])


def oracle_position(row: int, column: int, grid: tuple[int, int], frequencies: int) -> Array:
    told = []
    for index, count in ((row, grid[0]), (column, grid[1])):
        at = (2 * index + 1) / count - 1
        turns = [at * math.pi / 2 * 2**f for f in range(frequencies)]
        told += [math.sin(t) for t in turns] + [math.cos(t) for t in turns]
    return np.array(told)


def oracle_consensus(
    states: Array, place: int, grid: tuple[int, int], radius: float | None, own: bool, temperature: float
) -> Array:
    """What a place hears of one level of the others, [N, D] -> [D]."""
    columns = grid[1]
    heard, weights = [], []
    for other in range(len(states)):
        away = math.hypot(place // columns - other // columns, place % columns - other % columns)
        if (other == place and not own) or (radius is not None and away > radius):
            continue
        x, y = states[place], states[other]
        weights.append(math.exp(x @ y / math.sqrt(x @ x) / math.sqrt(y @ y) / temperature))
        heard.append(y)
    return np.asarray(sum(w * y for w, y in zip(weights, heard, strict=True)) / sum(weights))


def oracle(network: Columns, image: Tensor, missing: set[int]) -> Array:
    """All levels of one image [C, H, W] after the last step: [L, N, D]."""
    s, p = network.shape, network.shape.patch_size
    grid = (image.shape[1] // p, image.shape[2] // p)
    kernel, bias = network.embed.weight.numpy(), network.embed.bias.numpy()  # type: ignore[union-attr]
    places = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
    seen = [image[:, r * p : r * p + p, c * p : c * p + p].numpy() for r, c in places]
    embedded = [np.array([(k * x).sum() for k in kernel]) + bias for x in seen]
    states = np.stack([network.initial.numpy()] * len(places), 1)  # [L, N, D]
    for _ in range(s.steps):
        after = np.zeros_like(states)
        for level in range(s.levels):
            for place in range(len(places)):
                said = [states[level, place]]
                below = states[level - 1, place] if level else embedded[place]
                if level or place not in missing:
                    said.append(oracle_net(network.bottom_up, level, below))
                if level + 1 < s.levels:
                    where = oracle_position(*places[place], grid, s.frequencies)
                    said.append(oracle_net(network.top_down, level, states[level + 1, place], where))
                own, radius = s.attend_self, s.radii[level]
                said.append(oracle_consensus(states[level], place, grid, radius, own, s.temperatures[level]))
                after[level, place] = np.mean(said, 0)
        states = after
    return states


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((12, 12), {}),
        ((8, 16), {"radius": 1.5, "attend_self": True, "channels": 1}),
        ((12, 8), {"radius": [1, 1.5, None], "frequencies": 0, "temperature": [0.5, 0.2, 1], "steps": 3}),
    ],
)
def test_the_settled_states_are_the_oracles(size: tuple[int, int], options: dict[str, object]) -> None:
    torch.manual_seed(0)
    args: dict[str, object] = {"channels": 3, "levels": 3, "dim": 5, "patch_size": 4, "steps": 4} | options
    backbone = Glom(image_size=12, **args).double().requires_grad_(False)  # type: ignore[arg-type]
    images = torch.randn(2, backbone.network.shape.channels, *size, dtype=torch.float64)
    missing = torch.zeros(2, size[0] * size[1] // 16, dtype=torch.bool)
    missing[1, [0, 2]] = True
    got = backbone.network.settled(images, missing)  # [L, B, N, D]
    for number, image in enumerate(images):
        wanted = oracle(backbone.network, image, set(missing[number].nonzero()[:, 0].tolist()))
        np.testing.assert_allclose(got[:, number], wanted, rtol=1e-9, atol=1e-12)


def test_weights_sum_to_one_and_leave_out_the_unseen() -> None:
    states, seen = torch.randn(2, 6, 4), places_seen((2, 3), radius=1)
    weights = attention_weights(states, seen, temperature=0.2)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6))
    assert (weights[:, ~seen] == 0).all()
    assert (weights[:, seen] > 0).all()


def test_consensus_is_the_weighted_mean() -> None:
    states, seen = torch.randn(3, 2, 6, 4, dtype=torch.float64), places_seen((2, 3))
    wanted = attention_weights(states, seen, temperature=0.3) @ states
    torch.testing.assert_close(consensus(states, seen, temperature=0.3), wanted)


def test_a_place_listens_to_its_likes() -> None:
    states = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    weights = attention_weights(states, places_seen((2, 2)), temperature=0.05)
    assert weights.argmax(-1).tolist() == [1, 0, 3, 2]
    even = attention_weights(states, places_seen((2, 2)), temperature=1e6)
    torch.testing.assert_close(even, (1 - torch.eye(4)) / 3, atol=1e-5, rtol=0)


def test_who_sees_whom() -> None:
    everywhere = places_seen((2, 2))
    assert torch.equal(everywhere, ~torch.eye(4, dtype=torch.bool))
    row = places_seen((1, 4), radius=1)
    assert row[1].tolist() == [True, False, True, False]
    assert places_seen((1, 4), radius=1, attend_self=True)[1].tolist() == [True, True, True, False]
    assert torch.equal(places_seen((2, 2), radius=0), torch.eye(4, dtype=torch.bool))  # nobody else in reach
    assert places_seen((1, 1)).item()


def test_what_is_said_is_averaged() -> None:
    states, bottom_up, agreed = (torch.full((2, 1, 2, 1), x) for x in (1.0, 2.0, 6.0))
    top_down = torch.full((1, 1, 2, 1), 7.0)
    got = next_states(states, bottom_up, top_down, agreed, torch.tensor([[False, True]]))
    assert got.flatten().tolist() == pytest.approx([16 / 4, 14 / 3, 9 / 3, 9 / 3])


def test_higher_levels_imagine_the_lowest_through_the_top_down_nets() -> None:
    backbone = Glom(channels=3, image_size=8, levels=3, dim=5).double().requires_grad_(False)
    nets, states = backbone.network.top_down, torch.randn(3, 1, 4, 5, dtype=torch.float64)
    got = backbone.network.imagined(states, (2, 2))
    for place in range(4):
        where = oracle_position(place // 2, place % 2, (2, 2), 4)
        second, third = (states[level, 0, place].numpy() for level in (1, 2))
        np.testing.assert_allclose(got[0, 0, place], oracle_net(nets, 0, second, where))
        from_third = oracle_net(nets, 0, oracle_net(nets, 1, third, where), where)
        np.testing.assert_allclose(got[1, 0, place], from_third)
