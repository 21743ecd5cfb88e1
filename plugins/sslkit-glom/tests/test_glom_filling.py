"""The method `glom`: what is missing, what the loss is, its peer on a ViT, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit import Progress, Views
from sslkit.core.randomness import seeded
from sslkit.errors import RecipeError
from sslkit.testing import SmallSetup, make_views
from sslkit_glom.backbone import Glom
from sslkit_glom.filling import FillingIn, FillingInConfig, draw_missing, mean_over

ARGS: dict[str, Any] = {"patch_size": 8, "levels": 3, "dim": 16}
NOW = Progress(3, 20, 4)
CPU = torch.device("cpu")


def build(config: FillingInConfig | None = None, setup: SmallSetup | None = None) -> FillingIn:
    with seeded(0, "weights"):
        return FillingIn(
            config or FillingInConfig(), setup or SmallSetup(Glom, args=ARGS, drop_path_rate=0.0)
        )


def test_whole_regions_are_missing_and_as_many_as_asked_for() -> None:
    missing = draw_missing(400, (6, 8), share=0.25, region=2, device=CPU).view(400, 6, 8)
    assert (missing.flatten(1).sum(1) == 12).all()  # 3 of 12 regions of 4 places
    regions = missing.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)
    assert (regions.all(3) == regions.any(3)).all()
    assert 0.15 < missing.float().mean(0).min() <= missing.float().mean(0).max() < 0.35  # anywhere


@pytest.mark.parametrize(
    ("share", "region", "wanted"), [(0.001, 1, 1), (0.999, 1, 8), (0.5, 2, 4.5), (0.5, 3, 4), (0.5, 9, 4)]
)
def test_something_is_missing_and_something_is_not_where_that_can_be(
    share: float, region: int, wanted: float
) -> None:
    missing = draw_missing(400, (3, 3), share=share, region=region, device=CPU).sum(1).float()
    assert missing.mean().item() == pytest.approx(wanted, abs=0.4)  # regions are cut at the border


def test_the_loss_is_the_error_of_pixels_read_off_the_lowest_level() -> None:
    config = FillingInConfig(present=0.25, imagined=0.5)
    method, views = build(config).double(), make_views(0)
    images = views.global_views.double()
    with seeded(1):
        output = method(Views(images), NOW)
    with seeded(1):
        missing = draw_missing(16, (4, 4), share=0.5, region=2, device=CPU)
    levels, imagined = method.backbone.levels_and_imagined(images.flatten(0, 1), missing)  # type: ignore[operator]
    errors, *above = (errors_of(method, tokens.patches, images) for tokens in (levels[0], *imagined))
    gone = missing.numpy()
    where_missing = np.mean([e[m].mean() for e, m in zip(errors, gone, strict=True)])
    where_present = np.mean([e[~m].mean() for e, m in zip(errors, gone, strict=True)])
    assert output.metrics["missing_error"].item() == pytest.approx(where_missing)
    wanted = where_missing + 0.25 * where_present + 0.5 * np.mean([above[0].mean(), above[1].mean()])
    assert output.loss.item() == pytest.approx(wanted)
    assert output.metrics["imagined_error_3"].item() == pytest.approx(above[1].mean())


def errors_of(method: FillingIn, states: Tensor, images: Tensor) -> np.ndarray:
    """Of each place of each image, from patches that are cut out one by one."""
    said, errors = method.pixels(states).detach().numpy(), np.zeros((16, 16))
    for i, image in enumerate(images.flatten(0, 1).numpy()):
        for place in range(16):
            row, column = place // 4, place % 4
            patch = image[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].ravel()
            errors[i, place] = ((said[i, place] - patch) ** 2).mean()
    return errors


def test_what_is_missing_has_no_part_in_what_is_read() -> None:
    method, images = build(), make_views(0).global_views
    with seeded(1):
        before = method._filled(images[0])
    with seeded(1):
        gone = draw_missing(8, (4, 4), share=0.5, region=2, device=CPU)
    shown = gone.view(8, 1, 4, 4).float().repeat_interleave(8, 2).repeat_interleave(8, 3)
    with seeded(1):
        after = method._filled(images[0] + 5 * shown)
    assert torch.equal(before.features, after.features)
    torch.testing.assert_close(before.present, after.present)
    assert not torch.allclose(before.missing, after.missing)


def test_noise_covers_what_else_would_be_missing() -> None:
    method, images = build(FillingInConfig(noise=2.0)), make_views(0).global_views[0]
    with seeded(1):
        gone = draw_missing(8, (4, 4), share=0.5, region=2, device=CPU)
        noise = torch.randn_like(images)
    covered = gone.view(8, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    seen = torch.where(covered, images + 2 * noise, images)
    with seeded(1):
        filled = method._filled(images)
    wanted = method.backbone.tokens(seen).patches.mean(1)
    torch.testing.assert_close(filled.features, wanted)
    levels, _ = method.backbone.levels_and_imagined(seen)  # type: ignore[operator]
    pixels, true = method.pixels(levels[0].patches), F.pixel_unshuffle(images, 8).flatten(2).mT
    errors = (pixels - true).square().mean(-1)  # of the image without noise
    torch.testing.assert_close(filled.missing, mean_over(errors, gone))


def test_agreement_is_watched_at_each_level_and_a_collapse_has_a_sign() -> None:
    method = build()
    output = method(make_views(2), NOW)
    levels = {f"agreement_{n}" for n in (1, 2, 3)}
    assert levels < output.metrics.keys()
    (sign,) = method.signs
    assert sign.verdict == "dead features"
    assert sign.when.keys() == levels
    network = method.backbone.network
    with torch.no_grad():  # nothing tells the places apart but what is missing, and that says little
        network.embed.weight.zero_()  # type: ignore[union-attr, operator]
        network.top_down.first.weight[:, 16:].zero_()  # type: ignore[union-attr, index]
        network.bottom_up.second.weight.mul_(1e-3)  # type: ignore[union-attr, operator]
        network.bottom_up.second.bias.fill_(1)  # type: ignore[union-attr, operator]
    collapsed = method(make_views(0), NOW)
    assert all(low <= collapsed.metrics[key].item() <= high for key, (low, high) in sign.when.items())
    assert not all(low <= output.metrics[key].item() <= high for key, (low, high) in sign.when.items())


def test_a_vit_is_a_peer() -> None:
    method = build(setup=SmallSetup("vit"))
    output = method(make_views(2), NOW)
    assert output.metrics.keys() == {"missing_error", "present_error"}
    assert not method.signs


def test_mean_over_nothing_is_nothing() -> None:
    values, where = torch.tensor([[1.0, 3.0], [2.0, 5.0]]), torch.tensor([[True, True], [False, False]])
    assert mean_over(values, where).tolist() == [2.0, 0.0]


def test_what_it_refuses() -> None:
    with pytest.raises(RecipeError, match="needs a backbone with patches"):
        build(setup=SmallSetup("resnet"))
    for changed, told in (
        ({"missing": 1.0}, "'missing' is 1.0, but must be above 0 and below 1"),
        ({"region": 0}, "'region' is 0, but must be >= 1"),
        ({"noise": -1.0}, "'noise' is -1.0, but must be >= 0"),
    ):
        with pytest.raises(RecipeError, match=told):
            FillingInConfig(**changed)  # type: ignore[arg-type]
