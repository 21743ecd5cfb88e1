"""What every backbone has without writing it."""

import pytest
import torch
from known_features import KnownFeatures, as_images


@pytest.mark.parametrize("has_cls", [True, False])
def test_features_and_tokens_are_cls_or_the_mean_of_the_patches(has_cls: bool) -> None:
    net, rows = KnownFeatures(3, has_cls=has_cls), torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    features, tokens = net.features_and_tokens(as_images(rows))
    assert torch.equal(features, rows if has_cls else -rows)
    assert torch.equal(tokens.patches, -rows[:, None])


def test_a_mask_token_is_a_parameter_only_where_it_is_learned() -> None:
    net = KnownFeatures(3)
    assert net.mask_token is None
    assert not net.state_dict()
    net.mask_token = torch.nn.Parameter(torch.ones(3))
    assert [name for name, _ in net.named_parameters()] == ["mask_token"]
