"""Health of features against the papers' formulas, at the corners, and as an evaluator."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from image_sets import Pictures, context_for
from oracles import health as oracle
from tolerances import assert_close
from torch import Tensor, nn

from sslkit.augment.config import MultiCropConfig, PatchesConfig
from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.errors import RecipeError
from sslkit.eval import health
from sslkit.eval.health import (
    Health,
    HealthConfig,
    alignment,
    alpha_req,
    dead_dimensions,
    feature_std,
    rankme,
    uniformity,
)
from sslkit.eval.health_intervals import GROUPS, groups_of, jackknife
from sslkit.eval.health_views import view_features
from sslkit.nn.pocket import vit_pocket
from sslkit.recipe.schema import Component, Recipe

DTYPES = (torch.float64, torch.float32)


def features(n: int, dims: int, rank: int | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(n * dims)
    x = torch.randn(n, dims, dtype=torch.float64) if rank is None else low_rank(n, dims, rank)
    return (x * torch.linspace(0.2, 3, dims) + 0.5 * (rank is None)).to(dtype)


def low_rank(n: int, dims: int, rank: int) -> Tensor:
    return torch.randn(n, rank, dtype=torch.float64) @ torch.randn(rank, dims, dtype=torch.float64)


# --- RankMe


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "dims"), [(50, 8), (8, 50), (12, 12), (1, 5)])
def test_rankme_is_the_papers(n: int, dims: int, dtype: torch.dtype) -> None:
    x = features(n, dims, dtype=dtype)
    got = rankme(x)
    assert got.dtype == dtype
    assert_close(got, oracle.rankme(x.double().numpy()), tolerance=(1e-7, 0))


def test_rankme_of_few_directions_is_exact_in_float32_too() -> None:
    """374 dead dimensions, whose shares of 1e-7 are below float32's noise."""
    x = features(500, 384, rank=10)
    wanted = torch.linalg.svdvals(x)[:10] / torch.linalg.svdvals(x)[:10].sum()
    expected = oracle.effective_rank([*wanted.tolist(), *[0.0] * 374])
    assert_close(rankme(x), expected, tolerance=(1e-9, 0))
    assert_close(rankme(x.float()), expected, tolerance=(2e-5, 0))


@pytest.mark.parametrize("x", [torch.zeros(6, 4), torch.ones(6, 4), torch.randn(1, 4)])
def test_rankme_of_one_line_is_one(x: Tensor) -> None:
    assert float(rankme(x)) == pytest.approx(1, abs=1e-5)


def test_rankme_neither_centres_nor_squares() -> None:
    x = torch.eye(4, dtype=torch.float64) * torch.tensor([8.0, 4.0, 2.0, 2.0])
    shares = [0.5, 0.25, 0.125, 0.125]
    assert float(rankme(x)) == pytest.approx(oracle.effective_rank(shares))


def test_rankme_has_a_gradient() -> None:
    assert torch.autograd.gradcheck(rankme, features(6, 4).requires_grad_())


# --- alignment, uniformity


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [1, 2, 3.5])
def test_alignment_is_the_papers(power: float, dtype: torch.dtype) -> None:
    x, y = features(20, 5, dtype=dtype), features(20, 6, dtype=dtype)[:, :5]
    x[3], y[3], y[4] = 0, 0, x[4]
    got = alignment(x, y, power)
    assert got.dtype == dtype
    assert_close(got, oracle.alignment(x.double().numpy(), y.double().numpy(), power))


def test_alignment_looks_at_directions_alone() -> None:
    x = features(20, 5)
    assert float(alignment(x, 7 * x)) == pytest.approx(0, abs=1e-12)
    assert float(alignment(x, -x)) == pytest.approx(4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 3, 7, 2048])
@pytest.mark.parametrize("t", [0.5, 2])
def test_uniformity_is_the_papers(
    t: float, block: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "BLOCK", block)
    x = features(22, 5, dtype=dtype)
    x[3], x[4] = 0, x[5]  # a zero vector, and two images alike
    got = uniformity(x, t)
    assert got.dtype == dtype
    assert_close(got, oracle.uniformity(x.double().numpy(), t))


def test_uniformity_leaves_out_pairs_of_an_image_with_itself() -> None:
    assert float(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))) == pytest.approx(-8)


def test_uniformity_at_the_corners() -> None:
    assert float(uniformity(torch.ones(9, 3))) == pytest.approx(0, abs=1e-6)
    assert math.isnan(float(uniformity(torch.ones(1, 3))))
    assert float(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), t=1e4)) == pytest.approx(-4e4)


def test_both_have_a_gradient() -> None:
    x, y = features(7, 4).requires_grad_(), features(7, 5)[:, :4]
    assert torch.autograd.gradcheck(lambda a: alignment(a, y), x)
    assert torch.autograd.gradcheck(uniformity, x)


# --- the others


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "dims"), [(300, 20), (300, 130)])
def test_alpha_is_the_papers(n: int, dims: int, dtype: torch.dtype) -> None:
    x = features(n, dims, dtype=dtype)
    got = alpha_req(x)
    assert got.dtype == dtype
    assert_close(got, oracle.alpha(x.double().numpy(), 11, 100), tolerance=(1e-6, 0))


def test_alpha_finds_the_power() -> None:
    directions = torch.linalg.qr(torch.randn(400, 120, dtype=torch.float64)).Q
    directions = torch.linalg.qr(directions - directions.mean(0)).Q
    x = directions * torch.arange(1, 121) ** -0.65 + 3.0
    assert float(alpha_req(x)) == pytest.approx(1.3)


@pytest.mark.parametrize(
    "x", [torch.ones(50, 30), torch.randn(9, 30), torch.randn(50, 11), torch.zeros(1, 30)]
)
def test_alpha_of_too_few_components_is_not_a_number(x: Tensor) -> None:
    assert math.isnan(float(alpha_req(x)))


def test_spread_and_dead_dimensions() -> None:
    x = features(500, 16) - 0.5
    assert float(dead_dimensions(x)) == 0
    x[:, :4] = 7
    assert float(dead_dimensions(x)) == 0.25
    assert float(dead_dimensions(torch.ones(5, 4))) == float(dead_dimensions(torch.zeros(5, 4))) == 1
    assert float(feature_std(torch.randn(4000, 16))) == pytest.approx(1, abs=0.02)
    assert float(feature_std(torch.ones(5, 4))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("function", [rankme, uniformity, alpha_req, feature_std, dead_dimensions])
def test_features_are_a_matrix(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match=r"features \[N, D\], got \[2, 3, 4\]"):
        function(torch.zeros(2, 3, 4))


# --- intervals


def test_jackknife_of_a_mean_is_the_textbooks() -> None:
    """Groups of one: the standard error of the mean, with n - 1 degrees of freedom."""
    x = torch.tensor([1.0, 4.0, 2.0, 8.0, 5.0], dtype=torch.float64)
    found = jackknife(lambda rows: float(x[rows].mean()), 5)
    reach = 2.7764451 * float(x.std()) / math.sqrt(5)
    assert (found.value, found.count) == (4.0, 5)
    assert (found.low, found.high) == pytest.approx((4 - reach, 4 + reach))


def test_groups_share_the_images_out() -> None:
    counts = groups_of(205).bincount()
    assert len(counts) == GROUPS
    assert counts.min() >= 10
    assert counts.max() <= 11


def of_rows(x: Tensor, rows: Tensor) -> float:
    return float(rankme(x[rows]))


@pytest.mark.slow
def test_jackknife_of_rankme_covers_where_the_bootstrap_does_not() -> None:
    """Of 60 sets of 300 images, how often the interval holds the mean number of such sets."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.arange(1, 33, dtype=torch.float64) ** -0.5
    sets = torch.randn(300, 300, 32, generator=generator, dtype=torch.float64) * scale
    truth = sum(float(rankme(x)) for x in sets) / len(sets)
    found = [jackknife(partial(of_rows, x), 300) for x in sets[:60]]
    assert sum(e.low <= truth <= e.high for e in found) >= 52


# --- the evaluator


def small(dims: int = 16) -> Backbone:
    torch.manual_seed(0)
    return vit_pocket(channels=3, image_size=12, drop_path_rate=0.0, embed_dim=dims, depth=1, num_heads=2)


def asked(pixels: Tensor, net: Backbone, tmp_path: Path, *, name: str = "multicrop", **keys: int) -> Result:
    pictures, subject = Pictures(pixels), Subject(net)
    context = context_for(subject, tmp_path)
    context.recipe = small_recipe(name)
    return Health(HealthConfig(**keys))(subject, EvalData(pictures, pictures), context)


def small_recipe(name: str) -> Recipe:
    """With views of 12 px."""
    config = MultiCropConfig(global_size=12, local_count=0) if name == "multicrop" else PatchesConfig(size=12)
    return replace(Recipe(), augment=Component(name, config))


def test_numbers_of_a_real_network(tmp_path: Path) -> None:
    images, net = torch.randn(60, 3, 24, 24), small().train()
    found = asked(images, net, tmp_path)
    assert net.training
    with torch.no_grad():
        x = net.eval()(images)
    assert found.metrics["rankme"] == pytest.approx(float(rankme(x)), rel=1e-4)
    assert found.metrics["uniformity"] == pytest.approx(float(uniformity(x)), rel=1e-3)
    assert 0 < found.metrics["alignment"] < 4
    assert found.figures["health"].stat().st_size > 10_000
    assert all(low <= found.metrics[name] <= high for name, (low, high) in found.intervals.items())
    assert set(found.counts.values()) == {60}
    assert found == asked(images, net, tmp_path)


def test_views_are_the_recipes_own(tmp_path: Path) -> None:
    """Images of one grey: every crop is the same, the operations are not."""
    grey = torch.linspace(-1, 1, 40)[:, None, None, None].expand(-1, 3, 24, 24)
    recipe = small_recipe("multicrop")
    assert isinstance(recipe.augment.config, MultiCropConfig)
    for key in ("color_jitter", "grayscale", "solarize"):
        setattr(recipe.augment.config, key, replace(getattr(recipe.augment.config, key), p=0.0))
    still = views_of(grey, recipe, tmp_path)
    assert_close(still[:, 0], still[:, 1], tolerance=(1e-3, 1e-3))
    changed = views_of(grey, small_recipe("multicrop"), tmp_path)
    assert not torch.allclose(changed[:, 0], changed[:, 1], atol=1e-2)


def test_views_do_not_depend_on_how_they_are_batched(tmp_path: Path) -> None:
    """Six views are the first four and two more, of patches too, which come by three."""
    for name in ("multicrop", "patches"):
        images = torch.randn(24, 3, 24, 24)
        four, six = (views_of(images, small_recipe(name), tmp_path, count) for count in (4, 6))
        assert six.shape == (24, 6, 16)
        assert_close(six[:, :4], four, tolerance=(1e-4, 1e-5))


def views_of(images: Tensor, recipe: Recipe, tmp_path: Path, count: int = 2) -> Tensor:
    context = context_for(Subject(small()), tmp_path)
    context.recipe = recipe
    return view_features(context.subject.backbone, Pictures(images), count, context)


def test_a_network_without_an_answer_is_dead(tmp_path: Path) -> None:
    net = small()
    nn.init.zeros_(net.network.get_parameter("norm.weight"))
    nn.init.ones_(net.network.get_parameter("norm.bias"))
    found = asked(torch.randn(40, 3, 24, 24), net, tmp_path).metrics
    assert found["dead_dimensions"] == 1
    assert found["rankme"] == pytest.approx(1, abs=1e-3)
    assert found["uniformity"] == pytest.approx(0, abs=1e-4)
    assert found["alignment"] == pytest.approx(0, abs=1e-4)
    assert math.isnan(found["alpha_req"])


def test_too_few_images_are_said_so(tmp_path: Path) -> None:
    found = asked(torch.randn(19, 3, 24, 24), small(), tmp_path)
    assert found.metrics == {}
    assert found.notes == ("it needs 20 held-out images, of which there are 19",)


def test_at_most_so_many_images(tmp_path: Path) -> None:
    images = torch.randn(60, 3, 24, 24)
    found = asked(images, small(), tmp_path, images=30)
    assert set(found.counts.values()) == {30}
    assert found.metrics["rankme"] == asked(images[::2], small(), tmp_path).metrics["rankme"]


@pytest.mark.parametrize("keys", [{"images": 19}, {"views": 3}, {"views": 0}])
def test_impossible_values(keys: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match=next(iter(keys))):
        HealthConfig(**keys)
