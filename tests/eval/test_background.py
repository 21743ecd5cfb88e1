"""Object or background, with backbones that see the one or the other alone."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from oracle_backbones import Oracle, constant
from PIL import Image
from torch import Tensor

from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.data.scenes import IDENTITY_NAMES, ScenesConfig, compose_scene
from sslkit.errors import DataError, RecipeError
from sslkit.eval.background import Background, BackgroundConfig, object_is_nearer
from sslkit.eval.background_triples import drawn, filled, pasted, usable
from sslkit.eval.in_memory import choose
from sslkit.nn.pocket import vit_pocket
from sslkit.plugins import Registry

SIDE = 24


def marked(n: int = 12) -> tuple[Tensor, Tensor]:
    """Pixels [N, 3, S, S]: red 1 on the object, which is blue as its number; the ground green as its own."""
    number = torch.linspace(0.1, 0.9, n).view(-1, 1, 1)
    masks = torch.zeros(n, SIDE, SIDE, dtype=torch.bool)
    for i in range(n):
        masks[i, 2 + i % 5 : 12 + i % 5, 3 + i % 7 : 10 + i % 7] = True
    red, green, blue = masks.float(), torch.where(masks, 0.0, number), torch.where(masks, number, 0.0)
    return torch.stack([red, green, blue], 1), masks


def pictures(n: int = 12) -> Pictures:
    pixels, masks = marked(n)
    return Pictures((pixels - 0.5) / 0.25, masks=masks)


def as_angle(value: Tensor) -> Tensor:
    return torch.stack([value.cos(), value.sin()], 1)


def object_only(x: Tensor) -> Tensor:
    pixels = x * 0.25 + 0.5
    on = (pixels[:, 0] > 0.999).float()
    return as_angle((pixels[:, 2] * on).sum((1, 2)) / on.sum((1, 2)))


def ground_only(x: Tensor) -> Tensor:
    pixels = x * 0.25 + 0.5
    off = (pixels[:, 0] < 0.001).float()
    return as_angle((pixels[:, 1] * off).sum((1, 2)) / off.sum((1, 2)))


def asked(data: Pictures, net: Any, tmp_path: Path, scenes: Any = None, **keys: Any) -> Result:
    subject = Subject(net)
    context = context_for(subject, tmp_path)
    section = replace(context.recipe.eval, resize=SIDE, crop=SIDE)
    context.recipe = replace(context.recipe, data_config=scenes, eval=section)
    return Background(BackgroundConfig(**keys))(subject, EvalData(data, data), context)


@pytest.mark.parametrize(("answer", "share"), [(object_only, 1), (ground_only, 0), (constant, 0.5)])
def test_one_that_sees_the_object_or_the_ground_alone(answer: Any, share: float, tmp_path: Path) -> None:
    net = Oracle(answer).train()
    result = asked(pictures(), net, tmp_path, triples=20)
    assert result.metrics["object_over_ground"] == share
    assert result.metrics["layer_1_patches"] == share
    assert set(result.metrics) == {"object_over_ground", "object_over_ground_pixels", "layer_1_patches"}
    assert result.counts["object_over_ground"] == 20
    assert net.modes == {False}
    assert net.training


def test_ties_count_one_half_and_the_order_is_anchor_object_ground() -> None:
    east, north = torch.eye(2).double()
    anchors, objects, grounds = [east] * 3, [east, north, north], [north, east, north]
    assert object_is_nearer(torch.stack([*anchors, *objects, *grounds])).tolist() == [1, 0, 0.5]


def test_pasted_triples_are_what_they_are_called() -> None:
    data = pictures()
    triples = pasted(choose(data, 99, least=4, what="test"), 30)
    anchor, elsewhere, other = (triples.pixels[role] for role in range(3))

    def seen(pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = (pixels - 0.5) / 0.25
        return object_only(x), ground_only(x)

    (a, ground), (same, second), (b, again) = map(seen, (anchor, elsewhere, other))
    torch.testing.assert_close(a, same, atol=1e-3, rtol=0)
    torch.testing.assert_close(ground, again, atol=1e-3, rtol=0)
    assert (a - b).norm(dim=1).min() > 0.02
    assert (ground - second).norm(dim=1).min() > 0.02
    assert len({round(float(x), 3) for x in ground[:, 1]}) > 5  # grounds of many images
    share = (anchor[:, 0] > 0.5).float().mean((1, 2)).sqrt()
    assert share.max() / share.min() > 1.3  # sizes of their own
    assert torch.equal(pasted(choose(data, 99, least=4, what="test"), 30).pixels, triples.pixels)


def test_another_object_is_another_of_those_that_are_known() -> None:
    pixels, masks = marked()
    instances = torch.arange(12) % 2
    data = Pictures((pixels - 0.5) / 0.25, instances=instances, masks=masks)
    number = torch.linspace(0.1, 0.9, 12)
    triples = pasted(choose(data, 99, least=4, what="test"), 30).pixels
    angles = object_only((triples.flatten(0, 1) - 0.5) / 0.25)
    which = (angles[:, 1].asin()[:, None] - number).abs().argmin(1).view(3, 30) % 2
    assert torch.equal(which[0], which[1])
    assert not (which[0] == which[2]).any()


def test_a_hole_is_filled_from_around_it() -> None:
    flat = torch.full((1, 3, 17, 17), 0.3)
    hidden = torch.zeros(1, 17, 17, dtype=torch.bool)
    hidden[:, 4:12, 5:16] = True
    spoilt = torch.where(hidden[:, None], 9.0, flat)
    torch.testing.assert_close(filled(spoilt, hidden), flat)
    ramp = torch.linspace(0, 1, 17).expand(1, 1, 17, 17)
    done = filled(torch.where(hidden[:, None], 9.0, ramp), hidden)
    assert torch.equal(done[~hidden[:, None]], ramp[~hidden[:, None]])
    assert 0 <= done.min() <= done.max() <= 1
    assert done[0, 0, 8, 6] < done[0, 0, 8, 14]


def test_objects_that_are_too_small_or_fill_the_image_are_left_out(tmp_path: Path) -> None:
    pixels, masks = marked(6)
    masks[1], masks[4] = False, True
    data = Pictures((pixels - 0.5) / 0.25, masks=masks)
    assert usable(choose(data, 99, least=4, what="test")).tolist() == [0, 2, 3, 5]
    masks[2] = False
    with pytest.raises(DataError, match=r"needs 4 images whose object covers 2 to 60 %.* 6 of pictures .* 3"):
        asked(data, Oracle(constant), tmp_path)


SCENES = ScenesConfig(image_size=SIDE, scale=[0.3, 0.5])


@pytest.mark.parametrize("background", ["quiet", "gradient", "photo"])
def test_any_object_on_any_background(background: str) -> None:
    config = replace(SCENES, background=background)
    one, two, elsewhere = (compose_scene(config, *numbers) for numbers in ((3, 5, 0), (40, 5, 1), (3, 6, 0)))
    around = np.asarray(Image.fromarray(one.mask | two.mask).resize((SIDE, SIDE)))
    free = np.array(
        [
            [not around[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].any() for x in range(SIDE)]
            for y in range(SIDE)
        ]
    )
    assert free.any()
    assert np.array_equal(one.image[free], two.image[free])
    assert np.array_equal(one.mask, elsewhere.mask)
    assert not np.array_equal(one.image[free], elsewhere.image[free])
    assert (one.identity, one.label, two.label) == (3, 0, 5)
    assert not np.array_equal(one.mask, two.mask)
    assert np.array_equal(compose_scene(config, 3, 5, 0).image, one.image)


def test_drawn_triples_have_grounds_that_differ() -> None:
    triples = drawn(SCENES, "quiet", [0, 9, 33], 12, channels=1, resize=16, crop=12).pixels
    assert triples.shape == (3, 12, 1, 12, 12)
    grounds = triples.flatten(2).median(2).values  # the object is the smaller part
    assert torch.equal(grounds[0], grounds[2])
    assert (grounds[0] - grounds[1]).abs().min() > 0


def test_the_demo_is_drawn_on_its_own_grounds_and_on_the_others(tmp_path: Path) -> None:
    def level(x: Tensor) -> Tensor:
        return as_angle((x * 0.25 + 0.5)[:, 0].flatten(1).median(1).values)

    scenes = [compose_scene(SCENES, i, i, i) for i in (0, 17, 34, 51)]
    images = torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2) / 255
    data = Pictures(
        (images - 0.5) / 0.25,
        instances=torch.tensor([s.identity for s in scenes]),
        masks=torch.from_numpy(np.stack([s.mask for s in scenes])),
    )
    result = asked(data, Oracle(level), tmp_path, SCENES, triples=8)
    assert result.metrics["object_over_ground"] == 0  # it sees the grey of the ground
    names = {
        f"object_over_ground{kind}{floor}"
        for kind in ("", "_gradient", "_photo")
        for floor in ("", "_pixels")
    }
    assert set(result.metrics) == {*names, "layer_1_patches"}
    with result.tables["layers"].open() as file:
        assert [row["ground"] for row in csv.DictReader(file)] == ["quiet", "gradient", "photo"]
    assert max(s.identity for s in scenes) < len(IDENTITY_NAMES)


def test_a_real_network_by_block_beside_its_untrained_self(tmp_path: Path) -> None:
    net = vit_pocket(channels=3, image_size=SIDE, drop_path_rate=0.0, depth=2)
    results = [asked(pictures(), net, tmp_path, triples=6) for _ in range(2)]
    assert results[0].metrics == results[1].metrics
    layers = {f"layer_{depth}_{token}" for depth in (1, 2) for token in ("cls", "patches")}
    assert layers <= set(results[0].metrics)
    assert results[0].metrics["layer_2_cls"] == results[0].metrics["object_over_ground"]
    assert "object_over_ground_untrained" in results[0].metrics
    with Image.open(results[0].figures["background"]) as image:
        image.load()
        assert image.width > 900


@pytest.mark.parametrize("keys", [{"triples": 0}, {"images": 3}])
def test_an_impossible_value_is_refused_by_its_key(keys: dict[str, int]) -> None:
    (key,) = keys
    with pytest.raises(RecipeError, match=f"'{key}' is {keys[key]}, but must be"):
        BackgroundConfig(**keys)


def test_it_is_found_by_its_name_and_needs_masks() -> None:
    assert Registry.load().get("evaluators", "background") is Background
    assert Background.needs == {"masks"}
