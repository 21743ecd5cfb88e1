"""Islands of states that were made with known islands; agreement; floors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sslkit_glom.agreement import agreement_anywhere, agreement_beside
from sslkit_glom.floors import kmeans_segments
from sslkit_glom.islands import connected_parts, find_islands
from sslkit_glom.measured import Images, floors
from sslkit_glom.networks import Level, as_pixels

MAP = np.array(
    [
        [0, 0, 0, 1, 1, 1],
        [0, 2, 2, 1, 1, 1],
        [0, 2, 2, 3, 3, 1],
        [0, 0, 0, 3, 3, 1],
    ]
)
"""Four islands on a grid of 4 x 6 places."""


def states_of(islands: np.ndarray, noise: float, dim: int = 16) -> torch.Tensor:
    """States [N, D]: one direction for each number, of any length, and noise."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    states = directions[torch.from_numpy(islands.ravel())]
    length = 0.5 + torch.rand(len(states), 1, generator=generator)
    return length * (states + noise * torch.randn(states.shape, generator=generator))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_known_islands_are_found(noise: float) -> None:
    found = find_islands(states_of(MAP, noise), MAP.shape, 0.5)
    assert np.array_equal(found.reshape(MAP.shape), MAP)


def test_the_threshold_says_what_is_one_island() -> None:
    angles = torch.tensor(
        [0.0, 10.0, 40.0, 50.0]
    ).deg2rad()  # cosines .98 within, .64 to .87 between, mean .76
    states = torch.stack([angles.cos(), angles.sin()], 1)
    for threshold, wanted in ((0.99, [0, 1, 2, 3]), (0.8, [0, 0, 1, 1]), (0.7, [0, 0, 0, 0])):
        assert find_islands(states, (1, 4), threshold).tolist() == wanted


def test_what_does_not_hang_together_is_two_islands() -> None:
    pattern = np.array([[5, 7, 5], [5, 7, 5], [7, 5, 7]])
    assert connected_parts(pattern.ravel(), (3, 3)).reshape(3, 3).tolist() == [
        [0, 1, 2],
        [0, 1, 2],
        [3, 4, 5],
    ]
    assert find_islands(states_of(pattern, 0.0), (3, 3), 0.5).max() == 5


def test_one_place_is_one_island() -> None:
    assert find_islands(torch.randn(1, 4), (1, 1), 0.5).tolist() == [0]


def test_agreement_is_the_mean_cosine() -> None:
    states, grid = torch.randn(2, 12, 5, dtype=torch.float64), (3, 4)
    cosine = F.cosine_similarity(states[:, :, None], states[:, None], dim=-1)  # [2, N, N]
    at = torch.cartesian_prod(torch.arange(3), torch.arange(4)).double()
    beside = torch.cdist(at, at) == 1
    off = ~torch.eye(12, dtype=torch.bool)
    torch.testing.assert_close(agreement_anywhere(states), cosine[:, off].mean(1))
    torch.testing.assert_close(agreement_beside(states, grid), cosine[:, beside].mean(1))


def test_the_threshold_lies_between_the_agreements() -> None:
    level = Level(states_of(MAP, 0.1)[None], MAP.shape)  # type: ignore[arg-type]
    anywhere, beside = level.anywhere.item(), level.beside.item()
    assert anywhere < level.threshold(0.3) < level.threshold(0.6) < beside
    assert level.threshold(0.5) == pytest.approx((anywhere + beside) / 2)
    assert np.array_equal(level.islands(0.5)[0].reshape(MAP.shape), MAP)


def test_islands_of_other_networks_grids_become_pixels() -> None:
    pixels = as_pixels(MAP.ravel(), MAP.shape, (8, 12))
    assert np.array_equal(pixels, np.kron(MAP, np.ones((2, 2), int)))


def test_kmeans_finds_patches_of_colour() -> None:
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    image = colours[torch.from_numpy(np.kron(MAP, np.ones((3, 3), int)))].permute(2, 0, 1)
    found = kmeans_segments(image, MAP.shape, 4).reshape(MAP.shape)
    assert len({*zip(found.ravel(), MAP.ravel(), strict=True)}) == 4
    grey = kmeans_segments(torch.zeros(3, 8, 8), (2, 2), 9)
    assert sorted(grey.tolist()) == [0, 1, 2, 3]


def test_without_masks_no_floor_is_computed() -> None:
    images = torch.zeros(1, 3, 8, 8)
    assert floors(Images(images, images, None), (2, 2), [0]) == {}  # k-means refuses no cluster
