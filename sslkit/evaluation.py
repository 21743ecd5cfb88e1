"""A run's evaluators, asked again and again while it trains."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sslkit.core.evaluator import EvalData, Evaluator, ImageSet, Result, Subject
from sslkit.eval.evaluate import Skipped, eval_record, evaluate
from sslkit.eval.feature_cache import FeatureCache
from sslkit.eval.features import Context
from sslkit.eval.progress import Track, unseen
from sslkit.plugins import Registry
from sslkit.recipe.schema import Recipe
from sslkit.train.precision import autocast


@dataclass
class Evaluation:
    """Evaluators and their data, and what they found last."""

    evaluators: dict[str, Evaluator]
    data: EvalData
    device: torch.device
    dtype: torch.dtype
    recipe: Recipe
    registry: Registry
    training_images: Callable[[], ImageSet]
    """Opens the images that the run was trained on."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The last of each, such as {"knn/top1_k20": 0.81}."""
    figures: dict[str, Path] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    """Evaluators whose absence was told."""
    progress: Track = unseen
    """Shows how far the work is; in training nothing is shown."""
    cache: FeatureCache | None = None
    """Where features are kept for the next time; None: nowhere, as in training, whose weights do not stay."""

    def results(self, subject: Subject, step: int, figures: Path) -> Iterator[tuple[str, Result | Skipped]]:
        """Each evaluator's answer; pictures and tables go to folders of theirs in `figures`."""
        context = Context(
            subject,
            self.device,
            figures,
            step,
            self.recipe,
            self.registry,
            self.training_images,
            partial(autocast, self.device, self.dtype),
            self.progress,
            self.cache,
        )
        return evaluate(self.evaluators, subject, self.data, context)

    def records(self, subject: Subject, step: int, figures: Path) -> Iterator[dict[str, Any]]:
        """A line for metrics.jsonl from each evaluator, or once a note on why one is skipped."""
        for name, result in self.results(subject, step, figures):
            if isinstance(result, Result):
                self.keep(name, result.metrics)
                self.figures |= result.figures
                if result.metrics:
                    yield eval_record(step, name, self.data.test, result)
                else:
                    yield from self._note(name, " ".join(result.notes))
            else:
                yield from self._note(name, f"{name} is skipped: {result.reason}")

    def _note(self, name: str, text: str) -> Iterator[dict[str, Any]]:
        """Once for each evaluator."""
        if text and name not in self.told:
            self.told.add(name)
            yield {"kind": "note", "text": text}

    def keep(self, evaluator: str, metrics: Mapping[str, float]) -> None:
        """Remember an evaluator's numbers as the last."""
        self.metrics |= {f"{evaluator}/{key}": value for key, value in metrics.items()}

    def skipped(self) -> Iterator[tuple[str, str]]:
        """Images that could not be read, with the reason."""
        for image_set in (self.data.train, self.data.test):
            yield from image_set.skipped.items()
