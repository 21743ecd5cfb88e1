"""What the checks of a method work with: a small network, and the training step of a real run."""

# G global views, L local views, B images

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sslkit.conformance.small import SmallSetup
from sslkit.conformance.snapshot import identical
from sslkit.core.augmentation import Augmentation
from sslkit.core.method import Method, Progress, StepOutput, Views
from sslkit.core.randomness import seeded
from sslkit.data.loader import Batch
from sslkit.recipe.schema import ClipSection, OptimSection, Recipe, RuntimeSection
from sslkit.train.distributed import Place
from sslkit.train.loop import Trainer, build_trainer, one_step

STEP = 5
"""Step at which single passes are made: in the second epoch, since some methods begin otherwise."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class MethodKit:
    """What one round of checks works with."""

    cls: type[Method]
    config: Any
    setup: SmallSetup
    views: Views

    def build(self, seed: int = 0) -> Method:
        """The method with initial weights of that seed, as a run builds it."""
        with seeded(seed, "weights"):
            return self.cls(self.config, self.setup).train()

    def progress(self, step: int = STEP) -> Progress:
        """Of that step of a run of five epochs."""
        return Progress(step, 5 * self.setup.steps_per_epoch, self.setup.steps_per_epoch)

    def forward(self, method: Method, views: Views | None = None, step: int = STEP) -> StepOutput:
        """One pass with the draws of that step."""
        with seeded(0, "model", step):
            output: StepOutput = method(self.views if views is None else views, self.progress(step))
        return output

    def after(self, method: Method, output: StepOutput) -> None:
        """What a step does after the optimiser."""
        method.after_step(self.progress(), [replace(output, loss=output.loss.detach())])

    def trainer(
        self, method: Method, place: Place | None = None, *, optimizer: str = "adamw", accumulate: int = 1
    ) -> Trainer:
        """The product's trainer, which sees nothing but the kit's views."""
        optim = OptimSection(
            name=optimizer,
            batch_size=len(_rows(self.views)),
            epochs=5,
            lr=1e-3,
            lr_base_batch=None,
            warmup_epochs=0,
            min_lr=1e-3,
            weight_decay=0.0,
            weight_decay_end=0.0,
            clip=ClipSection(mode="none"),
            accumulate=accumulate,
        )
        recipe = Recipe(optim=optim, runtime=RuntimeSection(deterministic=False))
        per_epoch = self.setup.steps_per_epoch
        trainer = build_trainer(recipe, method, GivenViews(self.views), place or Place(CPU), per_epoch)
        trainer.state.step = STEP
        return trainer

    def step(self, trainer: Trainer) -> float:
        """One step of the product's loop; gives back the loss of this process before it."""
        outputs, _ = one_step(trainer, self.batch(trainer.place), trainer.progress())
        trainer.state.step += 1
        return torch.stack([output.loss for output in outputs]).mean().item()

    def batch(self, place: Place) -> Batch:
        """This process's share, as a loader gives it; the views themselves come from the augmentation."""
        labels, indices = self.views.labels, _rows(self.views)
        share = len(indices) // place.world_size
        part = slice(place.rank * share, (place.rank + 1) * share)
        canvas = torch.zeros(share, self.setup.channels, 1, 1, dtype=torch.uint8)
        size = torch.ones(share, 2, dtype=torch.int64)
        return Batch(canvas, size, None if labels is None else labels[part], indices[part])


@dataclass(frozen=True)
class Rows:
    """Some of the given images, as an augmentation's parameters."""

    part: slice

    def rows(self, part: slice) -> "Rows":
        return Rows(part)


class GivenViews(Augmentation):
    """Gives the same views in every step."""

    Config = Rows
    canvas_size = image_size = 1
    view_sizes = (1,)

    def __init__(self, views: Views) -> None:
        super(Augmentation, self).__init__()
        self.views = views

    def draw(self, n: int) -> Rows:
        return Rows(slice(0, n))

    def apply(self, canvas: Tensor, size: Tensor, params: Rows) -> Views:  # type: ignore[override]
        local = self.views.local_views
        return Views(
            self.views.global_views[:, params.part], None if local is None else local[:, params.part]
        )


def moved(views: Views, device: torch.device) -> Views:
    """The same views on another device."""
    local, labels, indices = (
        None if x is None else x.to(device) for x in (views.local_views, views.labels, views.indices)
    )
    return Views(views.global_views.to(device), local, labels, indices)


def state_of(method: Method) -> dict[str, Tensor]:
    """A copy of the whole state."""
    return {key: value.detach().clone() for key, value in method.state_dict().items()}


def differing(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[str]:
    """The tensors that are not `identical`, or that only one has."""
    return [key for key in {**a, **b} if key not in a or key not in b or not identical(a[key], b[key])]


def _rows(views: Views) -> Tensor:
    count = views.global_views.shape[1]
    return torch.arange(count) if views.indices is None else views.indices
