"""An evaluator that conforms, and for each check one that does not."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from sslkit.core.evaluator import EvalContext, EvalData, Evaluator, Result, Subject
from sslkit.errors import DataError, RunError


@dataclass
class Nothing:
    """No settings."""


class Plain(Evaluator):
    """The mean norm of the features, drawn as a table; the mistakes below inherit from it."""

    Config = Nothing

    def __init__(self, config: Nothing) -> None:
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        features = context.features(data.test).features  # [N, D]
        return Result(
            {"norm": features.norm(dim=1).mean().item()}, tables={"norms": self.write(context.figures)}
        )

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "norms.csv"
        path.write_text("norm\n")
        return path


class NeedsTheWeather(Plain):
    needs: ClassVar[Any] = frozenset({"weather"})


class RefusesResNets(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        if subject.backbone.patch_size is None:
            raise RunError("it looks at patches, which this network does not have")
        return super().__call__(subject, data, context)


class GivesTensors(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        result = super().__call__(subject, data, context)
        return replace(result, metrics={"norm": torch.tensor(result.metrics["norm"])})  # type: ignore[dict-item]


class GivesNaN(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        return Result({"norm": float("nan")})


class TurnsAnIntervalRound(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        return Result({"norm": 1.0}, intervals={"norm": (2.0, 0.5)})


class MissesItsInterval(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        return Result({"norm": 1.0}, intervals={"norm": (2.0, 3.0)})


class CountsForNoMetric(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        return Result({"norm": 1.0}, counts={"nrom": 40})


class RestsOnNothing(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        return Result({"norm": 1.0}, counts={"norm": 0})


class SaysOneNote(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        return Result({"norm": 1.0}, notes="all norms alike")


class NamesNoFile(Plain):
    def write(self, folder: Path) -> Path:
        return folder / "norms.csv"


class WritesElsewhere(Plain):
    def write(self, folder: Path) -> Path:
        return super().write(folder.parent / "elsewhere")


class LeavesEvalMode(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        subject.backbone.eval()
        return super().__call__(subject, data, context)


class TrainsAllOfIt(Plain):
    """Afterwards also what was in eval mode."""

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        subject.backbone.eval()
        result = super().__call__(subject, data, context)
        subject.backbone.train()
        return result


class TrainsOnIt(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        batch = next(iter(data.test.batches()))
        subject.backbone(batch.images).sum().backward()
        return super().__call__(subject, data, context)


class DrawsItsImages(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        features = context.features(data.test).features
        return Result({"norm": features[torch.randperm(len(features))[:5]].norm(dim=1).mean().item()})


class Remembers(Plain):
    asked = 0

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        self.asked += 1
        return Result({"norm": float(self.asked)})


class TakesLabelsForGranted(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        labels = context.features(data.test).labels
        assert labels is not None, "no labels"
        return Result({"classes": float(len(labels.unique()))})


class GivesUpWithoutLabels(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        if data.test.classes is None:
            raise DataError("it needs labels")
        return super().__call__(subject, data, context)


class TurnsRoundWithoutLabels(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        low, high = (0.5, 2.0) if data.test.classes else (2.0, 0.5)
        return Result({"norm": 1.0}, intervals={"norm": (low, high)})


class NeedsLabels(TakesLabelsForGranted):
    """This one says so."""

    needs = frozenset({"labels"})


class WantsManyImages(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        if len(data.test) < 10:
            raise ValueError("ten images at least")
        return super().__call__(subject, data, context)


class CountsFewImagesAsNone(Plain):
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        return Result({"norm": 1.0}, counts={"norm": len(data.test) // 10})


class AsksForManyImages(Plain):
    """This one says so."""

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        if len(data.test) < 10:
            raise DataError("it needs ten images, of which there are 3")
        return super().__call__(subject, data, context)
