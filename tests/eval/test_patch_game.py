"""The patch game against networks that know the answer, that know half of it, and that know nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from PIL import Image
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.core.method import Method
from sslkit.errors import DataError, RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.patch_game import PatchGame, PatchGameConfig, gather, input_side, settings
from sslkit.eval.patch_rounds import Look, Rounds, Score, Setting, patch_side
from sslkit.nn.pocket import conv_pocket, vit_pocket
from sslkit.plugins import Registry

SIDE = 40


class Fake(Backbone):
    """Knows what `answer` knows of a patch; keeps what it saw."""

    patch_size = None

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.seen, self.modes = answer, list[Tensor](), set[bool]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        self.modes.add(self.training)
        return self.answer(x)  # type: ignore[no-any-return]

    network = export_metadata = property(lambda self: self)

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Any: ...
    def layers(self, x: Tensor, n: int) -> Any: ...
    def cls_attention(self, x: Tensor) -> None: ...


def constant(x: Tensor) -> Tensor:
    return torch.ones(len(x), 4)


def mean_colour(x: Tensor) -> Tensor:
    """To 1/50 of its own scale, so that resampling makes no difference."""
    mean = x.mean((2, 3))
    return (mean * 50).round() + torch.tensor([0.0, 0.0, 1e-3])


def orientation(x: Tensor) -> Tensor:
    """The direction of the edges, whatever the colour: the structure tensor's double angle."""
    grey = x.mean(1)
    dy, dx = grey[:, 1:, :-1] - grey[:, :-1, :-1], grey[:, :-1, 1:] - grey[:, :-1, :-1]
    return torch.stack([(dx**2 - dy**2).sum((1, 2)), 2 * (dx * dy).sum((1, 2))], 1) + 1e-6


def hues(n: int = 60) -> Tensor:
    """Images of one colour each, all of the same grey."""
    angle = torch.arange(n) * (2 * torch.pi / n)
    colours = torch.stack([(angle + 2 * torch.pi * k / 3).cos() for k in range(3)], 1)  # [N, 3], sum 0
    return colours[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()


def gratings(n: int = 60) -> Tensor:
    """Waves of one length and contrast, each image with a direction of its own."""
    angle = torch.arange(n)[:, None, None] * (torch.pi / n)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    wave = torch.sin((x * angle.cos() + y * angle.sin()) * 1.5)
    return wave[:, None].expand(-1, 3, -1, -1).contiguous()


def played(
    images: Tensor, net: Backbone, tmp_path: Path, method: Method | None = None, **keys: Any
) -> Result:
    subject = Subject(net, method)
    context = context_for(subject, tmp_path)
    data = Pictures(images)
    return PatchGame(PatchGameConfig(**{"size": 12, **keys}))(subject, EvalData(data, data), context)


def test_an_oracle_of_colour(tmp_path: Path) -> None:
    found = dict(played(hues(), Fake(mean_colour), tmp_path, rounds=4).metrics)
    assert found.pop("accuracy_shuffled") == pytest.approx(0.5, abs=0.13)  # 4 standard errors
    assert found.pop("accuracy_grey") == 0.5  # nothing is left: ties
    assert found.pop("accuracy_standardized") == 0.5
    assert found.pop("games") == 240
    assert found.pop("standard_error") == 0
    assert set(found.values()) == {1.0}
    assert set(found) == {
        *("accuracy", "accuracy_scrambled"),
        *(f"accuracy_size_{scale}" for scale in (0.4, 0.3, 0.2, 0.1)),
        *(f"accuracy_gap_{gap}" for gap in (-0.5, 0, 0.5, 1)),
    }


def test_an_oracle_of_structure(tmp_path: Path) -> None:
    found = played(gratings(), Fake(orientation), tmp_path, rounds=4).metrics
    for name in ("accuracy", "accuracy_grey", "accuracy_standardized", "accuracy_gap_1"):
        assert found[name] > 0.9
    for name in ("accuracy_scrambled", "accuracy_shuffled"):
        assert found[name] == pytest.approx(0.5, abs=0.13)


def test_one_that_knows_nothing_ties(tmp_path: Path) -> None:
    net = Fake(constant).train()
    found = dict(played(gratings(20), net, tmp_path).metrics)
    assert net.modes == {False}
    assert net.training
    assert found.pop("standard_error") == 0
    assert found.pop("games") == 20
    assert set(found.values()) == {0.5}


def test_the_rounds_are_the_same_for_all() -> None:
    networks = [Fake(constant), Fake(orientation), Fake(orientation)]
    scores = []
    for seed, net in enumerate(networks):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        rounds = Rounds(gratings(20), 2, 12)
        scores.append(
            [rounds.play(Subject(net), setting).right for setting in settings(PatchGameConfig()).values()]
        )
        assert torch.equal(torch.get_rng_state(), before)
    seen = [torch.cat(net.seen) for net in networks]
    assert torch.equal(seen[0], seen[1])
    assert all(torch.equal(a, b) for a, b in zip(scores[1], scores[2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(scores[0], scores[1], strict=True))


def marked(n: int, side: int = SIDE) -> Tensor:
    """Every pixel says whose it is and where: (image, row, column)."""
    place = torch.arange(side).float()
    rows, columns = place[:, None].expand(side, side), place.expand(side, side)
    return torch.stack([torch.stack([torch.full((side, side), float(i)), rows, columns]) for i in range(n)])


def patches_of(rounds: Rounds, setting: Setting) -> Tensor:
    """(image, top, left) of anchors, A and B, int64 [3, M, 3]."""
    games = torch.cat(list(rounds.games(setting)), 1)  # [3, M, 3, p, p]
    assert torch.equal(games, games.round())  # not resampled
    assert torch.equal(games[:, :, 0].amax((-2, -1)), games[:, :, 0].amin((-2, -1)))
    corners = rounds.corners(setting)
    assert torch.equal(games[:, :, 1:, 0, 0].long(), corners[[0, 1, 1]])
    return games[..., 0, 0].long()


@pytest.mark.parametrize("gap", [-0.5, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("side", [40, 41])
def test_patches_lie_where_the_rules_say(gap: float, side: int) -> None:
    setting = Setting(0.3, gap)
    wide = patch_side(setting, side)
    assert wide == 12
    rounds = Rounds(marked(100, side), 5, wide)
    anchor, a, b = patches_of(rounds, setting)
    assert torch.equal(anchor[:, 0], torch.arange(100).repeat(5))
    assert torch.equal(a[:, 0], anchor[:, 0])
    assert not (b[:, 0] == a[:, 0]).any()
    assert torch.equal(b[:, 1:], a[:, 1:])
    apart = (a[:, 1:] - anchor[:, 1:]).abs().amax(1) - wide
    assert apart.min() == np.ceil(gap * wide)
    for patches in (anchor, a):
        assert patches[:, 1:].amin() == 0
        assert patches[:, 1:].amax() == side - wide


def test_every_image_is_b_and_third_once_a_round() -> None:
    rounds = Rounds(marked(30), 3, 12)
    _, own, other = patches_of(rounds, Setting(0.3, 0.5))
    anchor, third, same = patches_of(rounds, Setting(0.3, 0.5, shuffled=True))
    assert torch.equal(same, other)  # only A is another
    assert torch.equal(third[:, 1:], own[:, 1:])
    for images in (third[:, 0], other[:, 0]):
        assert all(sorted(part) == list(range(30)) for part in images.view(3, -1).tolist())
    assert not ((third[:, 0] == anchor[:, 0]) | (third[:, 0] == other[:, 0])).any()
    assert not torch.equal(other[:30, 0], other[30:60, 0])  # another ring


def test_the_looks() -> None:
    images = torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    rounds = Rounds(images, 1, 12)

    def seen(look: Look) -> Tensor:
        return next(rounds.games(Setting(0.3, 0.5, look)))  # [3, 5, 3, 12, 12]

    plain, grey, flat, mixed = (seen(look) for look in ("colour", "grey", "standardized", "scrambled"))
    torch.testing.assert_close(grey, plain.mean(2, keepdim=True).expand_as(plain))
    torch.testing.assert_close(flat.mean((-2, -1)), torch.zeros(3, 5, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(flat.std((-2, -1), unbiased=False), torch.ones(3, 5, 3))
    assert not torch.equal(mixed, plain)
    assert torch.equal(mixed.flatten(3).sort(-1).values, plain.flatten(3).sort(-1).values)
    pixels = [x.sum(2).flatten(2).sort(-1).values for x in (mixed, plain)]
    torch.testing.assert_close(*pixels)  # whole pixels move, not channels
    moved = [(mixed[v, 0].flatten(1)[0] == plain[v, 0, 0, 0, 0]).nonzero().item() for v in range(3)]
    assert len(set(moved)) > 1  # each patch in an order of its own
    assert torch.equal(seen("scrambled"), mixed)


def test_patches_are_resized_for_the_network(tmp_path: Path) -> None:
    smooth = torch.nn.functional.interpolate(torch.randn(9, 3, 4, 4), (SIDE, SIDE), mode="bilinear")
    chess = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)).remainder(2).float().expand(9, 3, -1, -1)
    assert (next(Rounds(chess, 1, 4).games(Setting(0.3, 0.5))) - 0.5).abs().max() < 0.1  # antialiased
    small, large = (next(Rounds(smooth, 1, size).games(Setting(0.3, 0.5))) for size in (8, 24))
    assert small.shape[-2:] == (8, 8)
    again = torch.nn.functional.interpolate(large.flatten(0, 1), (8, 8), mode="area")
    assert (small.flatten(0, 1) - again).abs().max() < 0.1
    net = Fake(constant)
    played(hues(9), net, tmp_path, size=20)
    assert {x.shape[-1] for x in net.seen} == {20}


class Judge(Method):
    """Chooses what is least alike."""

    def __init__(self, net: Backbone) -> None:
        super().__init__()
        self.net, self.norm = net, nn.BatchNorm1d(3)
        self.modes, self.asked = set[bool](), list[tuple[Tensor, Tensor]]()

    encoder = property(lambda self: self.net)

    def forward(self, views: Any, progress: Any) -> Any: ...

    def similarity(self, anchors: Tensor, candidates: Tensor) -> Tensor:
        self.modes.add(self.norm.training)
        self.asked.append((anchors, candidates))
        return (anchors - candidates).square().sum(1)


def test_a_methods_own_similarity_is_asked_in_eval_mode(tmp_path: Path) -> None:
    net = Fake(mean_colour)
    judge = Judge(net).train()
    found = played(hues(), net, tmp_path, judge).metrics
    assert found["accuracy"] == found["accuracy_size_0.1"] == 0
    assert judge.modes == net.modes == {False}
    assert judge.training
    assert judge.norm.training


def test_both_candidates_are_compared_with_the_anchor() -> None:
    net = Fake(lambda x: x.mean((2, 3)))
    judge = Judge(net)
    rounds, setting = Rounds(marked(10), 1, 12), Setting(0.3, 0.5)
    rounds.play(Subject(net, judge), setting)
    anchor, a, b = next(rounds.games(setting)).mean((-2, -1))  # [10, 3] each
    for asked, wanted in zip(judge.asked, [(anchor, a), (anchor, b)], strict=True):
        torch.testing.assert_close(asked, wanted)


def test_the_standard_error_is_that_of_the_images_means() -> None:
    right = torch.tensor([[1.0, 0.0, 0.5, 1.0], [1.0, 0.0, 0.5, 0.0]]).double()
    by_image = np.array([1, 0, 0.5, 0.5])
    assert Score(right).accuracy == 0.5
    assert Score(right).standard_error == pytest.approx(by_image.std(ddof=1) / 2)


@pytest.mark.parametrize(
    ("most", "chosen"), [(10, [*range(10)]), (99, [*range(10)]), (4, [0, 2, 5, 7]), (3, [0, 3, 6])]
)
@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_the_images_are_spread_over_the_set(most: int, chosen: list[int], batch_size: int) -> None:
    images = torch.arange(10.0).view(10, 1, 1, 1)
    assert gather(Pictures(images, batch_size=batch_size), most).flatten().tolist() == chosen


def test_too_few_images() -> None:
    with pytest.raises(DataError, match="needs 3 held-out images or more, but pictures has 2"):
        gather(Pictures(torch.zeros(2, 1, 4, 4)), 600)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_picture_of_any_number_of_channels_and_images(channels: int, tmp_path: Path) -> None:
    result = played(torch.randn(4, channels, SIDE, SIDE), Fake(constant), tmp_path / "figures")
    assert result.figures == {"patch_game": tmp_path / "figures" / "patch_game.png"}
    with Image.open(result.figures["patch_game"]) as image:
        image.load()
        assert image.width > image.height > 500


def test_the_side_of_the_networks_input() -> None:
    """A quarter of the image's, up to whole patches, at least two of them; or what was asked for."""
    for grid, side, wanted in ((4, 64, 16), (16, 64, 32), (8, 224, 56), (16, 224, 64), (None, 60, 16)):
        assert input_side(None, grid, side) == wanted
    assert input_side(24, 8, 64) == 24
    assert input_side(13, None, 64) == 13
    with pytest.raises(RecipeError, match=r"'patch_game.size' is 12, .* 8 px large\n  .* such as 16"):
        input_side(12, 8, 64)


@pytest.mark.parametrize("net", [vit_pocket, conv_pocket])
def test_real_networks(net: Any, tmp_path: Path) -> None:
    backbone = net(channels=3, image_size=16, drop_path_rate=0.0).train()
    found = played(torch.randn(5, 3, 32, 32), backbone, tmp_path, size=16).metrics
    assert all(0 <= value <= 1 for name, value in found.items() if name != "games")
    assert backbone.training


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"rounds": 0}, "'rounds' is 0, but must be 1 or more"),
        ({"images": 2}, "'images' is 2, but must be 3 or more"),
        ({"size": 0}, "'size' is 0, but must be 1 or more"),
        ({"gap": -1.5}, "'gap' has -1.5, but must be -1 or more"),
        ({"gaps": [0.0, float("inf")]}, "'gaps' has inf"),
        ({"scale": 0.45}, "'scale' has 0.45, but with a gap of 0.5 it must be above 0 and at most 0.4"),
        ({"scales": [0.2, 0.0]}, "'scales' has 0, but"),
        ({"gaps": [2.0]}, "'scale' has 0.3, but with a gap of 2 it must be above 0 and at most 0.25"),
    ],
)
def test_an_impossible_value_is_refused_by_its_key(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        PatchGameConfig(**keys)


def test_all_defaults_fit_into_images_of_any_side() -> None:
    for side in range(12, 70):
        rounds = Rounds(torch.zeros(3, 1, side, side), 40, 4)
        for setting in settings(PatchGameConfig()).values():
            corners = rounds.corners(setting)
            assert corners.min() >= 0
            assert corners.max() <= side - patch_side(setting, side)


def test_it_is_found_by_its_name() -> None:
    assert Registry.load().get("evaluators", "patch_game") is PatchGame


def test_each_accuracy_has_its_interval_over_images(tmp_path: Path) -> None:
    """Wider than nothing where half of the games are lost, and of as many images as play."""
    result = played(gratings(), Fake(orientation), tmp_path, rounds=2)
    low, high = result.intervals["accuracy_shuffled"]
    assert low < result.metrics["accuracy_shuffled"] < high
    assert result.intervals["accuracy"][0] <= result.metrics["accuracy"] <= result.intervals["accuracy"][1]
    assert set(result.counts.values()) == {60}
    assert set(result.counts) == set(result.metrics)


def test_the_interval_is_that_of_the_games_mean_by_image() -> None:
    right = torch.tensor([[1.0, 0.0, 0.5, 1.0], [1.0, 0.0, 0.5, 0.0]], dtype=torch.float64)
    estimate = Score(right).estimate()
    assert estimate == mean_estimate(torch.tensor([1.0, 0.0, 0.5, 0.5], dtype=torch.float64))
