"""Votes against a loop over neighbours and against lightly; the evaluator on sets with corners."""

import csv
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from known_features import KnownFeatures, as_images
from oracles import knn as oracle
from oracles import make
from tolerances import assert_close
from torch import Tensor

from sslkit.core.evaluator import EvalData, Result, Subject
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


def asked(
    bank: tuple[Tensor, ...], queries: tuple[Tensor, ...], classes: int, figures: Path, **config: Any
) -> Result:
    """The evaluator on (features, labels[, instances]) on both sides."""
    names = tuple(f"class {i}" for i in range(classes))
    sets = [
        Pictures(as_images(features), labels, instances[0] if instances else None, classes=names)
        for features, labels, *instances in (bank, queries)
    ]
    subject = Subject(KnownFeatures(bank[0].shape[1]))
    return KNN(KNNConfig(**config))(subject, EvalData(*sets), context_for(subject, figures))


def found(
    bank: tuple[Tensor, ...], queries: tuple[Tensor, ...], classes: int, **config: Any
) -> dict[str, float]:
    """The evaluator's metrics."""
    with TemporaryDirectory() as figures:
        return dict(asked(bank, queries, classes, Path(figures), **config).metrics)


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


def test_intervals_are_over_the_queries_that_count(tmp_path: Path) -> None:
    bank = directions(0, 1, 2), torch.tensor([0, 1, 1]), torch.tensor([4, 7, 9])
    queries = directions(0, 1, 2, 0, 0), torch.tensor([0, 1, 0, 1, -1]), torch.tensor([4, 7, 9, 30, 4])
    result = asked(bank, queries, 2, tmp_path, k=[1])
    assert dict(result.counts) == {"top1_k1": 4, "instance_top1_k1": 4}
    low, high = result.intervals["top1_k1"]
    assert low < result.metrics["top1_k1"] == 0.5 < high
    assert result.intervals["instance_top1_k1"] == (1, 1)


def test_classes_are_told_of_the_number_of_neighbours_next_to_20(tmp_path: Path) -> None:
    bank = directions(0, 0, 1, 1, 1, 1), torch.tensor([0, 0, 1, 1, 1, 1])
    queries = directions(0, 0, 1), torch.tensor([0, 0, 1])
    few = asked(bank, queries, 2, tmp_path / "few", k=[1, 2])
    assert few.metrics["top1_k2"] == 1
    many = asked(bank, queries, 2, tmp_path / "many", k=[2, 6, 500], temperature=50.0)
    assert many.metrics["top1_k2"] == 1
    assert many.metrics["top1_k6"] == pytest.approx(1 / 3)
    assert [row["top1"] for row in rows(few)] == ["1.0000", "1.0000"]
    assert [row["top1"] for row in rows(many)] == ["0.0000", "1.0000"]
    assert (rows(many)[0]["most_taken_for"], rows(many)[0]["images_taken"]) == ("class 1", "2")
    assert many.figures["many_confusion"].is_file()


def rows(result: Result) -> list[dict[str, str]]:
    (path,) = result.tables.values()
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_class_that_no_neighbour_has_is_not_taken_for_another(tmp_path: Path) -> None:
    """At this temperature the only vote is too small for float32."""
    bank, queries = (
        (torch.tensor([[1.0, 0.0]]), torch.tensor([0])),
        (torch.tensor([[-1.0, 0.0]]), torch.tensor([1])),
    )
    result = asked(bank, queries, 2, tmp_path, k=[1], temperature=1e-3)
    assert result.metrics["top1_k1"] == 0
    assert rows(result)[0]["most_taken_for"] == ""
