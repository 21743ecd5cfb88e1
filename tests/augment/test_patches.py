"""Patches: the gap is kept, A and B are alike but for the image, draws depend on the seed alone."""

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp, kstest
from torch import Tensor

from sslkit.augment.config import (
    BlurConfig,
    ColorJitterConfig,
    FlipConfig,
    GrayscaleConfig,
    PatchesConfig,
    SolarizeConfig,
)
from sslkit.augment.crop import canvas_boxes
from sslkit.augment.patches import (
    Patches,
    PatchesParams,
    neighbours,
    patch_boxes,
)
from sslkit.core.augmentation import ImageFormat
from sslkit.core.patches import draw_pairs
from sslkit.core.randomness import seeded
from sslkit.errors import RecipeError
from sslkit.plugins import Registry

FORMAT = ImageFormat(3, (0.45, 0.4, 0.5), (0.25, 0.2, 0.3))
BUSY = PatchesConfig(size=12, blur=BlurConfig(p=0.5), solarize=SolarizeConfig(p=0.5))
BARE = PatchesConfig(
    size=12,
    flip=FlipConfig(p=0),
    color_jitter=ColorJitterConfig(p=0),
    grayscale=GrayscaleConfig(p=0),
)
SIZES = torch.tensor([[300, 400], [50, 50], [40, 500], [77, 31]])
GAPS = [(0.5, [0.2, 0.4]), (0.0, [0.5, 0.5]), (-0.5, [0.1, 0.6]), (1.0, [0.05, 1 / 3]), (-1.0, [0.3, 1.0])]


def images(n: int = 8, side: int = 60) -> tuple[Tensor, Tensor]:
    """Canvases and sizes of all proportions."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 20, 20, generator=generator)
    canvas = (torch.nn.functional.interpolate(coarse, (side, side)) * 255).byte()
    return canvas, SIZES.repeat(n // 4 + 1, 1)[:n]


def drawn(config: PatchesConfig, n: int = 4000) -> tuple[Tensor, Tensor, Tensor]:
    """Places [n, 4] of anchor, A and view 2."""
    anchor, a, b = draw_seeded(Patches(config, FORMAT), n).places
    return anchor, a, b


def draw_seeded(augmentation: Patches, n: int = 8) -> PatchesParams:
    with seeded("test"):
        return augmentation.draw(n)


def separation(first: Tensor, second: Tensor) -> Tensor:
    """Pixels between two boxes (top, left, height, width) across or down, the larger, [n]."""
    after = second[:, :2] - first[:, :2] - first[:, 2:]
    before = first[:, :2] - second[:, :2] - second[:, 2:]
    return torch.maximum(after, before).amax(1)


@pytest.mark.parametrize(("gap", "scale"), GAPS)
@pytest.mark.parametrize("size", SIZES.tolist())
def test_the_gap_is_kept_inside_the_image(gap: float, scale: list[float], size: list[int]) -> None:
    anchor, a, b = drawn(replace(BARE, gap=gap, scale=scale))
    sizes = torch.tensor(size).expand(len(a), 2)
    first, second, third = (patch_boxes(places, sizes) for places in (anchor, a, b))
    for boxes in (first, second, third):
        assert (boxes[:, :2] >= -1e-6).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= sizes + 1e-6).all()
        assert torch.equal(boxes[:, 2], boxes[:, 3])
        shares = boxes[:, 2] / min(size)
        assert ((shares >= scale[0] - 1e-6) & (shares <= scale[1] + 1e-6)).all()
    distance = separation(first, second) / torch.maximum(first[:, 2], second[:, 2])
    assert distance.min() >= gap - 1e-6
    assert distance.min() < gap + 0.05  # and no more than was asked for
    assert separation(first, third).min() < gap * first[:, 2].max() or gap == -1  # B keeps none


def test_patches_share_no_pixel_of_the_canvas() -> None:
    """Even without a gap, though a canvas has far fewer pixels than its image (but a few for a patch)."""
    anchor, a, _ = drawn(replace(BARE, gap=0.0, scale=[0.2, 0.5]))
    for size in SIZES[[0, 1, 3]]:
        sizes = size.expand(len(a), 2)
        first, second = (canvas_boxes(patch_boxes(places, sizes), sizes, 40) for places in (anchor, a))
        overlap = (first[:, :2] < second[:, 2:]).all(1) & (second[:, :2] < first[:, 2:]).all(1)
        assert not overlap.any()


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_at_the_same_place_b_lies_where_the_neighbours_a_lies(n: int) -> None:
    _, a, b = drawn(BARE, n)
    for i in range(n):
        j = min(i ^ 1, n - 1)
        assert torch.equal(b[j], a[i])  # of odd batches the last is its own neighbour
    if n % 2 == 0:
        assert not (b == a).all(1).any()
    assert neighbours(n).tolist() == [min(i ^ 1, n - 1) for i in range(n)]


def test_elsewhere_b_lies_apart_from_everything() -> None:
    anchor, a, b = drawn(replace(BARE, same_place=False), 20_000)
    for other in (anchor, a, a[neighbours(len(a))]):
        for column in range(4):
            correlation = torch.corrcoef(torch.stack([b[:, column], other[:, column]]))[0, 1]
            assert abs(float(correlation)) < 5 / math.sqrt(len(b))
    same_anchor, same_a, _ = drawn(BARE, 20_000)
    assert torch.equal(anchor, same_anchor)
    assert torch.equal(a, same_a)


@pytest.mark.parametrize("same_place", [True, False])
@pytest.mark.parametrize(("gap", "scale"), GAPS)
def test_a_and_b_have_one_distribution(same_place: bool, gap: float, scale: list[float]) -> None:
    _, a, b = drawn(replace(BARE, gap=gap, scale=scale, same_place=same_place), 20_000)
    some, others = a[::2], b[::2]  # B of even rows is not A of even rows
    for column in range(4):
        assert ks_2samp(some[:, column], others[:, column]).pvalue > 1e-3
    distance = [(places[:, 1:3] + places[:, 3:] / 2 - 0.5).abs().amax(1) for places in (some, others)]
    assert ks_2samp(*distance).pvalue > 1e-3


def test_places_are_uniform_over_what_the_gap_leaves() -> None:
    """Against rejection: pairs of the same sides, thrown until they fit."""
    config = replace(BARE, gap=0.25, scale=[0.3, 0.3])
    anchor, a, _ = drawn(config, 20_000)
    generator = torch.Generator().manual_seed(1)
    tried = 0.7 * torch.rand(2, 100_000, 2, generator=generator, dtype=torch.float64)
    room = ((tried[0] >= 0.375) | (tried[0] <= 0.325)).any(1)
    fits = room & ((tried[0] - tried[1]).abs() >= 0.375).any(1)
    # A's place for anchors within a small cell, as thrown and as drawn
    for cell in ((0.0, 0.0), (0.3, 0.0), (0.55, 0.55)):
        low = torch.tensor(cell, dtype=torch.float64)
        thrown = tried[1][fits & ((tried[0] >= low) & (tried[0] < low + 0.1)).all(1)]
        got = a[((anchor[:, 1:3] >= low) & (anchor[:, 1:3] < low + 0.1)).all(1), 1:3]
        for column in (0, 1):
            assert ks_2samp(thrown[:, column], got[:, column]).pvalue > 1e-3
        assert ks_2samp(thrown.sum(1), got.sum(1)).pvalue > 1e-3
    for column in (1, 2):
        assert ks_2samp(tried[0][room, column - 1], anchor[:, column]).pvalue > 1e-3


def test_without_a_gap_to_keep_all_places_and_sides_are_uniform() -> None:
    for places in drawn(replace(BARE, gap=-1.0, scale=[0.3, 0.5]), 20_000):
        assert kstest((places[:, 3] - 0.3) / 0.2, "uniform").pvalue > 1e-3
        assert kstest(places[:, 0], "uniform").pvalue > 1e-3
        for column in (1, 2):
            assert kstest(places[:, column] / (1 - places[:, 3]), "uniform").pvalue > 1e-3


def test_a_patch_is_cut_where_its_place_says() -> None:
    """Rows and columns of the image as its colours; a patch of one pixel has the mean of its box."""
    side, n = 200, 40
    ramp = torch.arange(side, dtype=torch.uint8)
    canvas = torch.stack([ramp[:, None].expand(side, side), ramp.expand(side, side)])  # [2, S, S]
    plain = replace(BARE, size=1)
    augmentation = Patches(plain, ImageFormat(2, (0.0,) * 2, (1 / 255,) * 2))
    for size in SIZES:
        with seeded("test"):
            params = augmentation.draw(n)
        sizes = size.expand(n, 2)
        views = augmentation.apply(canvas.expand(n, -1, -1, -1), sizes, params).global_views
        for view, places in zip(views, params.places, strict=True):
            boxes = patch_boxes(places, sizes)
            middle = (boxes[:, :2] + boxes[:, 2:] / 2) / sizes * side - 0.5  # [n, 2]
            assert (view.flatten(1) - middle).abs().max() < 1.0


def test_shapes_and_type() -> None:
    augmentation = Patches(BUSY, FORMAT)
    views = augmentation.apply(*images(), augmentation.draw(8))
    assert views.global_views.shape == (3, 8, 3, 12, 12)
    assert views.global_views.dtype == torch.float32
    assert views.local_views is None
    assert augmentation.image_size == 12
    assert augmentation.view_sizes == (12,)
    assert augmentation.canvas_size == 60  # 12 / .2


@pytest.mark.parametrize("same_place", [True, False])
@pytest.mark.parametrize("count", [4, 2, 1, 3])
def test_rows_of_the_batch_are_the_batch_of_the_rows(count: int, same_place: bool) -> None:
    augmentation = Patches(replace(BUSY, same_place=same_place), FORMAT)
    canvas, size = images()
    params = augmentation.draw(8)
    whole = augmentation.apply(canvas, size, params).global_views
    parts = [slice(i, i + count) for i in range(0, 8, count)]
    split = [augmentation.apply(canvas[p], size[p], params.rows(p)).global_views for p in parts]
    if torch.get_num_threads() == 1:
        assert torch.equal(torch.cat(split, 1), whole)
    torch.testing.assert_close(torch.cat(split, 1), whole, atol=5e-6, rtol=0)


def test_draws_depend_on_the_seed_and_on_n_alone() -> None:
    first, second = Patches(BUSY, FORMAT), Patches(BUSY, FORMAT)
    second.draw(4)  # anything before
    with seeded("test"):
        wanted = second.apply(*images(), second.draw(8)).global_views
    with seeded("test"):
        before = torch.get_rng_state()
        params = first.draw(8)
        state = torch.get_rng_state()
        assert not torch.equal(state, before)  # the next draw is another one
        views = first.apply(*images(), params).global_views
        assert torch.equal(torch.get_rng_state(), state)  # applying draws nothing
    assert torch.equal(views, wanted)
    assert torch.equal(first.apply(*images(), params).global_views, wanted)
    with seeded("test"):
        Patches(BARE, FORMAT).draw(3)
        assert torch.equal(torch.get_rng_state(), state)  # one draw, whatever the operations
    with seeded("another"):
        assert not torch.equal(first.apply(*images(), first.draw(8)).global_views, wanted)


@pytest.mark.parametrize("key", ["flip", "color_jitter", "grayscale", "blur", "solarize"])
def test_switching_an_operation_off_leaves_all_other_draws(key: str) -> None:
    off = replace(BUSY, **{key: replace(getattr(BUSY, key), p=0.0)})
    augmentation, without = Patches(BUSY, FORMAT), Patches(off, FORMAT)
    more = draw_seeded(augmentation)
    fewer = draw_seeded(without)
    assert torch.equal(more.places, fewer.places)
    names, names_off = ([o.name for o in each._operations] for each in (augmentation, without))
    assert [name for name in names if name != key] == names_off
    for view, view_off in zip(more.views, fewer.views, strict=True):
        kept = dict(zip(names, view, strict=True))
        for name, values in zip(names_off, view_off, strict=True):
            assert all(torch.equal(kept[name].values[k], v) for k, v in values.values.items())
    views = augmentation.apply(*images(), more).global_views
    assert not torch.equal(views, without.apply(*images(), fewer).global_views)


def test_each_view_is_changed_by_itself() -> None:
    views = draw_seeded(Patches(BUSY, FORMAT), 400).views
    flips = [view[0].values["batch_prob"] for view in views]
    for i, flip in enumerate(flips):
        assert 0.4 < float(flip.mean()) < 0.6
        for other in flips[:i]:
            assert 0.4 < float((flip == other).float().mean()) < 0.6


def test_bare_patches_are_normalised() -> None:
    white = torch.full((4, 3, 51, 51), 255, dtype=torch.uint8)
    augmentation = Patches(BARE, ImageFormat(3, (0.1, 0.2, 0.3), (0.5, 0.4, 0.2)))
    views = augmentation.apply(white, torch.full((4, 2), 51), augmentation.draw(4))
    wanted = torch.tensor([0.9 / 0.5, 0.8 / 0.4, 0.7 / 0.2]).view(3, 1, 1)
    torch.testing.assert_close(views.global_views, wanted.expand(3, 4, 3, 12, 12))


def test_a_standardised_patch_has_neither_colour_nor_contrast() -> None:
    noise = images()[0] // 2 + 60  # far from black and white, where resampling clamps
    tinted = (noise * torch.tensor([0.6, 0.9, 0.5]).view(3, 1, 1) + 20).byte()  # [8, 3, S, S]
    augmentation = Patches(replace(BARE, standardize=True), FORMAT)
    params = draw_seeded(augmentation)
    views = augmentation.apply(tinted, images()[1], params).global_views
    torch.testing.assert_close(views.mean((-2, -1)), torch.zeros(3, 8, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(views.std((-2, -1), unbiased=False), torch.ones(3, 8, 3))
    plain = augmentation.apply(noise, images()[1], params).global_views
    assert (plain - views).abs().max() < 0.1  # the rounding of the tint


def test_kornias_resampling_can_be_chosen() -> None:
    views = []
    for way in ("antialias", "kornia"):
        augmentation = Patches(replace(BARE, resample=way), FORMAT)
        with seeded("test"):
            views.append(augmentation.apply(*images(), augmentation.draw(8)).global_views)
    assert not torch.equal(*views)
    assert (views[0] - views[1]).abs().mean() < 0.5  # the same places


def test_moving_it_leaves_the_draws_on_the_cpu() -> None:
    augmentation = Patches(BUSY, FORMAT).to("meta").to(torch.bfloat16)
    params = draw_seeded(augmentation, 4)
    assert params.places.device.type == "cpu"
    assert all(x.device.type == "cpu" for view in params.views for d in view for x in d.values.values())
    views = augmentation.apply(*images(4), params)
    assert views.global_views.dtype == torch.float32
    assert not augmentation.state_dict()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 0),
        ("gap", -1.1),
        ("gap", float("inf")),
        ("scale", [0.0, 0.3]),
        ("scale", [0.3, 0.2]),
        ("scale", [0.3]),
        ("resample", "bilinear"),
    ],
)
def test_an_impossible_value_is_refused_by_its_key(key: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=f"'{key}' is .* but must be"):
        PatchesConfig(**{key: value})


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("flip", FlipConfig(p=[0.5, 0.5, 0.0])),
        ("color_jitter", ColorJitterConfig(p=[0.8, 0.8, 0.8])),
        ("grayscale", GrayscaleConfig(p=[0, 0, 1])),
        ("blur", BlurConfig()),
        ("solarize", SolarizeConfig()),
    ],
)
def test_what_would_tell_a_from_b_is_refused(key: str, part: Any) -> None:
    with pytest.raises(RecipeError, match=rf"'{key}\.p' is \[.* one number .* would tell A from B"):
        PatchesConfig(**{key: part})


@pytest.mark.parametrize(("gap", "scale"), GAPS)
def test_patches_without_room_are_refused_with_what_would_fit(gap: float, scale: list[float]) -> None:
    PatchesConfig(gap=gap, scale=scale)
    if gap == -1:
        return
    with pytest.raises(RecipeError, match="'scale' is") as caught:
        PatchesConfig(gap=gap, scale=[0.04, scale[1] + 0.3 if gap >= 0 else 0.9])
    words = str(caught.value)
    largest = float(words.split("must end at ")[1].split()[0])
    widest = float(words.split("a gap of ")[1].split()[0])
    assert largest == pytest.approx(1 / (2 + gap), abs=1e-4)
    PatchesConfig(gap=gap, scale=[0.04, largest])
    PatchesConfig(gap=widest, scale=[0.04, scale[1] + 0.3 if gap >= 0 else 0.9])
    assert draw_pairs(50, gap=gap, scale=[largest, largest], seed=0).isfinite().all()


def test_operations_on_colours_refuse_other_channels() -> None:
    with pytest.raises(RecipeError, match=r"'augment\.color_jitter' needs images of 3 channels"):
        Patches(BUSY, ImageFormat(1, (0.5,), (0.25,)))
    with pytest.raises(RecipeError, match=r"'augment\.grayscale' needs"):
        Patches(replace(BUSY, color_jitter=ColorJitterConfig(p=0)), ImageFormat(1, (0.5,), (0.25,)))
    Patches(BARE, ImageFormat(5, (0.5,) * 5, (0.25,) * 5))


def test_it_is_found_by_its_name() -> None:
    assert Registry.load().get("augmentations", "patches") is Patches


def test_learning_its_name_imports_no_kornia() -> None:
    code = "import sys, sslkit.augment.patches; sys.exit('kornia' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
