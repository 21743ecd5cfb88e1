"""The linear classifier on features whose answer is known, and against scikit-learn."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from known_features import KnownFeatures, as_images
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.errors import RecipeError
from sslkit.eval.linear import Linear, LinearConfig
from sslkit.eval.linear_examples import Examples, whitening_of
from sslkit.eval.linear_features import BlockFeatures
from sslkit.eval.linear_heads import scores, train_heads
from sslkit.nn.pocket import conv_pocket, vit_pocket
from sslkit.plugins import Registry

D = 6
Labelled = tuple[Tensor, Tensor]


def blobs(count: int, classes: int, *, spread: float = 0.3, seed: int = 0) -> Labelled:
    """Images around one centre for each class, far from 0 and of unlike scales."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, D, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes
    x = centres[labels] + spread * torch.randn(count, D, generator=draw)
    return x * torch.logspace(-2, 2, D) + 5, labels


def asked(train: Labelled, test: Labelled, figures: Path, classes: int = 3, **config: Any) -> Result:
    names = tuple(f"class {i}" for i in range(classes))
    sets = [Pictures(as_images(x), labels, classes=names) for x, labels in (train, test)]
    subject = Subject(KnownFeatures(D))
    settings = LinearConfig(**{"epochs": 20, "batch_size": 32, "logistic": False, **config})
    return Linear(settings)(subject, EvalData(*sets), context_for(subject, figures))


def test_blobs_are_told_apart(tmp_path: Path) -> None:
    result = asked(blobs(120, 6), blobs(60, 6, seed=1), tmp_path, 6, logistic=True)
    assert dict(result.metrics) == {"top1": 1, "top5": 1, "top1_logistic": 1}
    assert set(result.counts.values()) == {60}
    assert result.intervals["top1"] == (1, 1)
    assert "chosen on 12 of 120 training images" in result.notes[0]
    (table,) = result.tables.values()
    with table.open(newline="", encoding="utf-8") as file:
        assert [row["top1"] for row in csv.DictReader(file)] == ["1.0000"] * 6
    assert all(path.is_file() for path in result.figures.values())


def test_it_is_the_same_each_time_and_touches_no_draws(tmp_path: Path) -> None:
    sets = blobs(100, 3, spread=1.0), blobs(90, 3, spread=1.0, seed=1)
    first = asked(*sets, tmp_path)
    torch.rand(3)
    before = torch.get_rng_state()
    assert asked(*sets, tmp_path) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_heads_trained_together_are_those_trained_alone(tmp_path: Path) -> None:
    examples = Examples.labelled(*blobs(100, 3, spread=1.0))
    context = context_for(Subject(KnownFeatures(D)), tmp_path)
    how: dict[str, Any] = {"classes": 3, "batch_size": 32, "epochs": 3}
    rates = [0.01, 0.3, 1e4]
    together = train_heads(examples, rates, context, **how).heads
    for place, rate in enumerate(rates):
        alone = train_heads(examples, [rate], context, **how).heads
        for of_all, own in (
            (together.weight[:, place], alone.weight[:, 0]),
            (together.bias[place], alone.bias[0]),
        ):
            torch.testing.assert_close(of_all, own, rtol=1e-4, atol=1e-5 * own.detach().abs().max().item())


def test_a_head_takes_torchs_own_steps(tmp_path: Path) -> None:
    """Against an nn.Linear trained by torch's SGD and cosine schedule, of whole batches."""
    examples = Examples.labelled(*blobs(64, 3, spread=1.0))
    x = whitening_of(examples)(examples.features)
    layer = torch.nn.Linear(D, 3)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5 * 64 / 256, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    for _ in range(8):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(x), examples.labels).backward()
        optimizer.step()
        schedule.step()
    context = context_for(Subject(KnownFeatures(D)), tmp_path)
    got = train_heads(examples, [0.5], context, classes=3, batch_size=64, epochs=8).heads
    torch.testing.assert_close(got.weight[:, 0], layer.weight.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.bias[0], layer.bias, rtol=1e-4, atol=1e-5)


def test_the_learning_rate_is_chosen_without_the_test_images(tmp_path: Path) -> None:
    """Test labels turned round: whoever looked at them would choose the worst rate."""
    train, (x, labels) = blobs(120, 3), blobs(60, 3, seed=1)
    honest, turned = (
        asked(train, (x, y), tmp_path, lrs=[1e-9, 0.3], logistic=True) for y in (labels, (labels + 1) % 3)
    )
    assert honest.metrics["top1"] == 1
    assert turned.metrics["top1"] == turned.metrics["top1_logistic"] == 0
    assert turned.notes == honest.notes
    assert honest.notes[0].startswith("Learning rate 0.3 of 2")


def test_what_is_held_out_is_a_share_of_every_class() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20 + [-1] * 9)
    examples = Examples.labelled(torch.zeros(109, 1), labels)
    fitted, held = examples.split(0.1)
    assert held.answers.bincount().tolist() == [5, 3, 2]
    assert sorted([*fitted.rows.tolist(), *held.rows.tolist()]) == list(range(100))
    assert torch.equal(examples.split(0.1)[1].rows, held.rows)
    assert len(Examples.labelled(torch.zeros(2, 1), torch.tensor([0, 1])).split(0.1)[0]) == 1


def test_unlabelled_images_are_left_out(tmp_path: Path) -> None:
    x, labels = blobs(90, 3)
    far = torch.full((30, D), 1e6)
    mixed = torch.cat([far, x]), torch.cat([torch.full((30,), -1), labels])
    test = blobs(60, 3, seed=1)
    hidden = test[0], torch.where(torch.arange(60) < 20, -1, test[1])
    result, alone = asked(mixed, hidden, tmp_path), asked((x, labels), hidden, tmp_path)
    assert result.metrics == alone.metrics == {"top1": 1}
    assert result.counts["top1"] == 40
    assert result.notes == alone.notes


@pytest.mark.parametrize(
    ("labels", "answers", "words"),
    [
        (torch.zeros(10).long(), torch.arange(10) % 3, "fewer than two classes"),
        (torch.full((10,), -1), torch.arange(10) % 3, "fewer than two classes"),
        (torch.arange(10) % 3, torch.full((10,), -1), "None of the held-out images has a label"),
    ],
)
def test_where_nothing_can_be_learned_it_says_so(
    labels: Tensor, answers: Tensor, words: str, tmp_path: Path
) -> None:
    result = asked((torch.randn(10, D), labels), (torch.randn(10, D), answers), tmp_path)
    assert result.metrics == {}
    assert words in result.notes[0]


def test_a_network_that_diverged(tmp_path: Path) -> None:
    broken = torch.full((10, D), float("nan")), torch.arange(10) % 3
    assert "not finite" in asked(broken, broken, tmp_path).notes[0]


def test_features_that_never_change(tmp_path: Path) -> None:
    constant = torch.full((30, D), 3.0), torch.arange(30) % 3
    assert asked(constant, constant, tmp_path, logistic=True).metrics["top1"] == pytest.approx(1 / 3)


def test_a_class_without_training_images_is_always_wrong(tmp_path: Path) -> None:
    """Also among five of six classes, of which two were learned."""
    x, labels = blobs(60, 6)
    seen = labels < 2
    result = asked((x[seen], labels[seen]), blobs(60, 6, seed=1), tmp_path, 6, logistic=True)
    assert result.metrics["top5"] == result.metrics["top1"] == pytest.approx(1 / 3)
    assert result.metrics["top1_logistic"] == pytest.approx(1 / 3)
    assert any("40 of the held-out images count as wrong" in note for note in result.notes)


def test_it_agrees_with_scikit_learn(tmp_path: Path) -> None:
    train, test = blobs(400, 3, spread=1.2), blobs(400, 3, spread=1.2, seed=1)
    result = asked(train, test, tmp_path, logistic=True, epochs=100)
    scale = train[0].std(0)
    model = LogisticRegression(C=10, max_iter=1000).fit(train[0] / scale, train[1])
    wanted = model.score(test[0] / scale, test[1])
    assert 0.5 < wanted < 0.98
    assert result.metrics["top1"] == pytest.approx(wanted, abs=0.015)
    assert result.metrics["top1_logistic"] == pytest.approx(wanted, abs=0.015)


def test_logistic_where_data_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = blobs(60, 3), blobs(30, 3, seed=1)
    assert "top1_logistic" in asked(*sets, tmp_path, logistic="auto").metrics
    monkeypatch.setattr("sslkit.eval.linear_logistic.SMALL", 60 * D * 3 - 1)
    assert "top1_logistic" not in asked(*sets, tmp_path, logistic="auto").metrics
    assert "top1_logistic" in asked(*sets, tmp_path, logistic=True).metrics


def test_the_edge_of_the_learning_rates_is_told(tmp_path: Path) -> None:
    sets = blobs(120, 3, spread=1.0), blobs(30, 3, seed=1)
    assert "the largest that was tried" in asked(*sets, tmp_path, lrs=[1e-9, 0.3]).notes[0]
    assert "that was tried" not in asked(*sets, tmp_path, lrs=[1e-9, 0.3, 1e9]).notes[0]
    assert "that was tried" not in asked(*sets, tmp_path, lrs=[0.3]).notes[0]


def test_whitened_features_are_uncorrelated() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(500, D, generator=draw) @ torch.randn(D, D, generator=draw) * 7 + 100
    examples = Examples.labelled(x, torch.where(torch.arange(500) < 400, 0, -1))
    white = whitening_of(examples)(x[:400]).double().numpy()
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(white.T @ white / 400, np.eye(D), atol=1e-2)
    few = whitening_of(Examples.labelled(x[:3], torch.zeros(3).long()))(x)
    assert few.isfinite().all()


def test_scores_are_those_of_each_head(tmp_path: Path) -> None:
    examples = Examples.labelled(*blobs(60, 3))
    context = context_for(Subject(KnownFeatures(D)), tmp_path)
    classifier = train_heads(examples, [1e-9, 1.0], context, classes=3, batch_size=32, epochs=20)
    top1, loss = scores(classifier, examples)
    assert top1[1] == 1
    assert loss[0].item() == pytest.approx(np.log(3), abs=1e-4)
    assert loss[1] < 0.1


def test_what_is_taken_of_the_blocks() -> None:
    blocks = [torch.randn(4, D) for _ in range(3)]
    images = as_images(blocks[2], *blocks[:2])
    net = KnownFeatures(D)
    assert torch.equal(BlockFeatures(2)(net, images), torch.cat(blocks[1:], 1))
    assert torch.equal(BlockFeatures(9)(net, images), torch.cat(blocks, 1))
    assert torch.equal(BlockFeatures(1, True)(net, images), torch.cat([blocks[2], -blocks[2]], 1))
    bare = KnownFeatures(D, has_cls=False)
    assert torch.equal(BlockFeatures(2, True)(bare, images), -torch.cat(blocks[1:], 1))
    assert len({BlockFeatures(n, mean).name for n in (1, 2) for mean in (False, True)}) == 4


@pytest.mark.parametrize(("net", "width"), [(vit_pocket, 3 * 64), (conv_pocket, 32 + 32 + 64 + 128)])
def test_real_networks(net: Any, width: int) -> None:
    """A ViT of three blocks has no fourth one; of a convolutional net the stages are taken."""
    backbone = net(channels=3, image_size=16, drop_path_rate=0.0).eval()
    images = torch.randn(2, 3, 32, 32)
    found = BlockFeatures(4)(backbone, images)
    assert found.shape == (2, width)
    torch.testing.assert_close(found[:, -backbone.embed_dim :], backbone(images))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"n_last_blocks": 0}, "'n_last_blocks' is 0"),
        ({"epochs": 0}, "'epochs' is 0"),
        ({"batch_size": 0}, "'batch_size' is 0"),
        ({"lrs": []}, "'lrs' is"),
        ({"lrs": [0.1, 0.0]}, "'lrs' is"),
        ({"held_out": 0.0}, "'held_out' is 0"),
        ({"held_out": 0.6}, "'held_out' is 0.6"),
    ],
)
def test_an_impossible_value_is_refused_by_its_key(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        LinearConfig(**keys)


def test_it_is_found_by_its_name() -> None:
    assert Registry.load().get("evaluators", "linear") is Linear
