"""The public door to the conformance kit: what tests of plugins import."""

import inspect

import pytest
import torch

from sslkit import testing
from sslkit.core.method import Setup
from sslkit.plugins import KINDS
from sslkit.testing import BATCH, CLASSES, CROP, IMAGE, SmallSetup, make_views


def test_every_name_is_there_and_public() -> None:
    assert [name for name in testing.__all__ if not hasattr(testing, name)] == []
    assert len(set(testing.__all__)) == len(testing.__all__)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_check_and_its_findings(kind: str) -> None:
    singular = kind.removesuffix("s")
    for name in (f"check_{singular}", f"{singular}_findings"):
        assert name in testing.__all__
        assert inspect.getdoc(getattr(testing, name))


@pytest.mark.parametrize("network", ["vit", "resnet"])
def test_the_small_setup_is_one(network: str) -> None:
    setup: Setup = SmallSetup(network, channels=1)
    assert (setup.num_classes, setup.batch_size, setup.channels) == (CLASSES, BATCH, 1)
    backbone = setup.backbone(drop_path_rate=0.0)
    for side in (IMAGE, CROP):
        assert backbone(torch.zeros(2, 1, side, side)).shape == (2, backbone.embed_dim)


def test_views() -> None:
    views = make_views(3, batch=5, channels=1, global_count=4)
    assert views.local_views is not None
    assert views.labels is not None
    assert views.global_views.shape == (4, 5, 1, IMAGE, IMAGE)
    assert views.local_views.shape == (3, 5, 1, CROP, CROP)
    assert views.labels.shape == (5,)
    assert make_views(0).local_views is None
    assert torch.equal(make_views().global_views, make_views().global_views)
