"""What evaluators found, as a person and as a program reads it."""

import json
import math
from pathlib import Path

import pytest

from sslkit.core.evaluator import Estimate, Result
from sslkit.eval.evaluate import Skipped
from sslkit.eval.wording import Measured, as_record, number, told

FOUND: dict[str, Result | Skipped] = {
    "knn": Result.of(
        {"top1": Estimate(0.81, 0.78, 0.84, 1600), "rank": Estimate(math.nan, math.nan, math.nan, 0)},
        figures={"confusion": Path("figures/knn/confusion.png")},
        tables={"per class": Path("figures/knn/per_class.csv")},
        notes=["A sentence that is long enough to be broken where a terminal is narrow."],
    ),
    "attention": Skipped("it needs masks"),
}
PLACE = Measured("demo/val", 1600, 64, 1200)


def test_a_table() -> None:
    assert list(told(FOUND, PLACE, 100)) == [
        "on demo/val: 1,600 images of 64 px, step 1,200",
        "",
        "knn",
        "  metric   value     95 % interval  images",
        "  top1    0.8100  [0.7800, 0.8400]   1,600",
        "  rank         -                 -       0",
        "  A sentence that is long enough to be broken where a terminal is narrow.",
        "  confusion: figures/knn/confusion.png",
        "  per class: figures/knn/per_class.csv",
        "",
        "attention is skipped: it needs masks",
    ]


def test_a_narrow_terminal() -> None:
    lines = list(told(FOUND, Measured("demo/val", 1, 64, None), 40))
    assert lines[0] == "on demo/val: 1 image of 64 px"
    assert lines[3:5] == ["  top1", "    0.8100  [0.7800, 0.8400]  1,600"]
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (1.0, "1.0000"),
        (0.05, "0.0500"),
        (0.0051234, "0.00512"),
        (-0.00012345, "-0.000123"),
        (0.01, "0.0100"),
        (2.5, "2.5000"),
        (57.0, "57"),
        (12.3456, "12.35"),
        (123456.0, "123,456"),
        (math.inf, "-"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_json() -> None:
    found = json.loads(json.dumps(as_record(FOUND, PLACE), allow_nan=False))
    assert found["knn"]["metrics"] == {"top1": 0.81, "rank": None}
    assert found["knn"]["intervals"] == {"top1": [0.78, 0.84], "rank": [None, None]}
    assert found["knn"]["counts"] == {"top1": 1600, "rank": 0}
    assert found["knn"]["tables"] == {"per class": "figures/knn/per_class.csv"}
    assert found["knn"]["dataset"] == "demo/val"
    assert found["attention"] == {
        "dataset": "demo/val",
        "images": 1600,
        "crop": 64,
        "step": 1200,
        "skipped": "it needs masks",
    }
