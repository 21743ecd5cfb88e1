"""timm's networks behind the one interface."""

import copy
import json
from typing import Any

import pytest
import timm
import torch
from oracles.training import vit
from tolerances import assert_close
from torch import nn

from sslkit.errors import PluginError, RecipeError
from sslkit.nn.backbones import TimmBackbone, timm_backbone
from sslkit.nn.pocket import conv_pocket, sslkit_backbones, vit_pocket

TINY: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 3, "patch_size": 4}
SWIN: dict[str, Any] = {"embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
REGISTERS: dict[str, Any] = {**TINY, "reg_tokens": 4, "qk_norm": True}


def backbone(name: str = "vit_tiny_patch16_224", size: int = 16, **args: Any) -> TimmBackbone:
    torch.manual_seed(0)
    built = timm_backbone(name, channels=3, image_size=size, args=args)
    with torch.no_grad():
        for parameter in built.parameters():  # no zeros and ones left that would hide a mistake
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return built.eval()


def images(size: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "args", "size"),
    [
        ("vit_tiny_patch16_224", TINY, 16),
        ("vit_tiny_patch16_224", REGISTERS, 16),
        ("vit_small_patch16_dinov3", {"embed_dim": 48, "depth": 2, "num_heads": 3}, 32),
        ("resnet18", {"channels": [8, 8, 8, 16]}, 32),
        ("convnext_atto", {"dims": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}, 32),
        ("swin_tiny_patch4_window7_224", SWIN, 32),
    ],
)
def test_every_kind_of_network(name: str, args: dict[str, Any], size: int) -> None:
    net = backbone(name, size, **args)
    with torch.no_grad():
        for side in (size, 2 * size):
            x = images(side)
            features, tokens = net(x), net.tokens(x)
            assert features.shape == (2, net.embed_dim)
            at_once, same = net.features_and_tokens(x)
            assert torch.equal(at_once, features)
            assert torch.equal(same.patches, tokens.patches)
            assert tokens.patches.shape == (2, tokens.grid[0] * tokens.grid[1], net.embed_dim)
            assert tokens.prefix.shape[::2] == (2, net.embed_dim)
            by_cls = getattr(net.network, "global_pool", "avg") == "token"
            pooled = tokens.prefix[:, 0] if by_cls else tokens.patches.mean(1)
            if name != "convnext_atto":  # which has a norm after pooling
                assert_close(pooled, features, tolerance=(1e-4, 1e-5))
            last = net.layers(x, 2)
            assert len(last) == 2
            assert last[1].patches.shape == tokens.patches.shape


@pytest.mark.parametrize("args", [TINY, REGISTERS])
def test_the_last_layer_is_the_tokens(args: dict[str, Any]) -> None:
    net, x = backbone(**args), images(24)
    last, tokens = net.layers(x, 1)[0], net.tokens(x)
    assert_close(last.prefix, tokens.prefix)
    assert_close(last.patches, tokens.patches)
    assert last.grid == tokens.grid == (6, 6)


def explicit_attention(net: TimmBackbone, x: torch.Tensor) -> torch.Tensor:
    """The whole map of the last block, from its own weights."""
    network: Any = net.network
    before = network.norm_pre(network._pos_embed(network.patch_embed(x)))
    for block in network.blocks[:-1]:
        before = block(before)
    attention = network.blocks[-1].attn
    normed = network.blocks[-1].norm1(before)
    qkv = attention.qkv(normed).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    query, key = attention.q_norm(qkv[0]), attention.k_norm(qkv[1])
    return (query @ key.mT / key.shape[-1] ** 0.5).softmax(-1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("args", [TINY, REGISTERS])
def test_cls_attention_is_a_row_of_the_map(args: dict[str, Any], fused: bool) -> None:
    net, x = backbone(**args), images(24)
    for module in net.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", fused)  # noqa: B010 - a plain attribute, not a parameter
    with torch.no_grad():
        got = net.cls_attention(x)
        prefix = 1 + args.get("reg_tokens", 0)
        wanted = explicit_attention(net, x)[:, :, 0, prefix:]
    assert got is not None
    assert got.shape == (2, 3, 36)
    assert_close(got, wanted)
    assert (got.sum(-1) < 1).all()


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "vit_small_patch16_dinov3"])
def test_cls_attention_with_rotary_positions(name: str) -> None:
    """Moving one patch's content must move its attention: rotary nets are read, not rebuilt."""
    net = backbone(name, 56 if "14" in name else 64, embed_dim=48, depth=2, num_heads=3)
    with torch.no_grad():
        attention = net.cls_attention(images(56 if "14" in name else 64))
    assert attention is not None
    assert attention.shape == (2, 3, 16)
    assert ((attention.sum(-1) > 0) & (attention.sum(-1) < 1)).all()


def test_networks_without_cls_have_no_attention() -> None:
    assert backbone("resnet18", 32).cls_attention(images(32)) is None
    assert backbone(class_token=False, global_pool="avg", **TINY).cls_attention(images()) is None


@pytest.mark.parametrize("args", [TINY, {**REGISTERS, "dynamic_img_size": False}])
def test_masked_patches_are_not_seen(args: dict[str, Any]) -> None:
    net = backbone(**args)
    one, other = images(), images()
    other[:, :, :4, 4:8] += 1  # inside patch 1
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[:, 1] = True
    with torch.no_grad():
        assert not torch.equal(net.tokens(one).prefix, net.tokens(other).prefix)
        masked = net.tokens(one, mask)
        assert torch.equal(masked.prefix, net.tokens(other, mask).prefix)
        features, tokens = net.features_and_tokens(one, mask)
        assert torch.equal(features, masked.prefix[:, 0])
        assert torch.equal(tokens.patches, masked.patches)
        assert torch.equal(net.tokens(one, ~mask & False).patches, net.tokens(one).patches)
        net.mask_token = nn.Parameter(torch.full((24,), 3.0))
        assert not torch.equal(net.tokens(one, mask).prefix, masked.prefix)
    assert not net.network.get_submodule("patch_embed")._forward_hooks


def test_a_learned_mask_token_is_no_part_of_the_exported_network() -> None:
    net, mask = backbone(**TINY), torch.ones(2, 16, dtype=torch.bool)
    before = set(net.network.state_dict())
    assert "mask_token" not in net.state_dict()
    net.mask_token = nn.Parameter(torch.zeros(24))
    assert "mask_token" in net.state_dict()
    assert set(net.network.state_dict()) == before
    net.tokens(images(), mask).prefix.sum().backward()
    assert net.mask_token.grad is not None
    assert net.mask_token.grad.any()


def test_a_conv_net_cannot_mask() -> None:
    with pytest.raises(ValueError, match="no patches that could be masked"):
        backbone("resnet18", 32).tokens(images(32), torch.zeros(2, 1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("resize", "size"), [("timm", 16), ("timm", 24), ("dino", 16), ("dino", 24), ("dino", 8)]
)
def test_the_vit_is_the_papers(resize: str, size: int) -> None:
    """Against a ViT written out in plain torch, positions resized either way."""
    net = backbone(pos_embed_resize=resize, **TINY).double()
    state = net.network.state_dict()
    x = images(size).double()
    wanted = vit(3, authors_positions=resize == "dino")(state, x)
    assert_close(net(x), wanted, tolerance=(1e-7, 1e-7))  # timm resizes positions in float32


def test_the_ways_of_resizing_differ_where_they_should() -> None:
    ours, authors = backbone(**TINY), backbone(pos_embed_resize="dino", **TINY)
    authors.network.load_state_dict(ours.network.state_dict())
    assert_close(authors(images(16)), ours(images(16)))
    assert (authors(images(24)) - ours(images(24))).abs().max() > 1e-4


@pytest.mark.parametrize("args", [REGISTERS, {**TINY, "no_embed_class": True}])
def test_resizing_as_the_authors_keeps_timms_tokens(args: dict[str, Any]) -> None:
    """At the trained size nothing is resized, so all kinds of prefix must come out as timm has them."""
    ours, authors = backbone(**args), backbone(pos_embed_resize="dino", **args)
    assert_close(authors.tokens(images()).patches, ours.tokens(images()).patches)
    assert authors.tokens(images(24)).patches.shape == (2, 36, 24)


def test_copies_and_state_survive_the_authors_resizing() -> None:
    net = backbone(pos_embed_resize="dino", **TINY)
    twin = copy.deepcopy(net)
    assert torch.equal(twin(images(24)), net(images(24)))
    assert set(twin.network.state_dict()) == set(backbone(**TINY).network.state_dict())


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("vit_tiny_patch16_224", {**TINY, "pos_embed_resize": "dino"}),
        ("vit_tiny_patch16_224", {**REGISTERS, "img_size": 32}),
        ("resnet18", {"channels": [8, 8, 8, 16]}),
    ],
)
def test_timm_builds_it_from_the_metadata(name: str, args: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = timm_backbone(name, channels=1, image_size=16, drop_path_rate=0.1, args=args).eval()
    metadata = json.loads(json.dumps(net.export_metadata))
    assert metadata["name"] == name
    assert not {"pos_embed_resize", "drop_path_rate", "num_classes"} & set(metadata["args"])
    again = timm.create_model(metadata["name"], num_classes=0, **metadata["args"]).eval()
    again.load_state_dict(net.network.state_dict())
    x = images(32 if "img_size" in args else 16, channels=1)
    assert torch.equal(again(x), net(x))


def test_drop_path_reaches_the_network() -> None:
    net = timm_backbone("vit_tiny_patch16_224", channels=3, image_size=16, drop_path_rate=0.5, args=TINY)
    assert not torch.equal(net(images()), net(images()))


def test_an_unknown_name() -> None:
    with pytest.raises(
        PluginError, match=r"'vit_smal_patch16_224'[\s\S]*did you mean 'vit_small_patch16_224'"
    ):
        backbone("vit_smal_patch16_224")


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("vit_tiny_patch16_224", {"depht": 2}, "no argument 'depht'"),
        ("resnet18", {"img_size": 32}, "no argument 'img_size'"),
        ("vit_tiny_patch16_224", {"num_classes": 2}, "not given in backbone.args"),
        ("vit_tiny_patch16_224", {"in_chans": 2}, "set data.channels"),
        ("vit_tiny_patch16_224", {"embed_dim": 25, "num_heads": 3}, "divisible"),
        ("vit_tiny_patch16_224", {"patch_size": 5}, "multiple of 5"),
        ("vit_tiny_patch16_224", {"pos_embed_resize": "bicubic"}, "valid: timm, dino"),
        ("resnet18", {"pos_embed_resize": "dino"}, "plain ViT"),
    ],
)
def test_arguments_that_cannot_be(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        backbone(name, **args)


def test_drop_path_where_there_is_none() -> None:
    with pytest.raises(RecipeError, match="drop_path_rate=0"):
        timm_backbone("vgg11", channels=3, image_size=32, drop_path_rate=0.1)


def test_crops_that_do_not_divide_into_patches() -> None:
    with pytest.raises(RecipeError, match="18 x 18 pixels do not divide into patches of 4"):
        backbone(**TINY)(images(18))


@pytest.mark.parametrize("name", sslkit_backbones())
def test_pocket_networks_are_small(name: str) -> None:
    net = sslkit_backbones()[name](channels=3, image_size=32, drop_path_rate=0.1)
    assert sum(p.numel() for p in net.parameters()) < 1e6
    assert net(images(32)).shape == net(images(16)).shape == (2, net.embed_dim)


def test_pocket_networks_take_arguments() -> None:
    vit_net = vit_pocket(channels=1, image_size=16, drop_path_rate=0.0, depth=1, reg_tokens=2)
    assert vit_net.tokens(images(channels=1)).prefix.shape == (2, 3, 64)
    conv_net = conv_pocket(channels=1, image_size=16, drop_path_rate=0.0, widths=[8, 8, 8, 24])
    assert conv_net.embed_dim == 24
