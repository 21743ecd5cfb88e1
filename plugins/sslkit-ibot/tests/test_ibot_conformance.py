"""sslkit's own kit: what every method and every evaluator must keep to."""

from dataclasses import replace

import pytest

from sslkit.testing import EXPENSIVE, check_evaluator, check_method, make_views
from sslkit_ibot import IBOT, IBOTConfig, PatchKNN

SMALL = IBOTConfig.for_checks()
SEPARATE = replace(SMALL, patch_head="separate", patch_out_dim=10, patch_centering="sinkhorn_knopp")
LOCAL = {"2 local views": make_views(2)}


@pytest.mark.parametrize("config", [SMALL, SEPARATE], ids=["shared", "separate"])
def test_the_method_conforms(config: IBOTConfig) -> None:
    check_method(IBOT, config, views=LOCAL, leave_out=EXPENSIVE)


@pytest.mark.slow
def test_the_method_conforms_in_all_settings() -> None:
    check_method(IBOT)


@pytest.mark.slow
def test_without_draws_two_processes_equal_one() -> None:
    """Masks differ from process to process; without them losses and gradients are compared, KoLeo's too."""
    check_method(IBOT, replace(SMALL, mask_probability=0.0), views=LOCAL)


def test_the_evaluator_conforms() -> None:
    check_evaluator(PatchKNN)
