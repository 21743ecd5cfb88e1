"""Rankings in chunks, and average precisions of many rankings against one at a time."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from oracles import retrieval as oracle
from tolerances import assert_close

from sslkit.eval import ranking as module
from sslkit.eval.ranking import Method, average_precisions, first_counted, rankings

CPU = torch.device("cpu")


def features(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pairs", [1, 30, 10**6])
def test_the_order_is_that_of_the_cosines(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", pairs)
    database, queries = features(13, 0), features(5, 1)
    chunks = list(rankings(database, queries, CPU))
    assert [row for chunk in chunks for row in range(chunk.queries.start, chunk.queries.stop)] == [*range(5)]
    order = torch.cat([chunk.order for chunk in chunks])
    bank = database.double().numpy()
    assert order.tolist() == [oracle.ranked(query.double().numpy(), bank) for query in queries]
    assert all(chunk.order.numel() <= max(pairs, 13) for chunk in chunks)


def test_equals_keep_the_order_of_the_database() -> None:
    (ranking,) = rankings(torch.eye(2)[[0, 1, 0, 1, 0]], torch.eye(2)[:1], CPU)
    assert ranking.order.tolist() == [[0, 2, 4, 1, 3]]


def test_no_database_and_no_queries() -> None:
    (ranking,) = rankings(features(0, 0), features(3, 1), CPU)
    assert ranking.order.shape == (3, 0)
    assert average_precisions(ranking.order > 0, method="step", similarity=ranking.similarity).isnan().all()
    assert list(rankings(features(3, 0), features(0, 1), CPU)) == []


def drawn(seed: int, share: float, levels: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.integers(0, levels, (6, 40)), axis=1) / levels
    relevant = rng.random((6, 40)) < share
    relevant[0] = False
    return scores, relevant


@pytest.mark.parametrize("levels", [5, 10**9])
@pytest.mark.parametrize("share", [0.03, 0.4, 1.0])
def test_steps_with_ties_are_the_definition_and_scikit_learns(share: float, levels: int) -> None:
    from sklearn.metrics import average_precision_score

    scores, relevant = drawn(0, share, levels)
    got = average_precisions(torch.tensor(relevant), method="step", similarity=torch.tensor(scores))
    rows = list(zip(scores.tolist(), relevant.tolist(), strict=True))
    assert_close(got, np.array([oracle.steps(*row) for row in rows]))
    for value, (score, right) in zip(got.tolist(), rows, strict=True):
        assert (
            math.isnan(value)
            if not any(right)
            else value == pytest.approx(average_precision_score(right, score), abs=1e-12)
        )


@pytest.mark.parametrize("method", ["step", "trapezoid"])
def test_what_does_not_count_is_left_out_before_ranks_are_counted(method: Method) -> None:
    _, relevant = drawn(1, 0.3, 5)
    counted = np.random.default_rng(2).random(relevant.shape) < 0.6
    counted[1] = False
    got = average_precisions(torch.tensor(relevant), method=method, counted=torch.tensor(counted))
    for value, right, kept in zip(got.tolist(), relevant, counted, strict=True):
        rest = right[kept].tolist()
        falling = [-float(place) for place in range(len(rest))]
        wanted = oracle.trapezoid(rest) if method == "trapezoid" else oracle.steps(falling, rest)
        assert value == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_the_first_that_count() -> None:
    order = torch.tensor([[5, 6, 7, 8]])
    counted = torch.tensor([[False, True, False, True]])
    assert first_counted(order, counted, 1).tolist() == [[1]]
    assert first_counted(order, counted, 9).tolist() == [[1, 3, 4, 4]]
