"""Methods that are one thing in one process and another in two, and some that may seem so."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.distributed as dist
from conformance.broken_methods import Plain

from sslkit.core.collectives import is_distributed, mean_over_ranks
from sslkit.core.method import Progress, StepOutput, Views


class ComparesItsOwnImages(Plain):
    """Subtracts the mean of the process's own batch."""

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        features = self.features(views)
        return StepOutput((features - features.mean(0)).square().mean())


class GathersWithoutGradient(Plain):
    """Subtracts the mean of all images, but the other process's have no gradient."""

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        mean = self.features(views).mean(0)  # [D]
        if is_distributed():
            others = mean_over_ranks(mean) - mean.detach() / dist.get_world_size()
            mean = mean / dist.get_world_size() + others
        return StepOutput(-mean.square().sum() + self.features(views).square().mean())


class FollowsItsOwnImages(Plain):
    """A buffer of this process's mean."""

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        features = self.features(views)
        return StepOutput(features.square().mean(), carry={"mean": features.detach()[:, 0].mean()})

    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        self.count.copy_(outputs[0].carry["mean"])


class FollowsTheFirstProcess(FollowsItsOwnImages):
    """A buffer that is the same on both, but of half of the images."""

    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        super().after_step(progress, outputs)
        if is_distributed():
            dist.broadcast(self.count, 0)


class LosesItsCountInTwo(Plain):
    """The same on both, and no number."""

    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        if is_distributed():
            self.count.fill_(torch.nan)


class HasNothingYet(Plain):
    """A buffer that is no number everywhere conforms."""

    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        self.count.fill_(torch.nan)


class FailsInTwo(Plain):
    def forward(self, views: Views, progress: Progress) -> StepOutput:
        if is_distributed():
            raise ValueError("only one process was thought of")
        return super().forward(views, progress)


class StopsOneOfTwo(Plain):
    """The other one waits for it."""

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        if is_distributed() and dist.get_rank() == 1:
            raise ValueError("the second one gives up")
        return super().forward(views, progress)


class Draws(Plain):
    """What it draws differs from process to process, and that is right."""

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        output = super().forward(views, progress)
        return replace(output, loss=output.loss * (1 + torch.rand((), device=output.loss.device)))
