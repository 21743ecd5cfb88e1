"""What each patch shows, by its nearest patches in other images: a look at features that no CLS sums up."""

# B images, N = h x w patches of an image, P patches of all images, D features, C classes

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import EvalContext, EvalData, Evaluator, ImageSet, Result, Subject
from sslkit.errors import DataError, RecipeError
from sslkit.eval.features import eval_mode
from sslkit.eval.in_memory import spread
from sslkit.eval.knn import knn_votes

GROUND = 0
"""Label of patches that show no object; those of class c have c + 1."""


@dataclass
class PatchKNNConfig:
    """Weighted kNN on the patches of labelled images with masks."""

    k: int = 10
    """Neighbours that vote, >= 1."""
    temperature: float = 0.07
    """A neighbour votes with exp(cosine / temperature), > 0."""
    images: int = 100
    """At most so many images of the memory bank, and as many held-out ones, >= 1; each has N patches."""
    cover: float = 0.5
    """Share of a patch that the object must cover for the patch to be one of the object's, above 0 to 1."""

    def __post_init__(self) -> None:
        for name in ("k", "images"):
            if getattr(self, name) < 1:
                raise RecipeError(f"'{name}' is {getattr(self, name)}, but must be >= 1")
        if not self.temperature > 0:
            raise RecipeError(f"'temperature' is {self.temperature:g}, but must be > 0")
        if not 0 < self.cover <= 1:
            raise RecipeError(f"'cover' is {self.cover:g}, but must be above 0 to 1")


@dataclass(frozen=True)
class Patches:
    """The patches of some images, image by image."""

    features: Tensor
    """[B, N, D]."""
    labels: Tensor
    """int64 [B, N], 0 for ground and c + 1 for class c."""


class PatchKNN(Evaluator):
    """The last tokens' patches, named by the patches of training images that are nearest to them.

    `object_class`: share of the patches on objects that get their object's class. `ground`: share of the
    other patches that are not taken for an object. `jaccard`: of the patches taken for an object with those
    that are one, mean over images. Images without a known class are left out.
    """

    Config = PatchKNNConfig
    needs = frozenset({"labels", "masks"})

    def __init__(self, config: PatchKNNConfig) -> None:
        self.config = config

    @torch.no_grad()
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        with eval_mode(subject.backbone):
            bank, held_out = (
                self._patches(subject.backbone, images, context) for images in (data.train, data.test)
            )
        votes = knn_votes(
            bank.features.flatten(0, 1),
            bank.labels.flatten(),
            held_out.features.flatten(0, 1),
            k=self.config.k,
            temperature=self.config.temperature,
            num_classes=int(max(bank.labels.max(), held_out.labels.max())) + 1,
        )  # [P, C + 1]
        return Result(shares(votes.argmax(1).view_as(held_out.labels), held_out.labels))

    def _patches(self, backbone: Backbone, images: ImageSet, context: EvalContext) -> Patches:
        places = spread(len(images), self.config.images)
        chosen = images.part(places, f"{len(places)} of {len(images)} for patches")
        features, labels = [], []
        for batch in chosen.batches():
            if batch.labels is None or batch.masks is None:
                continue
            known = batch.labels >= 0
            if not known.any():
                continue
            tokens = backbone.tokens(batch.images[known].to(context.device))
            features.append(tokens.patches.float())
            truth = patch_labels(batch.masks[known], batch.labels[known], tokens.grid, self.config.cover)
            labels.append(truth.to(context.device))
        if not features:
            raise DataError(f"patch_knn needs images with a class and a mask, but {images.name} has none")
        return Patches(torch.cat(features), torch.cat(labels))


def patch_labels(masks: Tensor, labels: Tensor, grid: tuple[int, int], cover: float) -> Tensor:
    """What each patch shows: masks [B, H, W] and classes [B] -> int64 [B, N], 0: ground, c + 1: class c."""
    covered = F.adaptive_avg_pool2d(masks.float()[:, None], grid).flatten(1)  # [B, N]
    return (covered >= cover) * (labels[:, None] + 1)


def shares(found: Tensor, truth: Tensor) -> dict[str, float]:
    """The metrics of what was found and what is, int64 [B, N] each; without those that count nothing."""
    is_object, taken = truth > GROUND, found > GROUND
    either = (is_object | taken).sum(1)  # [B]
    jaccard = (is_object & taken).sum(1)[either > 0] / either[either > 0]
    counted = {
        "object_class": (found == truth)[is_object],
        "ground": ~taken[~is_object],
        "jaccard": jaccard,
    }
    return {name: values.double().mean().item() for name, values in counted.items() if len(values)}
