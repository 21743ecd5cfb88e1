"""Which boxes are chosen, and how they are resized: against torchvision and PIL."""

import math
from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from augment.photos import NAMES, error, levels, photo, square, unit
from PIL import Image
from scipy.stats import ks_2samp
from torch import Tensor
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

from sslkit.augment.crop import (
    ASPECTS,
    CANDIDATES,
    canvas_boxes,
    choose_boxes,
    resample,
    resample_by_loop,
    resample_by_matrices,
    resize_weights,
)
from sslkit.augment.ops import RandomResizedCrop

DRAWN = 2000
BOXES = {
    "6x smaller": ((0, 0, 300, 300), 50),
    "2.3x smaller": ((20, 30, 270, 280), 108),
    "1.3x smaller": ((0, 10, 280, 300), 220),
    "twice as large": ((50, 60, 150, 170), 224),
    "ten pixels": ((100, 100, 120, 110), 96),
}


def boxes_of(size: tuple[int, int], scale: tuple[float, float], n: int = DRAWN) -> Tensor:
    torch.manual_seed(0)
    drawn = RandomResizedCrop(32, scale, antialias=True).forward_parameters((n, 3, 32, 32))
    return choose_boxes(drawn["area"], drawn["aspect"], drawn["place"], torch.tensor([size]).expand(n, 2))


def torchvision_boxes(size: tuple[int, int], scale: tuple[float, float], n: int = DRAWN) -> Tensor:
    torch.manual_seed(1)
    image = torch.empty(1, *size)
    boxes = [TorchvisionCrop.get_params(image, list(scale), list(ASPECTS)) for _ in range(n)]
    return torch.tensor(boxes, dtype=torch.float32)


@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.05, 0.4)])
@pytest.mark.parametrize("size", [(256, 256), (300, 400), (451, 300), (60, 400), (400, 40)])
def test_boxes_are_distributed_as_torchvisions(size: tuple[int, int], scale: tuple[float, float]) -> None:
    ours, theirs = boxes_of(size, scale), torchvision_boxes(size, scale)
    quantities: dict[str, Callable[[Tensor], Tensor]] = {
        "area": lambda b: b[:, 2] * b[:, 3],
        "aspect": lambda b: b[:, 3] / b[:, 2],
        "top": lambda b: b[:, 0],
        "left": lambda b: b[:, 1],
    }
    for name, of in quantities.items():
        found = ks_2samp(of(ours), of(theirs))
        assert found.pvalue > 0.01, f"{name} of {size}: KS {found.statistic:.3f}"


def test_boxes_lie_within_the_image() -> None:
    for size in [(256, 256), (7, 3), (1, 1), (400, 30)]:
        boxes = boxes_of(size, (0.05, 1.0), 500)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] >= 1).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= torch.tensor(size)).all()


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((40, 400), (0, 173, 40, 53)), ((400, 30), (180, 0, 40, 30)), ((300, 400), (0, 0, 300, 400))],
)
def test_the_fallback_is_centred_and_as_large_as_a_valid_aspect_allows(
    size: tuple[int, int], wanted: tuple[int, ...]
) -> None:
    too_large = torch.full((1, CANDIDATES), 4.0)
    found = choose_boxes(
        too_large, torch.ones(1, CANDIDATES), torch.tensor([[0.9, 0.9]]), torch.tensor([size])
    )
    assert found.tolist() == [list(wanted)]


def test_the_first_candidate_that_fits_is_taken() -> None:
    area = torch.tensor([[4.0, 0.25, 0.04]])
    found = choose_boxes(area, torch.ones(1, 3), torch.tensor([[0.0, 0.999]]), torch.tensor([[100, 100]]))
    assert found.tolist() == [[0, 50, 50, 50]]


def test_boxes_keep_the_images_proportions_on_a_squashed_canvas() -> None:
    found = canvas_boxes(torch.tensor([[30.0, 100, 60, 60]]), torch.tensor([[300, 400]]), 200)
    assert found.tolist() == [[20, 50, 60, 80]]  # a square of the image is 40 x 30 on the canvas
    edge = canvas_boxes(torch.tensor([[999.0, 0, 1, 1000]]), torch.tensor([[1000, 1000]]), 10)
    assert edge.tolist() == [[9, 0, 10, 10]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", BOXES)
def test_resized_as_pil_and_torchvision_do(name: str, what: str) -> None:
    (top, left, bottom, right), side = BOXES[what]
    image = square(name, 300)
    box = torch.tensor([[top, left, bottom, right]])
    got = resample(levels(image)[None], box, side)[0]
    pil = image.crop((left, top, right, bottom)).resize((side, side), Image.Resampling.BICUBIC)
    assert error(got, pil) < 0.32
    theirs = tv.resized_crop(
        unit(image), top, left, bottom - top, right - left, [side, side], tv.InterpolationMode.BICUBIC, True
    )
    assert error(got, theirs.clamp(0, 1)) < 1e-3
    assert got.min() >= 0
    assert got.max() <= 1


@pytest.mark.parametrize("what", BOXES)
def test_the_two_ways_to_resize_agree(what: str) -> None:
    box, side = BOXES[what]
    canvas = torch.stack([levels(square(name, 300)) for name in NAMES])
    boxes = torch.tensor([box, [0, 0, 300, 300], [10, 200, 290, 203]])
    loop, matrices = (by(canvas, boxes, side) for by in (resample_by_loop, resample_by_matrices))
    assert (loop - matrices).abs().max() * 255 < 0.01
    weights = resize_weights(boxes[:, 0], boxes[:, 2], 300, side)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, side))


@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_a_crop_out_of_a_squashed_canvas_is_the_crop_of_the_image(name: str) -> None:
    image = photo(name)
    side = max(image.size)
    canvas = levels(image.resize((side, side), Image.Resampling.BICUBIC))[None]
    top, left, height, width = 10, 20, 260, 280
    size = torch.tensor([[image.height, image.width]])
    boxes = canvas_boxes(torch.tensor([[top, left, height, width]]).float(), size, side)
    direct = image.crop((left, top, left + width, top + height)).resize((224, 224), Image.Resampling.BICUBIC)
    assert error(resample(canvas, boxes, 224)[0], direct) < 0.7


def test_kornias_own_resampling_can_be_chosen() -> None:
    canvas = levels(square("astronaut", 300))[None]
    torch.manual_seed(0)
    views = []
    for antialias in (True, False):
        crop = RandomResizedCrop(50, (1.0, 1.0), antialias=antialias)
        torch.manual_seed(0)
        drawn = crop.forward_parameters((1, 3, 50, 50))
        views.append(crop(canvas, params={**drawn, "size": torch.tensor([[300, 300]])})[0])
    pil = square("astronaut", 300).resize((50, 50), Image.Resampling.BICUBIC)
    assert error(views[0], pil) < 3
    assert 8 < error(views[1], pil) < 20  # without antialias
    assert views[1].shape == views[0].shape


def test_areas_and_aspects_fill_their_ranges() -> None:
    boxes = boxes_of((1000, 1000), (0.2, 0.3))
    area, aspect = boxes[:, 2] * boxes[:, 3] / 1e6, boxes[:, 3] / boxes[:, 2]
    assert 0.199 < area.min() < 0.205
    assert 0.295 < area.max() < 0.301
    low, high = ASPECTS
    assert math.isclose(aspect.min(), low, rel_tol=0.01)
    assert math.isclose(aspect.max(), high, rel_tol=0.01)
