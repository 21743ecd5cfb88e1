"""sslkit's own kit: what every backbone, method and evaluator must keep to."""

from typing import Any

import pytest

from sslkit.methods.dino import DINO, DINOConfig
from sslkit.testing import EXPENSIVE, check_backbone, check_evaluator, check_method
from sslkit_glom.backbone import Glom
from sslkit_glom.evaluator import Islands, IslandsConfig
from sslkit_glom.filling import FillingIn

ARGS: dict[str, Any] = {"patch_size": 8, "levels": 3, "dim": 16}


def test_the_backbone_conforms() -> None:
    check_backbone(Glom, ARGS)


@pytest.mark.slow
def test_the_method_conforms_with_columns() -> None:
    check_method(FillingIn, backbone=Glom, args=ARGS)


@pytest.mark.slow
def test_the_method_conforms_with_a_vit() -> None:
    check_method(FillingIn, leave_out=EXPENSIVE)


@pytest.mark.slow
def test_dino_conforms_on_columns() -> None:
    config = DINOConfig(out_dim=32, hidden_dim=16, bottleneck_dim=8)
    check_method(DINO, config, backbone=Glom, args=ARGS, leave_out=EXPENSIVE)


@pytest.mark.parametrize("network", ["columns", "timm"])
def test_the_evaluator_conforms(network: str) -> None:
    backbone: dict[str, Any] = {"backbone": Glom, "args": ARGS} if network == "columns" else {}
    check_evaluator(Islands, IslandsConfig(images=4, pictures=2), **backbone)
