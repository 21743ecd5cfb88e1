"""A method's own classes: against hand-made partitions, and with methods whose answers are known."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from image_sets import Pictures, context_for
from oracles import health as oracle
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.core.method import Method, Progress, StepOutput, Views
from sslkit.errors import RecipeError, RunError
from sslkit.eval.evaluate import Skipped, check_needs, evaluate
from sslkit.eval.prototypes import (
    Prototypes,
    PrototypesConfig,
    Resized,
    agreement,
    assign,
    contingency,
    hungarian_accuracy,
    majority_answers,
    members_of,
)
from sslkit.losses.dino import teacher_probabilities
from sslkit.methods.dino import DINO, DINOConfig
from sslkit.methods.supervised import Supervised, SupervisedConfig
from sslkit.plugins import Registry
from sslkit.testing import SmallSetup

CPU = torch.device("cpu")
K = 6


def whole(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


# --- agreement of partitions


def test_contingency_counts() -> None:
    assert contingency(whole(0, 0, 2, 2), whole(1, 1, 0, 1), 3, 2).tolist() == [[0, 2], [0, 0], [1, 1]]


def test_nmi_and_ari_are_the_textbooks() -> None:
    torch.manual_seed(0)
    labels = torch.randint(4, (60,))
    winners = torch.where(torch.rand(60) < 0.6, labels * 2, torch.randint(9, (60,)))
    found = agreement(winners, labels)
    assert found["nmi"].value == pytest.approx(oracle.nmi(winners.tolist(), labels.tolist()))
    assert found["ari"].value == pytest.approx(oracle.ari(winners.tolist(), labels.tolist()))
    assert all(e.low < e.value < e.high for e in found.values())


def test_agreement_at_the_ends() -> None:
    labels = torch.arange(80) % 4
    assert all(e.value == pytest.approx(1) for e in agreement(3 - labels, labels).values())
    assert all(e.value == pytest.approx(0) for e in agreement(torch.zeros_like(labels), labels).values())


def test_chance_agrees_by_nmi_but_not_by_the_adjusted_numbers() -> None:
    torch.manual_seed(0)
    found = agreement(torch.randint(100, (400,)), torch.randint(10, (400,)))
    assert found["nmi"].value > 0.2
    assert abs(found["ami"].value) < 0.05
    assert abs(found["ari"].value) < 0.02


def test_hungarian_gives_each_class_one_prototype() -> None:
    """Prototype 0 is best for both classes; the best whole gives it to class 0."""
    winners, labels = whole(0, 0, 0, 0, 0, 1, 1), whole(0, 0, 0, 1, 1, 1, 1)
    assert hungarian_accuracy(winners, labels) == pytest.approx(5 / 7)


def test_hungarian_with_more_and_with_fewer_prototypes_than_classes() -> None:
    assert hungarian_accuracy(whole(0, 1, 2, 2, 3), whole(0, 0, 0, 0, 1)) == pytest.approx(3 / 5)
    assert hungarian_accuracy(whole(0, 0, 0, 0, 0), whole(0, 1, 2, 2, 1)) == pytest.approx(2 / 5)


def test_majority_never_asks_the_image_itself() -> None:
    """A prototype for each image: all right by purity, none by what the others of it are."""
    assert majority_answers(torch.arange(6), torch.arange(6), torch.arange(6)).tolist() == [-1] * 6


def test_majority_of_the_other_groups() -> None:
    winners, labels, group = whole(5, 5, 5, 5, 2), whole(1, 1, 1, 0, 0), whole(0, 1, 2, 2, 0)
    assert majority_answers(winners, labels, group).tolist() == [1, 1, 1, 1, -1]


# --- methods whose answers are known


class Cell(Backbone):
    """Features of an image: its mean; keeps the sizes that it saw."""

    patch_size = None

    def __init__(self) -> None:
        super().__init__()
        self.embed_dim, self.sides = 1, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.sides.append(x.shape[-1])
        return x.mean((1, 2, 3), keepdim=False)[:, None]

    network = export_metadata = property(lambda self: self)

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Any: ...
    def layers(self, x: Tensor, n: int) -> Any: ...
    def cls_attention(self, x: Tensor) -> None: ...


class Plain(Method):
    """Has no prototypes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Cell()

    @property
    def encoder(self) -> Backbone:
        return self.net

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        raise NotImplementedError


class Rounding(Plain):
    """Prototype k claims the images whose mean is k, with `sure`."""

    def __init__(self, sure: float = 0.9) -> None:
        super().__init__()
        self.sure, self.norm = sure, nn.BatchNorm1d(1)

    def assignments(self, features: Tensor) -> Tensor:
        assert not self.norm.training
        winners = features[:, 0].round().long()
        return nn.functional.one_hot(winners, K) * (self.sure - (1 - self.sure) / (K - 1)) + (
            (1 - self.sure) / (K - 1)
        )


def pictures(values: Tensor, labels: Tensor | None = None, **known: Any) -> Pictures:
    """Images of one colour each."""
    images = values.float()[:, None, None, None].expand(-1, 3, 16, 16).contiguous()
    classes = None if labels is None else ("cat", "dog", "owl")
    return Pictures(
        images, labels, classes=classes, mean=torch.zeros(1, 1, 1), std=torch.full((1, 1, 1), 0.2), **known
    )


def asked(data: Pictures, method: Method, tmp_path: Path, **keys: int) -> Result:
    subject = Subject(method.encoder, method)
    evaluator = Prototypes(PrototypesConfig(**{"size": 16, "rows": 2, "columns": 3} | keys))
    return evaluator(subject, EvalData(data, data), context_for(subject, tmp_path))


VALUES = torch.tensor([0, 1, 1, 3] * 10)
"""Three of six prototypes are used."""


def test_use_and_entropies(tmp_path: Path) -> None:
    found = asked(pictures(VALUES), Rounding(0.9), tmp_path).metrics
    p = [0.9, *[0.02] * 5]
    mean = [0.9 * share + 0.02 * (1 - share) for share in (0.25, 0.5, 0, 0.25, 0, 0)]
    assert found["used"] == 3
    assert found["entropy"] == pytest.approx(-sum(x * math.log(x) for x in p), rel=1e-5)
    assert found["entropy_of_mean"] == pytest.approx(-sum(x * math.log(x) for x in mean), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["entropy_of_mean"]))
    assert found.keys() == {"used", "perplexity", "entropy", "entropy_of_mean"}


def test_one_hot_prototypes_have_no_entropy(tmp_path: Path) -> None:
    found = asked(pictures(VALUES), Rounding(1.0), tmp_path).metrics
    assert found["entropy"] == 0
    assert found["perplexity"] == pytest.approx(math.exp(1.5 * math.log(2)))


def test_labels_and_objects(tmp_path: Path) -> None:
    labels, objects = torch.tensor([0, 0, 1, 1] * 10), torch.tensor([0, 1, 1, 2] * 10)
    labels[:4] = -1  # not known
    found = asked(pictures(VALUES, labels, instances=objects), Rounding(), tmp_path)
    assert found.metrics["instance_nmi"] == found.metrics["instance_ami"] == pytest.approx(1)
    # Prototype 0 has class 0, 1 has both in equal parts, 3 has class 1.
    assert found.metrics["hungarian"] == pytest.approx(0.5)
    assert 0.5 <= found.metrics["majority"] <= 0.75
    assert found.metrics["nmi"] == pytest.approx(oracle.nmi(VALUES[4:].tolist(), labels[4:].tolist()))
    assert (found.counts["nmi"], found.counts["instance_nmi"]) == (36, 40)


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    labels = torch.tensor([0, 1, 2, 2] * 10)
    labels[0] = -1
    found = asked(pictures(VALUES, labels), Rounding(), tmp_path)
    with found.tables["prototypes"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prototype"] for row in rows] == ["1", "0", "3"]
    assert rows[0] == {
        "prototype": "1",
        "images": "20",
        "share": "0.5",
        "commonest": "dog",
        "commonest_share": "0.5",
    }
    assert rows[1]["commonest_share"] == "1.0"  # of those whose label is known
    assert found.figures["prototypes"].stat().st_size > 10_000


def test_without_labels_the_table_has_no_classes() -> None:
    claimed = assign(Rounding().eval(), VALUES[:, None].float(), CPU)
    assert [(m.prototype, m.commonest) for m in members_of(claimed, None, None)] == [
        (1, None),
        (0, None),
        (3, None),
    ]


def test_images_are_asked_at_the_size_of_the_training(tmp_path: Path) -> None:
    method = Rounding()
    asked(pictures(VALUES), method, tmp_path, size=8)
    assert set(method.net.sides) == {8}
    assert Resized(8).name != Resized(9).name


def test_in_parts_or_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features = VALUES[:, None].float()
    at_once = assign(Rounding(), features, CPU)
    monkeypatch.setattr("sslkit.eval.prototypes.AT_A_TIME", 3)
    in_parts = assign(Rounding(), features, CPU)
    for one, other in zip(vars(at_once).values(), vars(in_parts).values(), strict=True):
        assert torch.allclose(one, other)


def test_a_method_without_prototypes_is_skipped_or_an_error_if_named(tmp_path: Path) -> None:
    subject, data = Subject(Plain().net, Plain()), EvalData(pictures(VALUES), pictures(VALUES))
    evaluators = {"prototypes": Prototypes(PrototypesConfig())}
    found = dict(evaluate(evaluators, subject, data, context_for(subject, tmp_path)))
    assert found["prototypes"] == Skipped("it needs prototypes, which this method does not have")
    with pytest.raises(RunError, match="ends in a softmax over its own classes"):
        check_needs(evaluators, subject, data)
    with pytest.raises(NotImplementedError, match="Plain has no prototypes"):
        Plain().assignments(torch.zeros(1, 1))


def test_too_few_images_are_said_so(tmp_path: Path) -> None:
    found = asked(pictures(VALUES[:19]), Rounding(), tmp_path)
    assert (found.metrics, found.notes) == ({}, ("it needs 20 held-out images, of which there are 19",))


@pytest.mark.parametrize("keys", [{"size": 0}, {"rows": 0}, {"columns": 0}])
def test_impossible_values(keys: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match=next(iter(keys))):
        PrototypesConfig(**keys)


# --- the built-in methods


def test_dinos_prototypes_are_its_targets() -> None:
    method = DINO(DINOConfig(out_dim=9, hidden_dim=8, bottleneck_dim=4), SmallSetup())
    method.center.normal_(0, 0.3)
    features = torch.randn(4, method.encoder.embed_dim)
    logits = method.teacher_head(features).double() - method.center.double()
    wanted = (logits / method.config.teacher_temperature).softmax(1)
    assert torch.allclose(method.assignments(features).double(), wanted, atol=1e-5)
    method.config.teacher_temperature = 0.0
    assert torch.equal(method.assignments(features).argmax(1), logits.argmax(1))
    assert set(method.assignments(features).flatten().tolist()) == {0.0, 1.0}


def test_a_supervised_network_has_its_classes() -> None:
    method = Supervised(SupervisedConfig(), SmallSetup())
    p = method.assignments(torch.randn(4, method.encoder.embed_dim))
    assert p.shape == (4, method.classifier.out_features)
    assert torch.allclose(p.sum(1), torch.ones(4))


def test_only_these_two_have_prototypes() -> None:
    registry = Registry.load()
    with_prototypes = {
        name
        for name in registry.names("methods")
        if registry.get("methods", name).assignments is not Method.assignments
    }
    assert with_prototypes == {"dino", "supervised"}


def test_teacher_probabilities_refuse_a_negative_temperature() -> None:
    with pytest.raises(ValueError, match="teacher_temperature"):
        teacher_probabilities(torch.zeros(2, 3), torch.zeros(3), teacher_temperature=-1)
