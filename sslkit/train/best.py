"""Which evaluation of a run was the best one, by a number of the user's choice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sslkit.errors import RunError, nearest

FILE_NAME = "backbone_best.safetensors"


@dataclass
class Best:
    """The best value so far of one evaluator's number."""

    key: str | None
    """EVALUATOR.METRIC, such as health.rankme; after a minus the smallest is the best; None: none."""
    value: float = -math.inf
    """The best so far, its sign turned where the smallest is the best."""
    step: int | None = None

    def load(self, kept: Mapping[str, Any] | None, *, until: int) -> None:
        """Go on from what `run.json` kept, unless that is of a later step than the run goes on from."""
        if kept is not None and kept["key"] == self.key and kept["step"] <= until:
            self.value, self.step = kept["value"], kept["step"]

    def see(self, record: Mapping[str, Any]) -> bool:
        """Take in an eval record; says whether it is the best so far."""
        evaluator, _, metric = (self.key or "").lstrip("-").partition(".")
        value = record["metrics"].get(metric) if record["evaluator"] == evaluator else None
        if record["evaluator"] == evaluator and metric not in record["metrics"]:
            raise RunError(
                f"'checkpoint.best' is '{self.key}', but {evaluator} has no number '{metric}'"
                f"{nearest(metric, record['metrics'])}\n  valid: {', '.join(record['metrics'])}"
            )
        if value is None or math.isnan(value):
            return False
        value = -value if (self.key or "").startswith("-") else value
        if value <= self.value:
            return False
        self.value, self.step = value, record["step"]
        return True
