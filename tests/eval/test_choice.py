"""Rank correlations with kNN over checkpoints and runs, on records made by hand."""

import math
from typing import Any

import pytest

from sslkit.eval.choice import BETTER, Checkpoints, checkpoints_of, rank_correlation, table, worth

NAN = math.nan


def evaluated(step: int, name: str, **metrics: Any) -> dict[str, Any]:
    return {"kind": "eval", "step": step, "evaluator": name, "metrics": metrics}


def run(accuracy: list[float], **numbers: list[float]) -> Checkpoints:
    steps = tuple(float(step) for step in range(len(accuracy)))
    missing = dict.fromkeys(BETTER, (NAN,) * len(accuracy))
    return Checkpoints(tuple(accuracy), missing | {"step": steps} | {k: tuple(v) for k, v in numbers.items()})


def test_only_steps_with_both_answers_count_and_the_last_answer_rules() -> None:
    records = [
        {"kind": "step", "step": 1, "loss": 9.0},
        {"kind": "step", "step": 60, "loss": 4.0},
        {"kind": "step", "step": 100, "loss": 2.0},
        {"kind": "step", "step": 101, "loss": None},
        evaluated(50, "knn", top1_k20=0.1),
        evaluated(100, "knn", top1_k20=0.2),
        evaluated(100, "health", rankme=7.0),
        evaluated(200, "health", rankme=9.0, alignment=None),
        evaluated(200, "knn", top1_k20=0.5),
        evaluated(100, "knn", top1_k20=0.3),
        {"kind": "health", "step": 100, "verdict": "healthy"},
    ]
    found = checkpoints_of(records, "top1_k20")
    assert found.accuracy == (0.3, 0.5)
    assert found.numbers["step"] == (100.0, 200.0)
    assert found.numbers["rankme"] == (7.0, 9.0)
    assert found.numbers["loss"][0] == 3.0  # of steps 51 to 100
    assert math.isnan(found.numbers["loss"][1])
    assert math.isnan(found.numbers["alignment"][1])


def test_rank_correlations_are_the_textbooks() -> None:
    x, y = [1.0, 2, 3, 4, 5], [2.0, 1, 4, 3, 5]
    assert rank_correlation(x, y) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert rank_correlation(x, y, "kendall") == pytest.approx((8 - 2) / 10)
    assert rank_correlation([*x, NAN], [*y, 0.0]) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("x", "y"), [([1.0, 1, 1], [1.0, 2, 3]), ([1.0, 2], [1.0, 2]), ([NAN] * 4, [1.0, 2, 3, 4])]
)
def test_rank_correlation_that_is_not_defined(x: list[float], y: list[float]) -> None:
    assert math.isnan(rank_correlation(x, y))


def test_what_choosing_costs() -> None:
    runs = [
        run([0.2, 0.9, 0.6], rankme=[1, 3, 2], loss=[3, 2, 1]),
        run([0.1, 0.3, 0.5], rankme=[3, 2, 1], loss=[3, 2, 1]),
    ]
    rank, loss, last = (worth(runs, name) for name in ("rankme", "loss", "step"))
    assert rank.spearman.value == rank.kendall.value == pytest.approx(0)  # +1 and -1
    assert rank.lost.value == pytest.approx((0.0 + 0.4) / 2)
    assert rank.gained.value == pytest.approx((0.3 - 0.4) / 2)
    assert loss.spearman.value == pytest.approx((0.5 + 1.0) / 2)  # less is better
    assert loss.lost == last.lost
    assert last.gained.value == 0
    assert rank.lost.count == 2


def test_of_equal_checkpoints_the_later_is_chosen() -> None:
    assert worth([run([0.1, 0.7, 0.2], rankme=[5, 5, 1])], "rankme").lost.value == 0


def test_between_runs_by_their_last_checkpoint() -> None:
    runs = [run([0.9, a], uniformity=[0, u]) for a, u in ((0.1, -1.0), (0.2, -2), (0.4, -4), (0.3, -3))]
    assert worth(runs, "uniformity").between.value == pytest.approx(1)
    assert math.isnan(worth(runs[:2], "uniformity").between.value)
    assert math.isnan(worth(runs, "alignment").between.value)


def test_the_table_has_what_was_measured_best_first() -> None:
    one = run([0.1, 0.2, 0.3], rankme=[3, 2, 1], loss=[1, 1, 1], alignment=[3, 2, 1])
    lines = table([one, one])
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| the last one",
        "| less alignment",
        "| more rankme",
    ]
    assert lines[4].split(" | ")[1:5] == [
        "-1.00 (-1.00 to -1.00)",
        "-1.00 (-1.00 to -1.00)",
        "+20.0 (+20.0 to +20.0)",
        "-20.0 (-20.0 to -20.0)",
    ]
