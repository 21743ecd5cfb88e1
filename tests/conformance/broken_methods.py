"""A method that conforms, and for each check one that does not."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.diagnosis import Sign
from sslkit.core.method import Method, ParameterGroup, Progress, Setup, StepOutput, Views
from sslkit.errors import RecipeError


@dataclass
class Nothing:
    """No settings."""


class Plain(Method):
    """Features are driven to one point; the mistakes below inherit from it."""

    Config = Nothing
    count: Tensor

    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__()
        self.backbone = setup.backbone()
        self.register_buffer("count", torch.zeros(()))

    @property
    def encoder(self) -> Backbone:
        return self.backbone

    def features(self, views: Views) -> Tensor:
        return self.backbone(views.global_views.flatten(0, 1))  # type: ignore[no-any-return]

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        features = self.features(views)
        images = views.global_views.shape[1]
        return StepOutput(features.square().mean(), features=features[:images].detach())


# --- building ----------------------------------------------------------------------------------------------


class WantsMore(Plain):
    def __init__(self, config: Nothing, setup: Setup, temperature: float) -> None:
        super().__init__(config, setup)


class RefusesResNets(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        if self.backbone.patch_size is None:
            raise RecipeError("it masks patches, which this network does not have\n  choose a ViT")


class RefusesViTs(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        if self.backbone.patch_size is not None:
            raise RecipeError("it needs maps, which this network does not have\n  choose a ResNet")


class RefusesAll(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        raise RecipeError("it works with the backbone 'columns' alone")


class WantsThreeViews(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        if len(views.global_views) != 3:
            raise RecipeError("it needs three global views, as augment.name=patches makes them")
        return super().forward(views, progress)


# --- the loss ----------------------------------------------------------------------------------------------


class Overflows(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        return replace(super().forward(views, progress), loss=torch.tensor(float("inf"), requires_grad=True))


class GivesEachImagesLoss(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        return StepOutput(self.features(views).square().mean(1))


class GivesTheLossAlone(Plain):
    def forward(self, views: Views, progress: Progress) -> Any:
        return self.features(views).square().mean()


class Detaches(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss.detach())


class TakesARootOfZero(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss + (self.features(views) * 0).sum().sqrt())


class CancelsInBF16(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        x = self.backbone.tokens(views.global_views[0]).patches
        product = x.flatten(1) @ x.flatten(1).T * 0
        return StepOutput(1 / (product + 1.0001 - 1).mean() + self.features(views).mean() ** 2)


class EndsInNaN(Plain):
    """A logarithm of what falls below zero in the fourth step."""

    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.width = nn.Parameter(torch.tensor(1e-3))

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss + self.width.log())


class Rises(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=2 * output.loss.detach() - output.loss)


# --- outputs -----------------------------------------------------------------------------------------------


class LeaksGradient(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, metrics={"norm": output.loss * 2})


class GivesAVectorAsMetric(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        assert output.features is not None
        return replace(output, metrics={"norms": output.features.norm(dim=1)})


class GivesAllViewsFeatures(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        features = self.features(views)
        return StepOutput(features.square().mean(), features=features.detach())


class TakesTheLoopsName(Plain):
    name = "grad_norm"

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, metrics={self.name: output.loss.detach()})


# --- state -------------------------------------------------------------------------------------------------


class ChangesState(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        self.count += 1
        return super().forward(views, progress)


class CountsForwards(Plain):
    passes = 0

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        self.passes += 1
        return super().forward(views, progress)


class CountsInAnArray(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.passes = np.zeros(2)

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        self.passes[0] += 1
        return super().forward(views, progress)


class DrawsFromNumpy(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.rng: Any = np.random.default_rng(0)

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        self.rng.random()
        return super().forward(views, progress)


class DrawsFromPython(DrawsFromNumpy):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.rng = random.Random(0)


class CountsSteps(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.steps = 0

    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        self.steps += 1


class HidesState(CountsSteps):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss * (1 + self.steps))


class KeepsATensorAside(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.centre = torch.zeros(self.backbone.embed_dim)

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        features = self.features(views)
        loss = (features - self.centre + 1).square().mean()
        return StepOutput(loss, carry={"mean": features.detach().mean(0)})

    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        self.centre = 0.5 * self.centre + 0.5 * outputs[0].carry["mean"]


class ForgetsWhatItLoads(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.register_buffer("start", torch.rand(()))

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict({**state_dict, "start": self.state_dict()["start"]}, strict, assign)


# --- draws, gradients, labels ------------------------------------------------------------------------------


class DrawsOnItsOwn(Plain):
    generator = torch.Generator()

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss * torch.rand((), generator=self.generator))


class LearnsInSecret(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss * self.scale)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup({n: p for n, p in self.named_parameters() if n != "scale"})]


class HasAnIdlePart(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.idle = nn.Linear(2, 2)


class EncodesWithItsNetwork(Plain):
    @property
    def encoder(self) -> Any:
        return self.backbone.network


class HidesItsEncoder(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.kept = [setup.backbone()]

    @property
    def encoder(self) -> Backbone:
        return self.kept[0]


class ReadsLabels(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        weight = 1.0 if views.labels is None else views.labels[0] + 1.0
        return replace(output, loss=output.loss * weight)


class ClaimsToNeedLabels(Plain):
    needs_labels = True


# --- what it says of itself --------------------------------------------------------------------------------


class NamesNoMetric(Plain):
    signs = (Sign("diverging", {"teacher_entrpy": (0.0, 1.0)}),)


class GivesNoProbabilities(Plain):
    prototypes = 8

    def assignments(self, features: Tensor) -> Tensor:
        return features[:, :8]


# --- how a step runs ---------------------------------------------------------------------------------------


class TakesOneOutput(Plain):
    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        (only,) = outputs
        self.count.copy_(only.loss)


class WaitsForTheDevice(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        if output.loss > 1e9:
            raise ValueError("it diverges")
        return output


class Prints(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        print("forward at step", progress.step)
        return super().forward(views, progress)


class WantsThreeChannels(Plain):
    def __init__(self, config: Nothing, setup: Setup) -> None:
        super().__init__(config, setup)
        self.colours = nn.Conv2d(3, 3, 1)

    def features(self, views: Views) -> Tensor:
        return self.backbone(self.colours(views.global_views.flatten(0, 1)))  # type: ignore[no-any-return]


class TakesNumbersToPython(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss * len(self.count[None].tolist()))


class MakesTensorsOnTheCPU(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        features = self.features(views)
        return StepOutput(features.square().mean() + (features * torch.zeros(len(features), 1)).sum())
