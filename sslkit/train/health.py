"""Whether a run is healthy, told from its step records (DINO's Fig. 7)."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

WINDOW = 20
"""Steps that a verdict looks back on."""
COLLAPSED_KL = 0.01
"""KL(teacher || student) below this share of ln K: student and teacher say the same of every image."""
NEAR_BOUND = 0.99
"""Teacher entropy above this share of ln K is uniform; below 1 minus it, one prototype has all."""
DEAD_STD = 0.02
"""Spread of normalised features (1 for directions at random) below which they are one point."""
FEWEST_STEPS = 100
"""Before so many steps nothing can be told."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong, why, and the override that mends it; `healthy` has neither."""

    verdict: str
    cause: str | None = None
    advice: str | None = None

    @property
    def is_collapse(self) -> bool:
        """Whether training on is a waste."""
        return self.verdict in ("uniform collapse", "one-dimension collapse", "dead features")


@dataclass
class Watch:
    """Remembers the last steps and judges them."""

    prototypes: int | None
    """K, where the method has a softmax over prototypes."""
    recent: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def see(self, record: Mapping[str, Any]) -> None:
        self.recent.append(record)

    def verdict(self) -> Verdict:
        """The verdict over the window."""
        if not self.recent or self.recent[-1]["step"] < FEWEST_STEPS:
            return Verdict("not learning yet", f"fewer than {FEWEST_STEPS} steps are too few to tell")
        if self._mean("feature_std", default=1.0) < DEAD_STD:
            return DEAD
        if self.prototypes is None or self._mean("kl", default=math.inf) > COLLAPSED_KL * math.log(
            self.prototypes
        ):
            return Verdict("healthy")
        share = self._mean("teacher_entropy", default=0.5) / math.log(self.prototypes)
        if share > NEAR_BOUND:
            return UNIFORM
        return ONE_DIMENSION if share < 1 - NEAR_BOUND else Verdict("healthy")

    def _mean(self, name: str, *, default: float) -> float:
        return fmean(record.get(name, default) for record in self.recent)


UNIFORM = Verdict(
    "uniform collapse",
    "the teacher gives every prototype the same share: its targets are not sharp enough",
    "method.teacher_temperature=0.04 method.warmup_teacher_temperature=0.02 (or a smaller optim.lr)",
)
ONE_DIMENSION = Verdict(
    "one-dimension collapse",
    "the teacher gives one prototype everything: nothing centres it",
    "method.center_momentum=0.9",
)
DEAD = Verdict(
    "dead features",
    "all images have the same features",
    "a smaller optim.lr and a longer optim.warmup_epochs",
)
