"""The table and the picture by class against counts by hand."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from sslkit.eval.confusion import WHOLE, Classified, Pair, class_names, shortened, write_by_class

BY_HAND = Classified(
    torch.tensor([2, 0, 0, 2, 2, 0, 2]), torch.tensor([1, 0, 4, 1, 2, -1, 0]), ("cat", "dog", "eel", "fox")
)
"""Class 0: one right, two taken for none; class 2: one right, two for 1, one for 0."""


def drawn(labels: int, seed: int = 0) -> Classified:
    draw = torch.Generator().manual_seed(seed)
    truth, guess = torch.randint(labels, (2, 60), generator=draw)
    return Classified(truth, guess, class_names(None, labels))


def test_by_hand() -> None:
    assert BY_HAND.pairs == [Pair(2, 1, 2), Pair(2, 0, 1)]
    found = {label: (top1.value, top1.count) for label, top1 in BY_HAND.by_class.items()}
    assert found == {0: (pytest.approx(1 / 3), 3), 2: (0.25, 4)}
    shares = BY_HAND.shares([0, 1, 2])
    nan = float("nan")
    np.testing.assert_allclose(shares, [[1 / 3, 0, 0], [nan, nan, nan], [0.25, 0.5, 0.25]])


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_shares_are_scikit_learns(classes: int) -> None:
    some = drawn(classes)
    wanted = confusion_matrix(some.labels, some.predicted, labels=range(classes), normalize="true")
    np.testing.assert_allclose(some.shares(range(classes)), wanted)


def test_the_table(tmp_path: Path) -> None:
    figures, tables = write_by_class(BY_HAND, tmp_path / "knn", "kNN")
    assert figures == {"knn_confusion": tmp_path / "knn" / "confusion.png"}
    assert tables == {"knn_per_class": tmp_path / "knn" / "per_class.csv"}
    with tables["knn_per_class"].open(newline="", encoding="utf-8") as file:
        cat, eel = csv.DictReader(file)
    low, high = BY_HAND.by_class[2].low, BY_HAND.by_class[2].high
    assert eel == {
        "class": "eel",
        "images": "4",
        "top1": "0.2500",
        "low": f"{low:.4f}",
        "high": f"{high:.4f}",
        "most_taken_for": "dog",
        "images_taken": "2",
    }
    assert (cat["most_taken_for"], cat["images_taken"]) == ("", "0")


def test_a_class_of_one_image_has_no_interval(tmp_path: Path) -> None:
    alone = Classified(torch.tensor([0]), torch.tensor([0]), ("a, b",))
    figures, tables = write_by_class(alone, tmp_path / "knn", "kNN")
    assert figures == {}
    assert tables["knn_per_class"].read_text().splitlines()[1] == '"a, b",1,1.0000,,,,0'


@pytest.mark.parametrize("classes", [2, WHOLE, WHOLE + 1, 1000])
def test_the_picture_of_any_number_of_classes(classes: int, tmp_path: Path) -> None:
    names = tuple(f"class $ no. {i}, a synonym" for i in range(classes))
    labels = torch.arange(classes).repeat(2)
    guesses = torch.where(labels % 3 > 0, labels, (labels + 1) % classes)
    figures, _ = write_by_class(Classified(labels, guesses, names), tmp_path / "linear", "Linear")
    with Image.open(figures["linear_confusion"]) as image:
        image.load()
        assert image.width >= image.height > 400


def test_the_picture_without_a_mistake(tmp_path: Path) -> None:
    labels = torch.arange(WHOLE + 5)
    figures, _ = write_by_class(Classified(labels, labels, class_names(None, len(labels))), tmp_path, "kNN")
    assert all(path.is_file() for path in figures.values())


def test_names() -> None:
    assert class_names(("cat", "dog"), 4) == ("cat", "dog", "2", "3")
    assert class_names(("cat", "dog"), 1) == ("cat", "dog")
    assert shortened("tench, Tinca tinca") == "tench"
    assert shortened("a" * 40) == "a" * 21 + "…"
