"""The method keeps to the interface, and its loss is the paper's."""

from importlib.metadata import entry_points

import numpy as np
import pytest
import torch

from sslkit.core.method import Progress
from sslkit.testing import SmallSetup, check_method, make_views
from sslkit_simsiam import SimSiam, SimSiamConfig, negative_cosine


def test_it_conforms() -> None:
    check_method(SimSiam, SimSiamConfig(dim=16))


def test_it_is_found_under_its_name() -> None:
    plugin = entry_points(group="sslkit")["simsiam"].load()
    assert plugin.sslkit_methods() == {"simsiam": SimSiam}


def test_the_loss_is_the_papers() -> None:
    p, z = np.random.default_rng(0).normal(size=(2, 6, 3))
    cosines = (p * z).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(z, axis=1)
    got = negative_cosine(torch.tensor(p), torch.tensor(z))
    assert float(got) == pytest.approx(-cosines.mean(), rel=1e-6)


def test_the_target_gets_no_gradient() -> None:
    p, z = torch.randn(2, 6, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(negative_cosine(p, z), z, allow_unused=True, retain_graph=True)
    assert gradient is None


def test_both_views_predict() -> None:
    """Exchanging the views changes nothing, and the loss is that of the two directions' mean."""
    torch.manual_seed(0)
    method = SimSiam(SimSiamConfig(dim=16), SmallSetup()).eval()
    views, progress = make_views(local_count=0), Progress(0, 1, 1)
    exchanged = make_views(local_count=0).global_views.flip(0)
    first = method(views, progress).loss
    second = method(type(views)(exchanged), progress).loss
    torch.testing.assert_close(first, second)
    z = [method.projector(method.backbone(view)) for view in views.global_views]
    directions = [negative_cosine(method.predictor(z[i]), z[1 - i]) for i in (0, 1)]
    torch.testing.assert_close(first, torch.stack(directions).mean())


def test_an_impossible_width_is_refused() -> None:
    with pytest.raises(ValueError, match="'dim' is 3"):
        SimSiamConfig(dim=3)
