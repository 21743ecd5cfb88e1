"""Votes against a loop over neighbours and against lightly; the evaluator on sets with corners."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from oracles import knn as oracle
from oracles import make
from tolerances import assert_close
from torch import Tensor

from sslkit.core.evaluator import EvalBatch, EvalData, FeatureSet, Subject
from sslkit.errors import RecipeError
from sslkit.eval import knn as knn_module
from sslkit.eval.knn import KNN, KNNConfig, knn_votes

LIGHTLY: dict[str, Any] = json.loads(Path(make.OUT).read_text(encoding="utf-8"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("k", [1, 10, 200, 1000])
def test_votes_are_the_papers(dtype: torch.dtype, k: int) -> None:
    bank, labels, queries = make.knn_inputs()
    wanted = oracle.knn_votes(bank, labels, queries, k, 0.07, 7)
    arguments = torch.tensor(bank, dtype=dtype), torch.tensor(labels), torch.tensor(queries, dtype=dtype)
    got = knn_votes(*arguments, k=k, temperature=0.07, num_classes=7)
    assert got.dtype == dtype
    assert_close(got, wanted, scale=1e3)


@pytest.mark.parametrize("k", [1, 10, 200])
def test_the_class_is_lightlys(k: int) -> None:
    bank, labels, queries = (torch.tensor(x) for x in make.knn_inputs())
    votes = knn_votes(bank, labels, queries, k=k, temperature=0.07, num_classes=7)
    assert votes.argmax(1).tolist() == LIGHTLY["knn"]["first_class_by_k"][str(k)]


@pytest.mark.parametrize(("chunk", "block"), [(1, 1), (3, 7), (50, 199)])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int, block: int) -> None:
    bank, labels, queries = (torch.tensor(x) for x in make.knn_inputs())
    whole = knn_votes(bank, labels, queries, k=12, temperature=0.07, num_classes=7)
    monkeypatch.setattr(knn_module, "CHUNK", chunk)
    monkeypatch.setattr(knn_module, "BANK_BLOCK", block)
    assert_close(knn_votes(bank, labels, queries, k=12, temperature=0.07, num_classes=7), whole)


def test_a_low_temperature_does_not_overflow() -> None:
    bank, labels, queries = make.knn_inputs()
    tensors = torch.tensor(bank).float(), torch.tensor(labels), torch.tensor(queries).float()
    votes = knn_votes(*tensors, k=10, temperature=1e-4, num_classes=7)
    assert votes.isfinite().all()
    nearest = knn_votes(*tensors, k=1, temperature=1.0, num_classes=7)
    assert torch.equal(votes.argmax(1), nearest.argmax(1))


def test_no_queries() -> None:
    votes = knn_votes(
        torch.ones(2, 3), torch.zeros(2).long(), torch.ones(0, 3), k=1, temperature=1, num_classes=4
    )
    assert votes.shape == (0, 4)


@pytest.mark.parametrize(("k", "temperature", "bank"), [(0, 0.1, 2), (1, 0.0, 2), (1, 0.1, 0)])
def test_impossible_arguments(k: int, temperature: float, bank: int) -> None:
    with pytest.raises(ValueError, match="got"):
        knn_votes(
            torch.ones(bank, 3),
            torch.zeros(bank).long(),
            torch.ones(1, 3),
            k=k,
            temperature=temperature,
            num_classes=1,
        )


@dataclass
class FakeSet:
    """A set of which only features are asked."""

    features: FeatureSet
    classes: tuple[str, ...] | None
    name: str = "fake"
    has_masks: bool = False
    skipped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features.features)

    def batches(self) -> Iterator[EvalBatch]:
        raise AssertionError("features are asked of the context")


@dataclass
class FakeContext:
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    figures: Path = Path("unused")

    def features(self, image_set: Any) -> FeatureSet:
        return cast(FakeSet, image_set).features


def found(
    bank: tuple[Tensor, ...], queries: tuple[Tensor, ...], classes: int, **config: Any
) -> dict[str, float]:
    """The evaluator's metrics for (features, labels[, instances]) on both sides."""
    names = tuple(f"class {i}" for i in range(classes))
    sets = [
        FakeSet(FeatureSet(side[0], side[1], side[2] if len(side) > 2 else None), names)
        for side in (bank, queries)
    ]
    evaluator = KNN(KNNConfig(**config))
    return dict(evaluator(cast(Subject, None), EvalData(*sets), FakeContext()).metrics)


def directions(*which: int) -> Tensor:
    """Features along the axes, a little apart from each other."""
    noise = torch.randn(len(which), 8, generator=torch.Generator().manual_seed(0)) * 0.01
    return torch.eye(8)[list(which)] + noise


def test_accuracies() -> None:
    bank = directions(0, 1, 2, 3, 4, 5), torch.arange(6)
    queries = directions(0, 1, 2, 3), torch.tensor([0, 1, 3, 3])
    assert found(bank, queries, 6, k=[1, 6]) == {
        "top1_k1": 0.75,
        "top5_k1": 0.75,
        "top1_k6": 0.75,
        "top5_k6": pytest.approx(1.0),
    }


def test_classes_without_votes_never_count() -> None:
    """One neighbour, ten classes: nine are tied at no vote, and none of them may be found by luck."""
    bank = directions(0), torch.tensor([9])
    queries = directions(*[0] * 10), torch.arange(10)
    assert found(bank, queries, 10, k=[5]) == {"top1_k5": pytest.approx(0.1), "top5_k5": pytest.approx(0.1)}


def test_fewer_than_five_classes_have_no_top5() -> None:
    bank = directions(0, 1), torch.tensor([0, 1])
    assert set(found(bank, bank, 2, k=[1, 200])) == {"top1_k1", "top1_k200"}


def test_unlabelled_images_are_left_out() -> None:
    bank = directions(0, 1, 0), torch.tensor([0, 1, -1])
    queries = bank[0].flip(0), torch.tensor([0, 1, -1])  # the first is nearest to the bank's unlabelled image
    assert found(bank, queries, 2, k=[1]) == {"top1_k1": 1.0}
    nothing = directions(0), torch.tensor([-1])
    assert found(bank, nothing, 2, k=[1]) == {}


def test_objects_are_asked_of_those_that_the_bank_has() -> None:
    bank = directions(0, 1, 2), torch.tensor([0, 0, 1]), torch.tensor([4, 7, 9])
    queries = directions(0, 1, 2, 5), torch.tensor([0, 0, 1, 1]), torch.tensor([4, 9, 9, 30])
    metrics = found(bank, queries, 2, k=[1])
    assert metrics["instance_top1_k1"] == pytest.approx(2 / 3)
    assert set(metrics) == {"top1_k1", "instance_top1_k1"}


def test_the_chunk_of_the_recipe_changes_nothing() -> None:
    bank, labels, queries = (torch.tensor(x) for x in make.knn_inputs())
    answers = torch.tensor(np.arange(20) % 7)
    whole = found((bank, labels), (queries, answers), 7)
    assert set(whole) == {f"top{n}_k{k}" for n in (1, 5) for k in (10, 20, 100, 200)}
    assert found((bank, labels), (queries, answers), 7, chunk=3) == whole


@pytest.mark.parametrize("config", [{"k": []}, {"k": [0]}, {"temperature": 0.0}, {"chunk": 0}])
def test_impossible_keys(config: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="knn"):
        KNN(KNNConfig(**config))
