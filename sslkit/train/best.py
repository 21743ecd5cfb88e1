"""Which evaluation of a run was the best one, by a number of the user's choice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FILE_NAME = "backbone_best.safetensors"


@dataclass
class Best:
    """The best value so far of one evaluator's number."""

    key: str | None
    """EVALUATOR.METRIC, such as health.rankme; after a minus the smallest is the best; None: none."""
    value: float = -math.inf
    """The best so far, its sign turned where the smallest is the best."""
    step: int | None = None

    def see(self, record: Mapping[str, Any]) -> bool:
        """Take in an eval record; says whether it is the best so far."""
        evaluator, _, metric = (self.key or "").lstrip("-").partition(".")
        value = record["metrics"].get(metric) if record["evaluator"] == evaluator else None
        if value is None or math.isnan(value):
            return False
        value = -value if (self.key or "").startswith("-") else value
        if value <= self.value:
            return False
        self.value, self.step = value, record["step"]
        return True
