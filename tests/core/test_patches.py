"""Where patches may lie, and patches without colour and contrast."""

import torch

from sslkit.core.patches import draw_pairs, standardized, uniform_outside


def test_outside_of_a_box_at_any_edge() -> None:
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(1000, 3, generator=generator, dtype=torch.float64)
    room = torch.full((1000,), 0.8, dtype=torch.float64)
    boxes = [((-0.2, 0.1), (0.5, 0.3)), ((0.2, -1.0), (0.9, 2.0)), ((0.0, 0.0), (0.8, 0.8))]
    beside = [((0.1, 0.9), (0.3, 1.2)), ((0.1, -0.9), (0.3, -0.2)), ((0.9, 0.1), (1.2, 0.3))]
    for low, high in boxes + beside:
        bounds = [torch.tensor(x, dtype=torch.float64).expand(1000, 2) for x in (low, high)]
        point = uniform_outside(u, room, *bounds)
        assert ((point >= 0) & (point <= 0.8)).all()
        assert not ((point > bounds[0] + 1e-8) & (point < bounds[1] - 1e-8)).all(1).any()
    edge = uniform_outside(u, room, *(torch.full((1000, 2), x, dtype=torch.float64) for x in (0.0, 0.8)))
    assert ((edge == 0) | (edge == 0.8)).any(1).all()
    for value in (0.0, 0.8):
        for axis in (0, 1):
            assert 0.15 < float((edge[:, axis] == value).double().mean()) < 0.35  # each edge a quarter


def test_pairs_are_the_seeds() -> None:
    first, again, other = (draw_pairs(50, scale=(0.2, 0.3), gap=0.5, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (2, 50, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_flat_patch_is_not_blown_up() -> None:
    noise = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    strong, faint = standardized(noise * 7 - 3, flat=0.01), standardized(noise * 1e-4, flat=0.01)
    torch.testing.assert_close(strong.square().mean((-2, -1)), torch.ones(2, 3))
    assert faint.abs().max() < 0.02
    assert not standardized(torch.full((1, 1, 8, 8), 0.5), flat=0.01).any()
