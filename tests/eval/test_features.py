"""Features of whole sets, computed once, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from image_sets import Pictures, context_for
from oracle_backbones import Oracle
from torch import Tensor

from sslkit.core.evaluator import Pooled, Subject
from sslkit.eval.features import Rows, extract_features
from sslkit.eval.progress import one

T = TypeVar("T")


def colours(x: Tensor) -> Tensor:
    return x.mean((2, 3))  # [B, C]


def pictures(level: float = 0.0, count: int = 17) -> Pictures:
    images = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + level
    return Pictures(images, labels=torch.arange(count) % 3, instances=torch.arange(count))


def test_features_labels_and_instances_in_order() -> None:
    images, oracle = pictures(), Oracle(colours)
    oracle.train()
    found = extract_features(Subject(oracle), images, torch.device("cpu"))
    torch.testing.assert_close(found.features, colours(images.images))
    assert found.features.dtype == torch.float32
    assert found.labels is not None
    assert found.instances is not None
    assert found.labels.tolist() == [i % 3 for i in range(17)]
    assert found.instances.tolist() == list(range(17))
    assert oracle.modes == {False}
    assert oracle.training


def test_a_context_asks_the_backbone_once(tmp_path: Path) -> None:
    images, oracle = pictures(), Oracle(colours)
    context = context_for(Subject(oracle), tmp_path)
    first = context.features(images)
    assert context.features(images) is first
    assert len(oracle.seen) == 3
    context.features(images, Pooled("another"))
    assert len(oracle.seen) == 6


def test_a_set_that_is_gone_leaves_its_features_to_no_other(tmp_path: Path) -> None:
    """Python gives the number that `id` tells of an object to another when it is gone."""
    context = context_for(Subject(Oracle(colours)), tmp_path)
    for level in range(20):
        found = context.features(pictures(level, count=2)).features
        assert level <= float(found.min()) <= level + 1


def test_rows_are_written_in_place() -> None:
    rows = Rows(5)
    rows.add(torch.ones(2, 3), torch.tensor([1, 2]), None)
    before = rows.part(0, {}).features.data_ptr()
    rows.add(torch.zeros(3, 3), torch.tensor([3, 4, 5]), None)
    found = rows.as_set()
    assert found.features.data_ptr() == before
    assert found.features.sum() == 6
    assert found.labels is not None
    assert found.labels.tolist() == [1, 2, 3, 4, 5]
    assert found.instances is None
    assert rows.part(4, {}).features.shape == (1, 3)


def test_a_pass_that_ends_early_is_no_set() -> None:
    rows = Rows(5)
    rows.add(torch.ones(2, 3), None, None)
    with pytest.raises(AssertionError):
        rows.as_set()


def test_images_are_counted() -> None:
    told: list[tuple[int, str, str, int, list[int]]] = []

    def track(
        items: Iterable[T],
        total: int,
        what: str,
        *,
        size: Callable[[T], int] = one,
        unit: str = "",
        done: int = 0,
    ) -> Iterator[T]:
        kept = list(items)
        told.append((total, what, unit, done, [size(item) for item in kept]))
        yield from kept

    extract_features(Subject(Oracle(colours)), pictures(), torch.device("cpu"), track=track)
    assert told == [(17, "features of pictures", "images", 0, [7, 7, 3])]
