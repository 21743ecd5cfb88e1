"""Features of whole sets, computed once for all evaluators."""

# B images of a batch, N images of the set, D features

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from sslkit.core.evaluator import Extractor, FeatureSet, ImageSet, Pooled, Subject
from sslkit.train.export import load_backbone

if TYPE_CHECKING:
    from sslkit.plugins import Registry
    from sslkit.recipe.schema import Recipe

T = TypeVar("T")
POOLED = Pooled()


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode within, each submodule's own mode again afterwards."""
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes.items():
            child.training = mode


@torch.no_grad()
def extract_features(
    subject: Subject,
    image_set: ImageSet,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    extract: Extractor = POOLED,
) -> FeatureSet:
    """The subject's features of every image of a set, in its order, on the CPU."""
    features: list[Tensor] = []
    labels: list[Tensor] = []
    instances: list[Tensor] = []
    with eval_mode(subject.backbone):
        for batch in image_set.batches():
            with autocast():
                outputs = extract(subject.backbone, batch.images.to(device, non_blocking=True))  # [B, D]
            features.append(outputs.float().cpu())
            labels += [] if batch.labels is None else [batch.labels]
            instances += [] if batch.instances is None else [batch.instances]
    return FeatureSet(torch.cat(features), _joined(labels), _joined(instances))  # [N, D], [N], [N]


def _joined(parts: list[Tensor]) -> Tensor | None:
    return torch.cat(parts) if parts else None


@dataclass
class Context:
    """Where evaluators compute; keeps the features of each set for the next evaluator."""

    subject: Subject
    device: torch.device
    figures: Path
    step: int
    recipe: "Recipe"
    registry: "Registry"
    training_images: Callable[[], ImageSet]
    """Opens the images that the run was trained on."""
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext
    kept: dict[tuple[int, str], FeatureSet] = field(default_factory=dict)

    def features(self, image_set: ImageSet, extract: Extractor = POOLED) -> FeatureSet:
        key = id(image_set), extract.name
        if key not in self.kept:
            self.kept[key] = extract_features(self.subject, image_set, self.device, self.autocast, extract)
        return self.kept[key]

    def track(self, items: Iterable[T], total: int, what: str) -> Iterable[T]:
        return items

    def own_images(self) -> ImageSet:
        return self.training_images()

    def other(self, run: str) -> Subject:
        return Subject(load_backbone(run, self.registry).to(self.device))
