"""Glom as a backbone: what a column keeps to, sizes, masks, export."""

import json
from typing import Any

import pytest
import torch

from sslkit.errors import RecipeError
from sslkit_glom.backbone import Glom

SMALL: dict[str, Any] = {"channels": 3, "image_size": 16, "levels": 3, "dim": 8, "patch_size": 4}


def glom(**changed: Any) -> Glom:
    torch.manual_seed(0)
    return Glom(**(SMALL | changed)).eval()


def test_columns_that_see_the_same_stay_the_same() -> None:
    images = torch.randn(1, 3, 16, 16)
    images[..., :4, :4] = images[..., 8:12, 4:8]  # place 0 and place 9
    for level in glom(frequencies=0).all_levels(images):
        torch.testing.assert_close(level.patches[0, 0], level.patches[0, 9])
    lowest = glom().all_levels(images)[0].patches[0]  # with positions the level above tells them apart
    assert not torch.allclose(lowest[0], lowest[9], atol=1e-3)


def test_without_positions_places_can_change_places() -> None:
    backbone, order = glom(frequencies=0), torch.randperm(16)
    images = torch.randn(2, 3, 16, 16)
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3)[:, :, order]  # [B, C, N, p, p]
    moved = patches.unflatten(2, (4, 4)).permute(0, 1, 2, 4, 3, 5).reshape(2, 3, 16, 16)
    for level, other in zip(backbone.all_levels(images), backbone.all_levels(moved), strict=True):
        torch.testing.assert_close(level.patches[:, order], other.patches, atol=1e-5, rtol=1e-4)


def test_levels_are_layers_and_the_top_one_is_the_tokens() -> None:
    backbone, images = glom(), torch.randn(2, 3, 16, 24)
    levels = backbone.all_levels(images)
    assert [(x.patches.shape, x.prefix.shape, x.grid) for x in levels] == [
        ((2, 24, 8), (2, 0, 8), (4, 6))
    ] * 3
    for n in (1, 2, 3, 9):
        some = backbone.layers(images, n)
        assert len(some) == min(n, 3)
        assert all(torch.equal(a.patches, b.patches) for a, b in zip(some, levels[-n:], strict=True))
    assert torch.equal(backbone.tokens(images).patches, levels[-1].patches)
    torch.testing.assert_close(backbone(images), levels[-1].patches.mean(1))
    torch.testing.assert_close(backbone.network(images), backbone(images))
    assert backbone.cls_attention(images) is None


def test_the_course_ends_where_it_settles() -> None:
    backbone, images = glom(steps=5), torch.randn(1, 3, 16, 16)
    course = backbone.course(images)
    assert len(course) == 6
    assert torch.equal(course[-1][1].patches, backbone.all_levels(images)[1].patches)


def test_what_is_masked_is_not_looked_at() -> None:
    backbone, images = glom(), torch.randn(1, 3, 16, 16)
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 5] = True
    other = images.clone()
    other[..., 4:8, 4:8] = 100.0
    assert torch.equal(backbone.tokens(images, mask).patches, backbone.tokens(other, mask).patches)
    assert not torch.equal(backbone.tokens(images).patches, backbone.tokens(other).patches)


def test_a_mask_token_is_looked_at_instead() -> None:
    backbone, images = glom(), torch.randn(1, 3, 16, 16)
    mask = torch.ones(1, 16, dtype=torch.bool)
    before = backbone.tokens(images, mask).patches
    backbone.mask_token = torch.nn.Parameter(torch.randn(8))
    after = backbone.tokens(images, mask).patches
    assert not torch.allclose(before, after)
    after.square().sum().backward()
    assert backbone.mask_token.grad is not None
    assert backbone.mask_token.grad.abs().sum() > 0


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_channels(channels: int) -> None:
    assert glom(channels=channels)(torch.randn(2, channels, 8, 8)).shape == (2, 8)


def test_every_weight_learns_from_the_pooled_features() -> None:
    backbone = glom()
    backbone(torch.randn(2, 3, 16, 16)).square().mean().backward()
    still = [name for name, p in backbone.network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_stochastic_depth_only_while_training() -> None:
    backbone, images = glom(drop_path_rate=0.5), torch.randn(2, 3, 16, 16)
    assert torch.equal(backbone(images), backbone(images))
    backbone.train()
    assert not torch.equal(backbone(images), backbone(images))


def test_what_is_exported_builds_it_again() -> None:
    backbone, images = (
        glom(radius=[1, 2, None], temperature=[0.1, 0.2, 0.3], steps=4),
        torch.randn(1, 3, 16, 16),
    )
    built = json.loads(json.dumps(dict(backbone.export_metadata)))
    again = Glom(**built["args"]).eval()
    again.network.load_state_dict(backbone.network.state_dict())
    assert torch.equal(again(images), backbone(images))
    assert "drop_path_rate" not in built["args"]


def test_the_untrained_floor_is_another_network_of_this_kind() -> None:
    backbone, images = glom(), torch.randn(1, 3, 16, 16)
    one, same, other = (backbone.untrained(seed)(images) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, backbone(images))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"levels": 1}, "'backbone.args.levels' is 1, but must be a whole number >= 2"),
        ({"levels": "many"}, "'backbone.args.levels' is 'many', but must be a whole number"),
        ({"dim": 8.0}, "'backbone.args.dim' is 8.0, but must be a whole number"),
        ({"steps": 2}, "'backbone.args.steps' is 2, but must be a whole number >= levels"),
        ({"steps": [4]}, r"'backbone.args.steps' is \[4\], but must be a whole number"),
        ({"hidden": "wide"}, "'backbone.args.hidden' is 'wide', but must be > 0"),
        ({"temperature": None}, "'backbone.args.temperature' is None, but must be one number or 3"),
        ({"radius": "far"}, "'backbone.args.radius' is 'far', but must be one number or 3"),
        ({"radius": "auto"}, "'backbone.args.radius' is 'auto', but must be one number or 3"),
        (
            {"temperature": 0.0},
            "'backbone.args.temperature' is 0.0, but must be one number or 3, one for each level, > 0",
        ),
        (
            {"radius": [1, 2]},
            "'backbone.args.radius' is .1, 2., but must be one number or 3, one for each level, >= 0",
        ),
        ({"radius": -1}, "'backbone.args.radius' is -1"),
        ({"drop_path_rate": 1.0}, "'backbone.drop_path_rate' is 1.0"),
        ({"image_size": 18}, "images of 18 x 18 pixels do not divide into patches of 4"),
    ],
)
def test_impossible_arguments_are_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        glom(**changed)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecipeError, match="images of 16 x 18 pixels"):
        glom()(torch.randn(1, 3, 16, 18))
