"""Average precision and the revisited protocol against their definitions; the evaluator and its corners."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from known_features import KnownFeatures, as_images
from oracles import retrieval as oracle
from torch import Tensor

from sslkit.core.dataset import Relevance
from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.errors import DataError, RecipeError
from sslkit.eval.retrieval import Retrieval, RetrievalConfig, average_precision
from sslkit.eval.retrieval_figure import chosen

D = 5


def features(count: int, seed: int) -> Tensor:
    return torch.randn(count, D, generator=torch.Generator().manual_seed(seed))


def found(bank: Pictures, queries: Pictures, folder: Path) -> Result:
    subject = Subject(KnownFeatures(D))
    return Retrieval(RetrievalConfig(shown=4))(subject, EvalData(bank, queries), context_for(subject, folder))


def pictures(rows: Tensor, **known: Any) -> Pictures:
    return Pictures(as_images(rows), **known)


def test_trapezoid_is_not_the_step() -> None:
    relevant = [False, True, True, False, True]
    assert average_precision(torch.tensor(relevant), method="trapezoid") == pytest.approx(
        (0 / 1 + 1 / 2 + 1 / 2 + 2 / 3 + 2 / 4 + 3 / 5) / 6
    )
    assert average_precision(relevant, method="step") == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_definition(seed: int) -> None:
    relevant = (np.random.default_rng(seed).random(50) < 0.2).tolist()
    falling = [-float(place) for place in range(50)]
    assert average_precision(relevant, method="trapezoid") == pytest.approx(
        oracle.trapezoid(relevant), abs=1e-12
    )
    assert average_precision(relevant, method="step") == pytest.approx(
        oracle.steps(falling, relevant), abs=1e-12
    )


@pytest.mark.parametrize("method", ["trapezoid", "step"])
def test_corners_of_average_precision(method: Any) -> None:
    assert math.isnan(average_precision(torch.zeros(4, dtype=torch.bool), method=method))
    assert math.isnan(average_precision(torch.zeros(0, dtype=torch.bool), method=method))
    assert average_precision([True, True, False], method=method) == 1


def test_an_unknown_method() -> None:
    with pytest.raises(ValueError, match="'trapezoid' or 'step', got 'area'"):
        average_precision([True], method="area")  # type: ignore[arg-type]


def lists(queries: int, images: int) -> Relevance:
    """Disjoint easy, hard and junk images; the first query has no easy ones, the second no hard ones."""
    rng = np.random.default_rng(3)
    parts: list[list[Any]] = [[], [], []]
    for query in range(queries):
        cut = np.split(rng.permutation(images)[:12], [4, 8])
        cut = [np.array([], np.int64) if query == empty else part for empty, part in enumerate(cut)]
        for level, part in zip(parts, cut, strict=True):
            level.append(part)
    return Relevance(*parts)


def test_the_revisited_protocol(tmp_path: Path) -> None:
    bank, queries, relevance = features(30, 0), features(7, 1), lists(7, 30)
    result = found(pictures(bank), pictures(queries, relevance=relevance), tmp_path)
    orders = [oracle.ranked(q, bank.double().numpy()) for q in queries.double().numpy()]
    easy, hard, junk = (
        [set(map(int, x)) for x in y] for y in (relevance.easy, relevance.hard, relevance.junk)
    )
    asked = {
        "easy": (easy, [j | h for j, h in zip(junk, hard, strict=True)]),
        "medium": ([e | h for e, h in zip(easy, hard, strict=True)], junk),
        "hard": (hard, [j | e for j, e in zip(junk, easy, strict=True)]),
    }
    for name, (right, left_out) in asked.items():
        each = [oracle.revisited(*row, (1, 5, 10)) for row in zip(orders, right, left_out, strict=True)]
        assert result.metrics[f"map_{name}"] == pytest.approx(np.nanmean([ap for ap, _ in each]), abs=1e-12)
        for k in (1, 5, 10):
            wanted = np.nanmean([precision[k] for _, precision in each])
            assert result.metrics[f"mp{k}_{name}"] == pytest.approx(wanted, abs=1e-12)
    assert {name: result.counts[f"map_{name}"] for name in asked} == {"easy": 6, "medium": 7, "hard": 6}
    assert [note.split(":")[0] for note in result.notes] == ["easy", "hard"]


def test_lists_of_other_images_are_refused(tmp_path: Path) -> None:
    bank, queries, relevance = features(30, 0), features(7, 1), lists(7, 30)
    for images, asked in ((bank[:9], queries), (bank, queries[:6])):
        with pytest.raises(DataError, match=r"7 queries[^!]*eval.max_images=null"):
            found(pictures(images), pictures(asked, relevance=relevance), tmp_path)


def test_classes_and_instances(tmp_path: Path) -> None:
    bank, queries = features(40, 0), features(9, 1)
    labels, asked = torch.arange(40) % 4 - 1, torch.tensor([0, 1, 2, 0, 1, 2, -1, 7, 0])
    objects, asked_for = torch.arange(40) % 11, torch.tensor([3, 3, 99, -1, 0, 1, 2, 4, 5])
    result = found(
        pictures(bank, labels=labels, instances=objects, classes=("a", "b", "c")),
        pictures(queries, labels=asked, instances=asked_for, classes=("a", "b", "c")),
        tmp_path,
    )
    for name, of_bank, of_queries in (("class", labels, asked), ("instance", objects, asked_for)):
        values, firsts = [], []
        for query, label in zip(queries.double().numpy(), of_queries.tolist(), strict=True):
            order = [i for i in oracle.ranked(query, bank.double().numpy()) if of_bank[i] >= 0]
            relevant = [int(of_bank[i]) == label for i in order]
            if any(relevant):
                values.append(oracle.steps([-float(i) for i in range(len(order))], relevant))
                firsts.append(relevant[0])
        assert result.metrics[f"map_{name}"] == pytest.approx(np.mean(values), abs=1e-12)
        assert result.metrics[f"top1_{name}"] == pytest.approx(np.mean(firsts), abs=1e-12)
        assert result.counts[f"map_{name}"] == len(values) == 7
        low, high = result.intervals[f"map_{name}"]
        assert low < result.metrics[f"map_{name}"] < high


def test_a_collapsed_network_finds_what_chance_finds(tmp_path: Path) -> None:
    labels = torch.arange(40) % 4
    result = found(
        pictures(torch.ones(40, D), labels=labels, classes=tuple("abcd")),
        pictures(torch.ones(8, D), labels=labels[:8], classes=tuple("abcd")),
        tmp_path,
    )
    assert result.metrics["map_class"] == pytest.approx(0.25)


def test_nothing_relevant_is_said(tmp_path: Path) -> None:
    for known in ({}, {"instances": torch.arange(6)}):
        result = found(pictures(features(6, 0)), pictures(features(6, 1), **known), tmp_path)
        assert result.metrics == {}
        assert "nothing to measure" in result.notes[0]


def test_fewer_images_than_neighbours_in_the_picture(tmp_path: Path) -> None:
    bank = pictures(features(3, 0), labels=torch.tensor([0, 1, -1]), classes=("a", "b"))
    queries = pictures(features(2, 1), labels=torch.tensor([0, 1]), classes=("a", "b"))
    result = found(bank, queries, tmp_path)
    assert result.figures["neighbours"].read_bytes()[:4] == b"\x89PNG"


def test_best_and_worst_queries_of_different_labels() -> None:
    precision = torch.tensor([0.9, 0.8, math.nan, 0.7, 0.3, 0.2, 0.1])
    assert chosen(precision, 4) == [0, 1, 5, 6]
    assert chosen(precision, 4, [0, 0, 0, 1, 1, 2, 2]) == [0, 3, 4, 6]
    assert chosen(precision, 9) == [0, 1, 3, 4, 5, 6]


def test_too_few_shown() -> None:
    with pytest.raises(RecipeError, match="'shown' is 1"):
        RetrievalConfig(shown=1)
