"""Naming patches by their neighbours, on patches whose names are known."""

# B images, N patches

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from sslkit.core.backbone import Backbone, Tokens
from sslkit.core.evaluator import EvalBatch, EvalData, Subject
from sslkit.errors import DataError, RecipeError
from sslkit_ibot import PatchKNN, PatchKNNConfig
from sslkit_ibot.patch_knn import patch_labels, shares

CPU = SimpleNamespace(device=torch.device("cpu"))


class MeanColours(Backbone):
    """A patch's feature is its mean colour, so that patches of one colour are neighbours."""

    embed_dim, patch_size = 3, 4
    network = export_metadata = property(lambda self: self)

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def tokens(self, x: Tensor, mask: Tensor | None = None) -> Tokens:
        assert not self.training
        patches = avg_pool2d(x, 4)  # [B, 3, 2, 2]
        return Tokens(x.new_zeros(len(x), 0, 3), patches.flatten(2).transpose(1, 2), (2, 2))

    def layers(self, x: Tensor, n: int) -> list[Tokens]:
        return [self.tokens(x)]

    def cls_attention(self, x: Tensor) -> None: ...


class Coloured:
    """8 px images: a red (class 0) or green (class 1) square in the upper left patch on blue ground."""

    name = "coloured"

    def __init__(self, labels: list[int], *, has_masks: bool = True) -> None:
        self.labels, self.has_masks = labels, has_masks

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, places: list[int], name: str) -> "Coloured":
        return Coloured([self.labels[place] for place in places], has_masks=self.has_masks)

    def batches(self) -> Any:
        for start in range(0, len(self.labels), 2):
            labels = torch.tensor(self.labels[start : start + 2])
            images, masks = torch.zeros(len(labels), 3, 8, 8), torch.zeros(len(labels), 8, 8).bool()
            images[:, 2] = 1
            for row, label in enumerate(labels.tolist()):
                images[row, :, :4, :4] = torch.eye(3)[label, :, None, None]
                masks[row, :4, :4] = True
            yield EvalBatch(
                images, labels, None, masks if self.has_masks else None, torch.arange(len(labels))
            )


def evaluate(train: Any, test: Any, **config: Any) -> dict[str, float]:
    backbone = MeanColours().train()
    evaluator = PatchKNN(PatchKNNConfig(**{"k": 1, **config}))
    result = evaluator(Subject(backbone), EvalData(train, test), CPU)
    assert backbone.training
    return dict(result.metrics)


def test_patches_are_named_by_patches_of_their_colour() -> None:
    assert evaluate(Coloured([0, 1, 0]), Coloured([1, 0])) == {"object_class": 1, "ground": 1, "jaccard": 1}


def test_an_object_that_the_bank_lacks_is_misnamed() -> None:
    """Green has no green neighbour: all cosines are 0, and whatever is found is not its class."""
    metrics = evaluate(Coloured([0, 0]), Coloured([1, 0]))
    assert metrics["object_class"] == 0.5
    assert metrics["ground"] == 1


def test_only_so_many_images_and_none_of_unknown_class_are_looked_at() -> None:
    assert evaluate(Coloured([0, 1, -1, -1]), Coloured([0, -1]), images=3)["object_class"] == 1
    with pytest.raises(DataError, match="a class and a mask, but coloured has none"):
        evaluate(Coloured([0]), Coloured([0], has_masks=False))


def test_what_a_patch_shows_is_what_covers_half_of_it() -> None:
    masks = torch.zeros(1, 4, 4).bool()
    masks[0, :, :1] = True  # half of the two left patches
    masks[0, 0, 2] = True  # a quarter of the upper right one
    labels = torch.tensor([3])
    assert patch_labels(masks, labels, (2, 2), 0.5).tolist() == [[4, 0, 4, 0]]
    assert patch_labels(masks, labels, (2, 2), 0.51).tolist() == [[0, 0, 0, 0]]
    assert patch_labels(masks, labels, (2, 2), 0.25).tolist() == [[4, 4, 4, 0]]


def test_shares_by_hand() -> None:
    truth = torch.tensor([[2, 2, 0, 0], [1, 1, 0, 0]])
    found = torch.tensor([[2, 1, 3, 0], [0, 1, 0, 0]])
    got = shares(found, truth)
    assert got == {"object_class": 2 / 4, "ground": 3 / 4, "jaccard": pytest.approx((2 / 3 + 1 / 2) / 2)}
    nothing = torch.zeros(1, 4, dtype=torch.int64)
    assert shares(nothing, nothing) == {"ground": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "'k' is 0, but must be >= 1"),
        ({"images": 0}, "'images' is 0, but must be >= 1"),
        ({"temperature": 0}, "'temperature' is 0, but must be > 0"),
        ({"cover": 0}, "'cover' is 0, but must be above 0 to 1"),
        ({"cover": 1.5}, "'cover' is 1.5, but must be above 0 to 1"),
    ],
)
def test_ranges(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        PatchKNNConfig(**changes)
    assert str(caught.value) == message
