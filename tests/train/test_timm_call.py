"""The line that tells how timm builds a run's network, for networks that timm has."""

import pytest
import timm
import torch

from sslkit.core.backbone import Backbone
from sslkit.nn.pocket import vit_pocket
from sslkit.train.export import timm_call


@pytest.fixture
def backbone() -> Backbone:
    return vit_pocket(channels=3, image_size=16, drop_path_rate=0.0, embed_dim=16, depth=1, num_heads=2)


def test_the_line_builds_the_network(backbone: Backbone) -> None:
    line = timm_call(backbone)
    assert line is not None
    network = eval(line, {"timm": timm})
    network.load_state_dict(backbone.network.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(network.eval()(x), backbone.eval()(x))


def test_there_is_none_for_a_network_that_timm_does_not_have(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin's, such as sslkit-glom's columns."""
    own = {**backbone.export_metadata, "name": "glom"}
    monkeypatch.setattr(type(backbone), "export_metadata", own)
    assert timm_call(backbone) is None
