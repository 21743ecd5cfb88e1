"""All of it: draws that depend on the seed alone, views that depend on the draws alone."""

import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.augment.build import build_augmentation, image_format
from sslkit.augment.config import (
    ColorJitterConfig,
    FlipConfig,
    GrayscaleConfig,
    MultiCropConfig,
    RotationConfig,
    SolarizeConfig,
)
from sslkit.augment.multicrop import MultiCrop, canvas_side_for
from sslkit.core.augmentation import ImageFormat
from sslkit.core.method import Views
from sslkit.core.randomness import seeded
from sslkit.errors import RecipeError
from sslkit.plugins import Registry
from sslkit.recipe.schema import Component, DataSection, Recipe

SMALL = MultiCropConfig(
    global_size=32,
    local_count=3,
    local_size=16,
    local_scale=[0.1, 0.4],
    rotation=RotationConfig(p=0.5, degrees=20),
    solarize=SolarizeConfig(p=0.5),
    extra=[{"name": "RandomErasing", "p": [0, 0.5, 0.5]}],
)
BARE = MultiCropConfig(
    global_size=32,
    local_count=2,
    local_size=16,
    local_scale=[0.1, 0.4],
    flip=FlipConfig(p=0),
    color_jitter=ColorJitterConfig(p=0),
    grayscale=GrayscaleConfig(p=0),
    solarize=SolarizeConfig(p=0),
)
BARE.blur.p = 0.0


def formats(channels: int = 3) -> ImageFormat:
    return ImageFormat(channels, (0.45,) * channels, (0.25,) * channels)


def images(n: int = 8, channels: int = 3, side: int = 50) -> tuple[Tensor, Tensor]:
    """Canvases and sizes of all proportions."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, channels, 8, 8, generator=generator)
    canvas = (torch.nn.functional.interpolate(coarse, (side, side)) * 255).byte()
    return canvas, torch.tensor([[300, 400], [50, 50], [40, 500], [77, 31]]).repeat(n // 4 + 1, 1)[:n]


def views_of(augmentation: MultiCrop, n: int = 8, **kwargs: Any) -> Views:
    canvas, size = images(n, **kwargs)
    with seeded("test"):
        params = augmentation.draw(n)
    return augmentation.apply(canvas, size, params)


def local_of(views: Views) -> Tensor:
    assert views.local_views is not None
    return views.local_views


def same(a: Views, b: Views) -> bool:
    return torch.equal(a.global_views, b.global_views) and torch.equal(local_of(a), local_of(b))


def test_shapes_and_type() -> None:
    augmentation = MultiCrop(SMALL, formats())
    views = views_of(augmentation)
    assert views.global_views.shape == (2, 8, 3, 32, 32)
    assert local_of(views).shape == (3, 8, 3, 16, 16)
    assert views.global_views.dtype == local_of(views).dtype == torch.float32
    assert augmentation.image_size == 32


@pytest.mark.parametrize("count", [4, 2, 1])
def test_rows_of_the_batch_are_the_batch_of_the_rows(count: int) -> None:
    augmentation = MultiCrop(SMALL, formats())
    canvas, size = images()
    params = augmentation.draw(8)
    whole = augmentation.apply(canvas, size, params)
    parts = [slice(i, i + count) for i in range(0, 8, count)]
    split = [augmentation.apply(canvas[part], size[part], params.rows(part)) for part in parts]
    for got, wanted in (
        (torch.cat([part.global_views for part in split], 1), whole.global_views),
        (torch.cat([local_of(part) for part in split], 1), local_of(whole)),
    ):
        if torch.get_num_threads() == 1:
            assert torch.equal(got, wanted)
        torch.testing.assert_close(got, wanted, atol=5e-6, rtol=0)


def test_rows_of_rows_are_rows() -> None:
    params = MultiCrop(SMALL, formats()).draw(8)
    twice, once = params.rows(slice(2, 8)).rows(slice(1, 3)), params.rows(slice(3, 5))
    for a, b in zip(twice.views, once.views, strict=True):
        for x, y in zip(a, b, strict=True):
            assert all(torch.equal(x.values[key], y.values[key]) for key in y.values)
            assert x.values["forward_input_shape"][0] == len(x.values["batch_prob"]) == 2


def test_draws_depend_on_the_seed_and_on_n_alone() -> None:
    first, second = MultiCrop(SMALL, formats()), MultiCrop(SMALL, formats())
    views_of(second, n=4)  # anything before
    torch.rand(7)
    assert same(views_of(first), views_of(second))
    canvas, size = images()
    with seeded("test"):
        before = torch.get_rng_state()
        params = first.draw(8)
        assert not torch.equal(torch.get_rng_state(), before)  # the next draw is another one
        state = torch.get_rng_state()
        again = first.apply(canvas, size, params)
        assert torch.equal(torch.get_rng_state(), state)  # applying draws nothing
    assert same(again, views_of(first))
    assert same(again, first.apply(canvas, size, params))  # and changes neither canvases nor params
    with seeded("another"):
        assert not same(again, first.apply(canvas, size, first.draw(8)))


def test_all_views_differ() -> None:
    views = views_of(MultiCrop(SMALL, formats()))
    locals_ = local_of(views)
    assert not torch.equal(views.global_views[0], views.global_views[1])
    assert not torch.equal(locals_[0], locals_[1])
    assert not torch.equal(locals_[0][0], locals_[0][4])


def test_operations_are_drawn_independently() -> None:
    config = replace(SMALL, flip=FlipConfig(p=0.5), grayscale=GrayscaleConfig(p=0.5))
    with seeded("test"):
        params = MultiCrop(config, formats()).draw(200)
    chosen = [drawn.values["batch_prob"] for drawn in params.views[0][1:]]
    halves = [x for x in chosen if x.mean() < 0.7]  # those with a p of .5
    assert len(halves) == 4
    for i, first in enumerate(halves):
        for second in halves[:i]:
            assert abs(float((first == second).float().mean()) - 0.5) < 0.15


def test_a_model_in_half_precision_still_gets_float32() -> None:
    augmentation = MultiCrop(SMALL, formats())
    wanted = views_of(augmentation)
    with torch.autocast("cpu", torch.bfloat16):
        assert same(views_of(augmentation), wanted)
    assert same(views_of(augmentation.to(torch.bfloat16).eval()), wanted)
    assert wanted.global_views.dtype == torch.float32


def test_moving_it_leaves_the_draws_on_the_cpu() -> None:
    augmentation = MultiCrop(SMALL, formats()).to("meta")
    with seeded("test"):
        params = augmentation.draw(4)
    assert all(x.device.type == "cpu" for view in params.views for d in view for x in d.values.values())
    assert not list(augmentation.parameters())
    assert not augmentation.state_dict()


@pytest.mark.parametrize("key", ["flip", "color_jitter", "grayscale", "blur", "solarize", "rotation"])
def test_switching_an_operation_off_leaves_all_other_draws(key: str) -> None:
    off = replace(SMALL, **{key: replace(getattr(SMALL, key), p=0.0)})
    with_it, without = MultiCrop(SMALL, formats()), MultiCrop(off, formats())
    with seeded("test"):
        more = with_it.draw(8)
    with seeded("test"):
        fewer = without.draw(8)
    for pipeline, pipeline_off, view, view_off in zip(
        with_it._pipelines, without._pipelines, more.views, fewer.views, strict=True
    ):
        names = ["crop", *(operation.name for operation in pipeline.operations)]
        names_off = ["crop", *(operation.name for operation in pipeline_off.operations)]
        assert [name for name in names if name != key] == names_off
        kept = dict(zip(names, view, strict=True))
        for name, drawn in zip(names_off, view_off, strict=True):
            assert all(torch.equal(kept[name].values[k], v) for k, v in drawn.values.items())
    assert not same(views_of(with_it), views_of(without))


def test_the_order_of_the_operations() -> None:
    (first, *_) = MultiCrop(SMALL, formats())._pipelines
    (_, second, local, *_) = MultiCrop(SMALL, formats())._pipelines
    order = ["flip", "rotation", "color_jitter", "grayscale", "blur", "solarize"]
    assert [o.name for o in first.operations] == order
    assert [o.name for o in second.operations] == [*order, "extra[0]"]
    assert [o.name for o in local.operations] == [*order, "extra[0]"]


def test_the_defaults_are_dinos() -> None:
    first, second, local, *_ = MultiCrop(replace(MultiCropConfig(), local_count=1), formats())._pipelines
    colours = ["flip", "color_jitter", "grayscale", "blur"]
    assert [o.name for o in first.operations] == colours
    assert [o.name for o in second.operations] == [*colours, "solarize"]
    assert [o.name for o in local.operations] == colours
    config = MultiCropConfig()
    assert (config.global_size, config.local_size, config.local_count) == (224, 96, 8)
    assert (config.global_scale, config.local_scale) == ([0.4, 1.0], [0.05, 0.4])
    assert canvas_side_for(config) == 430  # 96 / sqrt(.05)
    assert {f.name for f in fields(config)} == {
        *("global_size", "global_scale", "local_count", "local_size", "local_scale", "flip", "color_jitter"),
        *("grayscale", "blur", "solarize", "rotation", "resample", "extra"),
    }


def test_bare_views_are_normalised_crops() -> None:
    white = torch.full((4, 3, 51, 51), 255, dtype=torch.uint8)
    augmentation = MultiCrop(BARE, ImageFormat(3, (0.1, 0.2, 0.3), (0.5, 0.4, 0.2)))
    views = augmentation.apply(white, torch.full((4, 2), 51), augmentation.draw(4))
    wanted = torch.tensor([0.9 / 0.5, 0.8 / 0.4, 0.7 / 0.2]).view(3, 1, 1)
    torch.testing.assert_close(views.global_views, wanted.expand(2, 4, 3, 32, 32))
    torch.testing.assert_close(local_of(views), wanted.expand(2, 4, 3, 16, 16))


def test_without_local_crops_there_are_no_local_views() -> None:
    augmentation = MultiCrop(replace(SMALL, local_count=0), formats())
    views = views_of(augmentation)
    assert views.local_views is None
    assert augmentation.canvas_size == 51  # 32 / sqrt(.4)


def test_a_canvas_is_never_smaller_than_a_global_crop() -> None:
    assert canvas_side_for(replace(SMALL, local_scale=[0.5, 0.5])) == 32


@pytest.mark.parametrize("side", [1, 7, 50, 200])
def test_any_canvas_size(side: int) -> None:
    views = views_of(MultiCrop(SMALL, formats()), side=side)
    assert views.global_views.isfinite().all()
    assert local_of(views).isfinite().all()


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_any_number_of_channels_where_no_operation_needs_colours(channels: int) -> None:
    config = replace(
        SMALL, grayscale=GrayscaleConfig(p=0), color_jitter=ColorJitterConfig(p=1, saturation=0, hue=0)
    )
    views = views_of(MultiCrop(config, formats(channels)), channels=channels)
    assert views.global_views.shape == (2, 8, channels, 32, 32)
    plain = views_of(
        MultiCrop(replace(config, color_jitter=ColorJitterConfig(p=0)), formats(channels)), channels=channels
    )
    assert not torch.equal(views.global_views, plain.global_views)


@pytest.mark.parametrize("channels", [1, 4])
def test_operations_on_colours_refuse_other_channels(channels: int) -> None:
    with pytest.raises(RecipeError) as caught:
        MultiCrop(SMALL, formats(channels))
    told = str(caught.value)
    assert "'augment.color_jitter' needs images of 3 channels" in told
    assert f"'data.channels' is {channels}" in told
    assert "augment.color_jitter.p=0 augment.grayscale.p=0" in told
    with pytest.raises(RecipeError, match=r"'augment\.grayscale' needs"):
        MultiCrop(replace(SMALL, color_jitter=ColorJitterConfig(p=0)), formats(channels))


def test_what_only_local_crops_would_need_is_not_asked_without_them() -> None:
    local_only = GrayscaleConfig(p=[0, 0, 1])
    config = replace(BARE, grayscale=local_only)
    MultiCrop(replace(config, local_count=0), formats(1))
    with pytest.raises(RecipeError, match="grayscale"):
        MultiCrop(config, formats(1))


def test_kornias_resampling_can_be_chosen() -> None:
    a, b = (views_of(MultiCrop(replace(BARE, resample=way), formats())) for way in ("antialias", "kornia"))
    assert not torch.equal(a.global_views, b.global_views)
    assert (a.global_views - b.global_views).abs().mean() < 0.5  # the same crops


def test_it_is_built_from_a_recipe() -> None:
    recipe = Recipe(augment=Component("multicrop", SMALL))
    augmentation = build_augmentation(recipe, Registry.load())
    assert isinstance(augmentation, MultiCrop)
    assert augmentation.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    grey = Recipe(data=DataSection(channels=5))
    assert image_format(grey) == ImageFormat(5, (0.5,) * 5, (0.25,) * 5)
    own = Recipe(data=DataSection(mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0]))
    assert image_format(own) == ImageFormat(3, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def test_learning_the_names_imports_no_kornia() -> None:
    code = (
        "import sys, sslkit.augment.multicrop, sslkit.augment.build;"
        "sys.exit('kornia' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
