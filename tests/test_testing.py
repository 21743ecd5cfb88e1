"""Every built-in method conforms, and the kit sees what it is for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from runs import METHODS
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.method import Method, ParameterGroup, Progress, Setup, StepOutput, Views
from sslkit.plugins import Registry
from sslkit.testing import ConformanceError, check_config, check_method

NAMES = Registry.load(allow="").names("methods")


@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_method_conforms(name: str) -> None:
    cls = Registry.load(allow="").get("methods", name)
    check_method(cls, cls.Config(**METHODS.get(name, {})))


@pytest.mark.parametrize("kind", ["augmentations", "datasets", "evaluators", "trackers"])
def test_every_built_in_config_is_documented(kind: str) -> None:
    registry = Registry.load(allow="")
    for name in registry.names(kind):
        check_config(registry.get(kind, name).Config)


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

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        features = self.backbone(views.global_views.flatten(0, 1))
        return StepOutput(features.square().mean(), features=features.detach())


class ChangesState(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        self.count += 1
        return super().forward(views, progress)


class HidesState(Plain):
    steps = 0

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss * (1 + self.steps))

    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        self.steps += 1


class ReadsLabels(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        weight = 1.0 if views.labels is None else views.labels[0] + 1.0
        return replace(output, loss=output.loss * weight)


class LeaksGradient(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, metrics={"norm": output.loss * 2})


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


class Overflows(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        return replace(super().forward(views, progress), loss=torch.tensor(float("inf"), requires_grad=True))


class Stands(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss * 0 + 1)


def test_a_plain_method_conforms() -> None:
    check_method(Plain)


@pytest.mark.parametrize(
    ("mistake", "check"),
    [
        (ChangesState, "forward_changes_no_state"),
        (HidesState, "resume_is_exact"),
        (ReadsLabels, "labels_matter_only_where_declared"),
        (LeaksGradient, "outputs_are_detached"),
        (DrawsOnItsOwn, "forward_is_deterministic"),
        (LearnsInSecret, "gradients_only_where_declared"),
        (Overflows, "loss_is_finite_and_has_a_gradient"),
        (Stands, "loss_falls_on_a_fixed_batch"),
    ],
)
def test_a_mistake_is_found_and_named(mistake: type[Method], check: str) -> None:
    with pytest.raises(ConformanceError, match=check):
        check_method(mistake)


def test_a_field_without_a_docstring_is_named() -> None:
    @dataclass
    class Bare:
        documented: int = 1
        """This one."""
        silent: int = 2

    with pytest.raises(AssertionError, match="silent"):
        check_config(Bare)
