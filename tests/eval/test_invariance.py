"""Invariance, with backbones that ignore or keep exactly what they should."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from oracle_backbones import Oracle, constant
from PIL import Image
from torch import Tensor

from sslkit.augment.config import (
    BlurConfig,
    ColorJitterConfig,
    FlipConfig,
    GrayscaleConfig,
    MultiCropConfig,
    PatchesConfig,
    RotationConfig,
)
from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.errors import DataError, RecipeError
from sslkit.eval.invariance import (
    Invariance,
    InvarianceConfig,
    own_is_nearest,
    scaled_similarity,
)
from sslkit.eval.invariance_operations import Operation, operations
from sslkit.nn.pocket import vit_pocket
from sslkit.plugins import Registry
from sslkit.recipe.schema import Component

SIDE = 16
NAMES = [
    *("brightness", "contrast", "saturation", "hue", "greyscale", "blur", "solarise"),
    *("crop", "flip", "rotation", "translation", "noise", "jpeg"),
]


def mild(n: int = 24, channels: int = 3) -> Tensor:
    """Smooth images in [0.25, 0.45], so that no operation on colours leaves [0, 1]; normalised."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(n, channels, 4, 4, generator=generator)
    pixels = 0.25 + 0.2 * torch.nn.functional.interpolate(small, (SIDE, SIDE), mode="bilinear")
    return (pixels - 0.5) / 0.25


def pixels_of(x: Tensor) -> Tensor:
    return x * 0.25 + 0.5


def luma(x: Tensor) -> Tensor:
    """Greys, pixel by pixel, whatever the colour."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (pixels_of(x) * weights).sum(1).flatten(1)


def largest_channel(x: Tensor) -> Tensor:
    """V of HSV, whatever the hue."""
    return pixels_of(x).amax(1).flatten(1)


def mean_chroma(x: Tensor) -> Tensor:
    """The mean colour less its grey: a direction for each hue, wherever its pixels are."""
    mean = pixels_of(x).mean((2, 3))
    return mean - mean.mean(1, keepdim=True)


def hues(n: int = 24) -> Tensor:
    """Images of one colour each, around the circle; normalised."""
    angle = torch.arange(n) * (2 * torch.pi / n)
    colours = torch.stack([(angle + 2 * torch.pi * k / 3).cos() for k in range(3)], 1)  # [N, 3]
    return (colours * 0.4)[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()


def asked(
    images: Tensor,
    answer: Any,
    tmp_path: Path,
    *,
    augment: Any = None,
    labels: Tensor | None = None,
    **keys: Any,
) -> Result:
    subject = Subject(Oracle(answer) if not isinstance(answer, torch.nn.Module) else answer)  # type: ignore[arg-type]
    context = context_for(subject, tmp_path)
    context.recipe = replace(context.recipe, augment=Component("multicrop", augment or MultiCropConfig()))
    classes = None if labels is None else ("a", "b", "c")
    data = Pictures(images, labels, classes=classes)
    return Invariance(InvarianceConfig(**keys))(subject, EvalData(data, data), context)


def told(result: Result, start: str) -> set[str]:
    """The names in the note that starts so."""
    (note,) = [note for note in result.notes if note.startswith(start)]
    return set(note.removeprefix(start).split(" (")[0].strip(" .").split(", "))


def test_a_backbone_without_colours_ignores_them(tmp_path: Path) -> None:
    result = asked(mild(), luma, tmp_path)
    for name in ("greyscale", "saturation", "brightness"):  # a cosine does not see a factor
        assert result.metrics[f"similarity_{name}"] == pytest.approx(1, abs=1e-6)
        assert result.metrics[f"retrieved_{name}"] == 1
    assert {"greyscale", "saturation", "brightness"} <= told(result, "This backbone ignores:")
    assert "flip" in told(result, "It keeps:")
    assert result.metrics["similarity_flip"] < 0.3
    assert result.metrics["similarity_hue"] < 0.999  # luma moves with the hue


def test_a_backbone_that_sees_values_ignores_the_hue(tmp_path: Path) -> None:
    found = asked(mild(), largest_channel, tmp_path).metrics
    assert found["similarity_hue"] == pytest.approx(1, abs=1e-5)
    assert found["similarity_greyscale"] < 0.9


def test_a_backbone_of_colours_keeps_them(tmp_path: Path) -> None:
    result = asked(hues(), mean_chroma, tmp_path, strengths=[0.0, 0.5, 1.0, 2.0])
    assert {"flip", "translation*", "rotation*", "crop", "blur"} <= told(result, "This backbone ignores:")
    assert "greyscale" in told(result, "It keeps:")
    rows = {(r["operation"], r["strength"]): r for r in rows_of(result)}
    angle = [float(rows["hue", s]["similarity"]) for s in ("0", "0.5", "1", "2")]
    cosine = [math.cos(2 * math.pi * 0.1 * s) for s in (0, 0.5, 1, 2)]  # different hues: -1/23 in the mean
    scaled = [(c + 1 / 23) / (1 + 1 / 23) for c in cosine]
    assert angle == pytest.approx(scaled, abs=0.05)  # HSV's hexagon is not quite a circle
    assert float(rows["hue", "1"]["retrieved"]) == 0


def rows_of(result: Result) -> list[dict[str, str]]:
    with result.tables["curves"].open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_similarity_is_on_the_scale_of_the_pairs() -> None:
    rng = np.random.default_rng(0)
    plain, changed = rng.normal(size=(2, 7, 3)) + 1
    for x in (plain, changed):
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    apart = np.mean([plain[i] @ plain[j] for i in range(7) for j in range(7) if i != j])
    wanted = [(plain[i] @ changed[i] - apart) / (1 - apart) for i in range(7)]
    found = scaled_similarity(torch.from_numpy(plain), torch.from_numpy(changed))
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(scaled_similarity(*[torch.from_numpy(plain)] * 2), 1, atol=1e-12)


def test_the_nearest_is_shared_where_several_are() -> None:
    east, north, west = torch.eye(2).double()[0], torch.eye(2).double()[1], -torch.eye(2).double()[0]
    wholes = torch.stack([east, east, north, west])
    queries = torch.stack([east, north, north, west])
    assert own_is_nearest(wholes, queries).tolist() == [0.5, 0, 1, 1]


def test_features_that_are_all_the_same_say_nothing(tmp_path: Path) -> None:
    result = asked(mild(), constant, tmp_path)
    assert math.isnan(result.metrics["similarity_hue"])
    assert result.metrics["retrieved_hue"] == pytest.approx(1 / 24)
    assert result.notes == ["The features of different images are the same: nothing to compare with."]


def by_name(augment: Any) -> dict[str, Operation]:
    return {operation.name: operation for operation in operations(augment)}


@pytest.mark.parametrize(
    ("augment", "trained"),
    [
        (MultiCropConfig(), {*NAMES[:9]}),
        (MultiCropConfig(color_jitter=ColorJitterConfig(p=0.0)), {*NAMES[4:9]}),
        (MultiCropConfig(color_jitter=ColorJitterConfig(hue=0.0)), {*NAMES[:9]} - {"hue"}),
        (MultiCropConfig(flip=FlipConfig(p=[0.0, 0.0, 0.5])), {*NAMES[:9]}),
        (MultiCropConfig(flip=FlipConfig(p=[0.0, 0.0, 0.5]), local_count=0), {*NAMES[:9]} - {"flip"}),
        (MultiCropConfig(global_scale=[1.0, 1.0]), {*NAMES[:9]} - {"crop"}),
        (MultiCropConfig(rotation=RotationConfig(p=0.5, degrees=10)), {*NAMES[:10]}),
        (MultiCropConfig(extra=[{"name": "RandomJPEG"}, {"name": "RandomErasing"}]), {*NAMES[:9], "jpeg"}),
        (MultiCropConfig(extra=[{"name": "RandomAffine", "p": 0.0}]), {*NAMES[:9]}),
        (PatchesConfig(), {"brightness", "contrast", "saturation", "hue", "greyscale", "crop", "flip"}),
        (
            PatchesConfig(blur=BlurConfig(p=0.5), grayscale=GrayscaleConfig(p=0.0)),
            {*NAMES[:4], "blur", "crop", "flip"},
        ),
        (None, set()),
    ],
)
def test_what_was_trained_on_is_read_from_the_recipe(augment: Any, trained: set[str]) -> None:
    found = operations(augment)
    assert [o.name for o in found] == NAMES
    assert {o.name for o in found if o.trained} == trained


def test_the_strengths_are_those_of_the_recipe() -> None:
    jitter = ColorJitterConfig(brightness=0.8, contrast=0.7, saturation=0.6, hue=0.05)
    config = MultiCropConfig(color_jitter=jitter, blur=BlurConfig(sigma=[0.1, 1.5]), global_scale=[0.25, 1.0])
    found = by_name(config)
    meanings = ["factor 1 ± 0.8", "factor 1 ± 0.7", "factor 1 ± 0.6", "±0.05 of the circle"]
    assert [found[name].meaning for name in NAMES[:4]] == meanings
    assert found["blur"].meaning == "sigma 1.5 px"
    assert found["crop"].meaning == "0.25 of the area"
    assert by_name(PatchesConfig(scale=[0.3, 0.5], gap=0.0))["crop"].meaning == "0.09 of the area"
    off = MultiCropConfig(color_jitter=replace(jitter, p=0.0), blur=BlurConfig(p=0.0, sigma=[0.1, 9.0]))
    assert by_name(off)["hue"].meaning == "±0.1 of the circle"
    assert by_name(off)["blur"].meaning == "sigma 2 px"


def test_colours_go_up_for_even_images_and_down_for_odd_ones() -> None:
    found = by_name(MultiCropConfig())
    pixels = pixels_of(mild(4))
    bright = found["brightness"](pixels, 0.5)
    torch.testing.assert_close(bright[::2], pixels[::2] * 1.2)
    torch.testing.assert_close(bright[1::2], pixels[1::2] * 0.8)
    grey = (pixels * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    factor = torch.tensor([1.2, 0.8, 1.2, 0.8]).view(-1, 1, 1, 1)
    torch.testing.assert_close(found["saturation"](pixels, 1), grey + factor * (pixels - grey))
    mean = grey.mean((2, 3), keepdim=True)
    factor = torch.tensor([1.8, 0.2, 1.8, 0.2]).view(-1, 1, 1, 1)
    torch.testing.assert_close(found["contrast"](pixels, 2), (mean + factor * (pixels - mean)).clamp(0, 1))
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(2, -1, 2, 2)
    turned = found["hue"](red, 2)[..., 0, 0]  # a fifth of the circle: 1.2 sextants
    torch.testing.assert_close(turned, torch.tensor([[0.8, 1.0, 0.0], [0.8, 0.0, 1.0]]))


def test_the_others_at_strengths_that_are_known() -> None:
    found = by_name(MultiCropConfig(global_scale=[0.25, 1.0]))
    pixels = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    pixels = (pixels * 255).round() / 255
    grey = (pixels * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(found["greyscale"](pixels, 0.25), 0.75 * pixels + 0.25 * grey)
    torch.testing.assert_close(found["solarise"](pixels, 1), torch.where(pixels >= 0.5, 1 - pixels, pixels))
    torch.testing.assert_close(found["solarise"](pixels, 2), 1 - pixels)
    torch.testing.assert_close(found["flip"](pixels, 1), pixels.flip(-1))
    moved = found["translation"](pixels, 1)  # 2 pixels, the edge goes on
    torch.testing.assert_close(moved[::2, ..., 2:], pixels[::2, ..., :-2], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[1::2, ..., :-2], pixels[1::2, ..., 2:], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        moved[::2, ..., :2], pixels[::2, ..., :1].expand(-1, -1, -1, 2), atol=1e-4, rtol=0
    )
    noise = (found["noise"](torch.full((4, 3, 64, 64), 0.5), 2) - 0.5).std()
    assert float(noise) == pytest.approx(0.2, abs=0.005)
    quarter = by_name(MultiCropConfig(rotation=RotationConfig(p=1.0, degrees=90.0)))["rotation"]
    turned = quarter(pixels, 1)
    torch.testing.assert_close(turned[::2], pixels[::2].rot90(1, (2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(turned[1::2], pixels[1::2].rot90(-1, (2, 3)), atol=1e-4, rtol=0)


def test_a_crop_is_a_share_of_the_area() -> None:
    crop = by_name(MultiCropConfig(global_scale=[0.25, 1.0]))["crop"]
    ramp = torch.linspace(0, 1, 64).expand(3, 3, 64, 64)
    for strength, side in ((0.5, 0.707), (1, 0.5), (2, 0.25)):
        seen = crop(ramp, strength)
        assert (seen.amax((1, 2, 3)) - seen.amin((1, 2, 3))).tolist() == pytest.approx([side] * 3, abs=0.05)


def test_jpeg_files_and_blur_get_worse_with_the_strength() -> None:
    found = by_name(MultiCropConfig())
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for name in ("jpeg", "blur"):
        errors = [float((found[name](pixels, s) - pixels).abs().mean()) for s in (0.1, 0.5, 1, 2)]
        assert errors == sorted(errors)
        assert errors[-1] > 1.2 * errors[0] > 0


def test_no_operation_draws_or_changes_its_input() -> None:
    pixels = pixels_of(3 * mild(3) + 3)  # on both sides of 0.5
    before, state = pixels.clone(), torch.get_rng_state()
    for operation in operations(MultiCropConfig()):
        first, second = operation(pixels, 1), operation(pixels, 1)
        assert torch.equal(first, second)
        assert first.shape == pixels.shape
        assert 0 <= first.amin() <= first.amax() <= 1
        assert not torch.equal(first, pixels)
        assert torch.equal(pixels, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_operation_has_the_strengths_that_make_sense() -> None:
    found = by_name(None)
    wanted = [0.0, 0.5, 1.0, 1.5, 2.0]
    assert found["hue"].strengths(wanted) == [0.5, 1, 1.5, 2]
    assert found["greyscale"].strengths(wanted) == [0.5, 1]
    assert found["flip"].strengths(wanted) == [1]


@pytest.mark.parametrize(("channels", "lacking"), [(1, 3), (5, 4)])
def test_other_channels_do_without_colours(channels: int, lacking: int, tmp_path: Path) -> None:
    result = asked(mild(6, channels), lambda x: x.flatten(1), tmp_path)
    names = {name.removeprefix("similarity_") for name in result.metrics if name.startswith("similarity_")}
    missing = ["saturation", "hue", "greyscale", "jpeg"][:lacking]
    assert names == {*NAMES} - {*missing}
    assert result.notes[-1] == f"Left out, since they need RGB images: {', '.join(missing)}."


def test_labels_are_asked_of_the_unchanged_bank(tmp_path: Path) -> None:
    colours = torch.eye(3).repeat(12, 1) * 0.8 - 0.4
    images = colours[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()
    labels = torch.arange(3).repeat(12)
    result = asked(images, mean_chroma, tmp_path, labels=labels)
    assert result.metrics["knn_none"] == result.metrics["knn_flip"] == 1
    assert result.metrics["knn_greyscale"] == pytest.approx(1 / 3)  # nothing left: one class for all
    rows = {(r["operation"], r["strength"]): r for r in rows_of(result)}
    assert float(rows["hue", "2"]["knn"]) < 0.6
    assert (rows["hue", "1"]["trained"], rows["noise", "1"]["trained"]) == ("true", "false")
    assert rows["flip", "0"]["similarity"] == "1.0000"


def test_unlabelled_images_do_not_vote_and_are_not_asked(tmp_path: Path) -> None:
    colours = torch.eye(3).repeat(12, 1) * 0.8 - 0.4
    images = colours[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()
    labels = torch.arange(3).repeat(12)
    labels[:9] = -1
    result = asked(images, mean_chroma, tmp_path, labels=labels)
    assert (result.metrics["knn_none"], result.counts["knn_none"]) == (1, 27)


def test_without_labels_there_is_what_finds_itself(tmp_path: Path) -> None:
    result = asked(mild(6), luma, tmp_path)
    assert not any(name.startswith("knn") for name in result.metrics)
    assert {row["knn"] for row in rows_of(result)} == {""}
    assert not any("kNN" in note for note in result.notes)


def test_the_accuracy_decides_too(tmp_path: Path) -> None:
    """Features that hardly move, on the scale of all images, may still change every neighbour."""

    def far_apart(x: Tensor) -> Tensor:
        """Two groups that are far apart, within each a small part that says which class."""
        chroma = mean_chroma(x)
        big = torch.where(pixels_of(x).mean((1, 2, 3)) > 0.5, 1.0, -1.0)[:, None]
        return torch.cat([big, 0.1 * chroma], 1)

    colours = torch.eye(3).repeat(12, 1) * 0.3
    level = torch.tensor([0.3, -0.7]).repeat_interleave(18)[:, None]
    images = (colours + level)[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()
    result = asked(images, far_apart, tmp_path, labels=torch.arange(3).repeat(12))
    assert result.metrics["similarity_greyscale"] > 0.9
    assert "greyscale" in told(result, "It keeps:")


def test_a_real_network_beside_its_untrained_self(tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = vit_pocket(channels=3, image_size=16, drop_path_rate=0.0, depth=1).train()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    results = [asked(mild(6), net, tmp_path / str(i), strengths=[0.0, 1.0]) for i in range(2)]
    assert net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert results[0].metrics == results[1].metrics
    assert {f"similarity_{name}_untrained" for name in NAMES} <= set(results[0].metrics)
    low, high = results[0].intervals["similarity_hue"]
    assert low < results[0].metrics["similarity_hue"] < high
    assert results[0].counts["similarity_hue"] == 6
    assert not any(
        "untrained" in n for n in asked(mild(4), net, tmp_path, strengths=[1.0], floor=False).metrics
    )
    for path in results[0].figures.values():
        with Image.open(path) as image:
            image.load()
            assert image.width > 900


def test_the_network_sees_normalised_images_in_eval_mode(tmp_path: Path) -> None:
    net = Oracle(luma).train()
    asked(mild(4), net, tmp_path, strengths=[1.0])
    assert net.modes == {False}
    assert net.training
    torch.testing.assert_close(net.seen[0], mild(4))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"images": 2}, "'images' is 2, but must be 3 or more"),
        ({"strengths": [0.0, 2.0]}, r"'strengths' is \[0.0, 2.0\], but must be numbers from 0 to 2, 1 among"),
        ({"strengths": [1.0, 2.5]}, "'strengths' is"),
    ],
)
def test_an_impossible_value_is_refused_by_its_key(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        InvarianceConfig(**keys)


def test_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="invariance needs 3 held-out images or more, but pictures has 2"):
        asked(mild(2), luma, tmp_path)


def test_it_is_found_by_its_name() -> None:
    assert Registry.load().get("evaluators", "invariance") is Invariance
