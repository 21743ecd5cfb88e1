from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from sslkit.eval.attention_maps import Maps, attention_maps
from sslkit.nn.backbones import timm_backbone
from sslkit.report.attention import draw_attention


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def maps(count: int, is_attention: bool = True) -> Maps:
    return Maps(torch.rand(3, count, 4, 4), is_attention)


@pytest.mark.parametrize(("count", "channels"), [(1, 3), (6, 3), (18, 3), (3, 1), (3, 5)])
def test_any_number_of_heads_and_channels(count: int, channels: int, tmp_path: Path) -> None:
    width, height = size(draw_attention(torch.rand(3, channels, 32, 32), maps(count), tmp_path / "a.png"))
    assert 600 <= width <= 2100
    assert 400 <= height <= 1500


def test_even_and_empty_maps(tmp_path: Path) -> None:
    for values in (torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 1, 1)):
        draw_attention(torch.rand(1, 3, 32, 32), Maps(values, is_attention=True), tmp_path / "a.png")


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 64, 64)


def test_a_vit_shows_its_attention(images: Tensor) -> None:
    vit = timm_backbone("vit_tiny_patch16_224", channels=3, image_size=64, drop_path_rate=0.0).eval()
    found = attention_maps(vit, images)
    assert found.is_attention
    assert found.values.shape == (2, 3, 4, 4)
    attention = vit.cls_attention(images)
    assert attention is not None
    assert torch.equal(found.values[1, 2], attention[1, 2].view(4, 4))


def test_a_convolutional_net_shows_the_strength_of_its_features(images: Tensor) -> None:
    net = timm_backbone("resnet18", channels=3, image_size=64, drop_path_rate=0.0).eval()
    found = attention_maps(net, images)
    assert not found.is_attention
    assert found.values.shape == (2, 1, 2, 2)
    tokens = net.tokens(images)
    torch.testing.assert_close(found.values[0, 0, 1, 0], tokens.patches[0, 2].norm())
