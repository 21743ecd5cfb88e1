"""The evaluator: a network whose attention is known, on sets with corners; real networks and their floors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from oracles import attention as oracle
from PIL import Image
from torch import Tensor, nn

from sslkit.core.backbone import Backbone, Tokens
from sslkit.core.evaluator import EvalData, ImageSet, Result, Subject
from sslkit.errors import RecipeError
from sslkit.eval.attention_figure import chosen
from sslkit.eval.attention_masks import AttentionConfig, AttentionMasks
from sslkit.eval.attention_views import whole_size, whole_views
from sslkit.nn.pocket import conv_pocket, vit_pocket
from sslkit.plugins import Registry
from sslkit.recipe.schema import BackboneSection
from sslkit.train.export import save_backbone

SIDE, PATCH = 16, 4


class Bright(Backbone):
    """Head 1 attends to what is bright, head 2 to what is dark, a patch as much as its mean."""

    patch_size, embed_dim = PATCH, 1

    def __init__(self, *, sees: bool = True) -> None:
        super().__init__()
        self.sees, self.sizes, self.modes = sees, list[tuple[int, ...]](), set[bool]()

    network = property(lambda self: nn.Identity())
    export_metadata: Mapping[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None]

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        raise AssertionError("the grid follows from the patches")

    def layers(self, x: Tensor, n: int) -> list[Tokens]:
        raise NotImplementedError

    def cls_attention(self, x: Tensor) -> Tensor | None:
        self.sizes.append(tuple(x.shape))
        self.modes.add(self.training)
        bright = nn.functional.avg_pool2d((x * 0.25 + 0.5).mean(1), PATCH).flatten(1)  # [B, N] in [0, 1]
        return torch.stack([bright, (1 - bright) ** 2], 1) if self.sees else None  # [B, 2, N]


def scenes(count: int = 12, *, objects: bool = False) -> Pictures:
    """A square of 8 px, bright in the first half and dark in the second, on ground of the other kind."""
    generator = torch.Generator().manual_seed(5)
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for mask, corner in zip(masks, torch.randint(0, SIDE - 8, (count, 2), generator=generator), strict=True):
        mask[corner[0] : corner[0] + 8, corner[1] : corner[1] + 8] = True
    lit = masks ^ (torch.arange(count) >= count // 2)[:, None, None]
    pixels = 0.1 + 0.8 * lit + 0.05 * torch.rand(count, SIDE, SIDE, generator=generator)
    images = ((pixels[:, None].expand(-1, 3, -1, -1) * 255).round() / 255 - 0.5) / 0.25
    numbered = masks.to(torch.uint8)
    numbered[:, 0] = oracle.VOID
    return Pictures(images, masks=masks, objects=numbered if objects else None)


def asked(
    pictures: ImageSet, backbone: Backbone, folder: Path, evaluator: AttentionMasks | None = None, **keys: Any
) -> Result:
    evaluator = evaluator or AttentionMasks(AttentionConfig(**keys))
    context = context_for(Subject(backbone), folder)
    context.recipe = replace(context.recipe, eval=replace(context.recipe.eval, resize=SIDE, crop=SIDE))
    return evaluator(Subject(backbone), EvalData(pictures, pictures), context)


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("whole", [True, False])
def test_numbers_are_the_oracles(objects: bool, whole: bool, tmp_path: Path) -> None:
    pictures, net = scenes(objects=objects), Bright().train()
    found = asked(pictures, net, tmp_path, whole=whole)
    truth = pictures.objects if objects else pictures.masks
    assert truth is not None
    labels = truth.numpy().astype(np.uint8)
    with torch.no_grad():
        heads = net.cls_attention(pictures.images)
    assert heads is not None
    maps = torch.cat([heads, heads.mean(1, keepdim=True)], 1).double().numpy()  # [N, 3, 16]
    for share, name in ((0.6, "60"), (0.8, "80")):
        masks = [[oracle.mass_mask(a, share).reshape(4, 4) for a in each] for each in maps]
        large = [[oracle.enlarge(m, SIDE, SIDE) for m in each] for each in masks]
        table = np.array(
            [[oracle.jaccard(m, x) for m in each] for each, x in zip(large, labels, strict=True)]
        )
        assert found.metrics[f"jaccard_best_{name}"] == pytest.approx(table[:, :2].max(1).mean())
        assert found.metrics[f"jaccard_mean_{name}"] == pytest.approx(table[:, 2].mean())
        if name == "60":
            boxed = [
                oracle.finds(each[2], x, told_apart=objects) for each, x in zip(large, labels, strict=True)
            ]
            assert found.metrics["corloc"] == pytest.approx(np.mean(boxed))
    shares = [
        np.mean([oracle.share_on_object(a.reshape(4, 4), x) for a in each[:2]])
        for each, x in zip(maps, labels, strict=True)
    ]
    assert found.metrics["attention_on_object"] == pytest.approx(np.mean(shares), rel=1e-6)
    counted = (labels != oracle.VOID).sum((1, 2))
    area = ((labels > 0) & (labels != oracle.VOID)).sum((1, 2)) / counted
    assert found.metrics["whole_image_jaccard"] == pytest.approx(area.mean())
    low, high = found.intervals["jaccard_best_60"]
    assert low <= found.metrics["jaccard_best_60"] <= high
    assert set(found.counts.values()) == {12}
    assert net.modes == {False, True}  # the True is this test's own
    assert net.training


def test_one_head_for_all_images_is_worse_than_the_best_of_each(tmp_path: Path) -> None:
    found = asked(scenes(40), Bright(), tmp_path).metrics
    assert found["jaccard_fixed_60"] < found["jaccard_best_60"] - 0.2


@pytest.mark.slow  # draws the picture several times
def test_images_without_an_object_are_left_out(tmp_path: Path) -> None:
    pictures = scenes(4)
    alone = asked(pictures, Bright(), tmp_path).metrics
    more = replace(pictures)
    more.images = torch.cat([pictures.images, pictures.images[:3]])
    assert pictures.masks is not None
    more.masks = torch.cat([pictures.masks, torch.zeros(3, SIDE, SIDE, dtype=torch.bool)])
    for whole in (True, False):
        found = asked(more, Bright(), tmp_path, whole=whole)
        assert found.metrics == alone
        assert "3 of 7 images are left out: unreadable, or without an object" in found.notes
    more.masks = torch.zeros(7, SIDE, SIDE, dtype=torch.bool)
    empty = asked(more, Bright(), tmp_path)
    assert not empty.metrics
    assert "no image of pictures has an object" in empty.notes[0]


def test_void_alone_is_no_object(tmp_path: Path) -> None:
    pictures = scenes(objects=True)
    assert pictures.objects is not None
    pictures.objects[2][pictures.objects[2] == 1] = oracle.VOID
    assert set(asked(pictures, Bright(), tmp_path).counts.values()) == {11}


@pytest.mark.parametrize(
    "net", [Bright(sees=False), conv_pocket(channels=3, image_size=16, drop_path_rate=0)]
)
def test_a_network_without_attention_is_told(net: Backbone, tmp_path: Path) -> None:
    found = asked(scenes(), net, tmp_path / "none")
    assert not found.metrics
    assert found.notes == ["this network has no attention of a CLS token, from which masks could be made"]
    assert not (tmp_path / "none").exists()


def small_vit(seed: int = 0, **shape: Any) -> Backbone:
    torch.manual_seed(seed)
    return vit_pocket(
        channels=3, image_size=16, drop_path_rate=0, embed_dim=16, depth=1, num_heads=2, **shape
    ).eval()


@pytest.mark.slow  # draws the picture several times
def test_untrained_networks_stand_beside(tmp_path: Path) -> None:
    net = small_vit()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    evaluator = AttentionMasks(AttentionConfig(random=2))
    first = asked(pictures := scenes(), net, tmp_path, evaluator)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    gain = first.metrics["jaccard_best_60"] - first.metrics["random_jaccard_best_60"]
    assert first.metrics["gain_over_random_best_60"] == pytest.approx(gain)
    assert first.metrics["random_jaccard_best_60"] != first.metrics["jaccard_best_60"]
    assert asked(pictures, net, tmp_path, evaluator).metrics == first.metrics  # what was kept
    fresh = asked(scenes(3), net, tmp_path, evaluator)
    assert fresh.counts["random_corloc"] == 3  # other images: not what was kept


def test_a_network_that_cannot_be_drawn_again_is_told(tmp_path: Path) -> None:
    found = asked(scenes(), Bright(), tmp_path)
    assert not any("random" in key for key in found.metrics)
    assert "no untrained network stands beside: this one cannot be built again by its name" in found.notes


@pytest.mark.slow  # draws the picture several times
def test_another_run_stands_beside(tmp_path: Path) -> None:
    shape = {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 8}
    other = small_vit(1, patch_size=8)
    file = tmp_path / "backbone.safetensors"
    save_backbone(other, BackboneSection("vit_pocket", args=shape), file, channels=3, image_size=16)
    found = asked(scenes(), small_vit(), tmp_path, random=0, against=str(file))
    alone = asked(scenes(), other, tmp_path, random=0).metrics
    for key in ("jaccard_best_60", "jaccard_fixed_80", "corloc", "attention_on_object"):
        assert found.metrics[f"against_{key}"] == pytest.approx(alone[key])
    gain = found.metrics["jaccard_fixed_80"] - alone["jaccard_fixed_80"]
    assert found.metrics["gain_over_against_fixed_80"] == pytest.approx(gain)
    conv = conv_pocket(channels=3, image_size=16, drop_path_rate=0)
    save_backbone(conv, BackboneSection("conv_pocket"), file, channels=3, image_size=16)
    found = asked(scenes(), small_vit(), tmp_path, random=0, against=str(file))
    assert not any("against" in key for key in found.metrics)
    assert f"{file} has no attention of a CLS token" in found.notes[0]


@dataclass
class Sizes(Pictures):
    """The same pictures, some of them cut to other sizes where they are seen as they are."""

    cut: tuple[tuple[int, int], ...] = ((16, 16), (16, 16), (16, 12), (9, 16))

    def samples(self) -> Any:
        for place, sample in super().samples():
            height, width = self.cut[place % len(self.cut)]
            assert sample.mask is not None
            yield (
                place,
                replace(sample, image=sample.image[:height, :width], mask=sample.mask[:height, :width]),
            )


def test_whole_images_keep_their_proportions(tmp_path: Path) -> None:
    plain = scenes()
    pictures, net = Sizes(plain.images, masks=plain.masks), Bright()
    seen = list(whole_views(pictures.samples(), pictures, 24))
    assert [v.size for v in seen[:3]] == [(16, 16), (16, 12), (9, 16)]
    assert seen[0].places == [0, 1]  # neighbours of one size
    sizes = [tuple(v.seen(PATCH).shape[-2:]) for v in seen[:3]]
    assert sizes == [(24, 24), (32, 24), (24, 44)]
    for v in seen:
        small = v.seen(PATCH) * 0.25 + 0.5
        assert small.min() >= 0
        assert small.max() <= 1
        assert abs(small.mean() - v.images.mean()) < 0.02
    asked(pictures, net, tmp_path)
    assert {shape[-2:] for shape in net.sizes} == {(16, 16), (20, 16), (16, 28)}


@pytest.mark.parametrize(
    ("size", "short", "patch", "wanted"),
    [
        ((160, 240), 64, 4, (64, 96)),
        ((160, 251), 64, 8, (64, 104)),
        ((375, 500), 480, 16, (480, 640)),
        ((100, 100), 3, 16, (16, 16)),
    ],
)
def test_sides_are_whole_patches(
    size: tuple[int, int], short: int, patch: int, wanted: tuple[int, int]
) -> None:
    assert whole_size(*size, short, patch) == wanted


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_picture(channels: int, tmp_path: Path) -> None:
    pictures = scenes(3)
    pictures.images = pictures.images[:, :1].expand(-1, channels, -1, -1)
    found = asked(pictures, Bright(), tmp_path / "figures")
    assert found.figures == {"attention_masks": tmp_path / "figures" / "attention_masks.png"}
    with Image.open(found.figures["attention_masks"]) as image:
        image.load()
        assert min(image.size) > 300


def test_best_middle_and_worst_are_shown_once() -> None:
    values = torch.tensor([0.3, 0.9, 0.1, 0.5, 0.7, 0.2, 0.8, 0.4])
    named = [("best", 1), ("best", 6), ("median", 3), ("median", 7), ("worst", 5), ("worst", 2)]
    assert chosen(values) == named
    assert chosen(values[:1]) == [("best", 0)]
    assert [row for _, row in chosen(values[:3])] == [1, 0, 2]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"shares": []}, r"'shares' is \[\]"),
        ({"shares": [0.6, 0.6]}, "each once"),
        ({"shares": [0.6, 1.0]}, "'shares' has 1, but must be above 0 and below 1"),
        ({"ellipse": 0.8}, "'ellipse' is 0.8"),
        ({"ellipse": 0.0}, "'ellipse' is 0"),
        ({"random": -1}, "'random' is -1"),
    ],
)
def test_an_impossible_value_is_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        AttentionConfig(**keys)


def test_it_is_found_by_its_name() -> None:
    assert Registry.load().get("evaluators", "attention") is AttentionMasks
