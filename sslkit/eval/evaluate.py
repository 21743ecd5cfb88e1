"""Ask each evaluator, skipping those whose needs the data or the subject lack."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sslkit.core.evaluator import EvalData, Evaluator, ImageSet, Need, Result, Subject
from sslkit.core.method import Method
from sslkit.errors import DataError, RunError
from sslkit.eval.features import Context


@dataclass(frozen=True)
class Skipped:
    """Why an evaluator was not asked."""

    reason: str


def evaluate(
    evaluators: Mapping[str, Evaluator], subject: Subject, data: EvalData, context: Context
) -> Iterator[tuple[str, Result | Skipped]]:
    """Each evaluator's name with what it found, or with why it was skipped."""
    there = available(subject, data)
    for name, evaluator in evaluators.items():
        lacking = sorted(evaluator.needs - there)
        if lacking:
            yield name, Skipped(_reason(lacking))
            continue
        try:
            yield name, evaluator(subject, data, replace(context, figures=context.figures / name))
        except DataError as error:  # too few images, say: no reason to end a run
            yield name, Skipped(str(error))


def check_needs(evaluators: Mapping[str, Evaluator], subject: Subject, data: EvalData) -> None:
    """Raise `RunError` for the first evaluator that needs what the data or the subject lack."""
    there = available(subject, data)
    for name, evaluator in evaluators.items():
        if lacking := sorted(evaluator.needs - there):
            advice = "".join(f"\n  {_HOW[need]}" for need in lacking)
            raise RunError(f"{name} cannot be asked: {_reason(lacking)}{advice}")


def _reason(lacking: Sequence[Need]) -> str:
    return f"it needs {' and '.join(lacking)}, which {_WHO[lacking[0]]} does not have"


def available(subject: Subject, data: EvalData) -> frozenset[Need]:
    """What evaluators can count on."""
    sets = (data.train, data.test)
    there: dict[Need, bool] = {
        "labels": all(s.classes is not None for s in sets),
        "masks": data.test.has_masks,
        "method": subject.method is not None,
        "prototypes": subject.method is not None
        and type(subject.method).assignments is not Method.assignments,
    }
    return frozenset(need for need, is_there in there.items() if is_there)


def eval_record(step: int, name: str, test: ImageSet, result: Result) -> dict[str, Any]:
    """An evaluator's line of metrics.jsonl."""
    intervals = {name: list(interval) for name, interval in result.intervals.items()}
    return {
        "kind": "eval",
        "step": step,
        "evaluator": name,
        "dataset": test.name,
        "images": len(test),
        "metrics": dict(result.metrics),
        "intervals": intervals,
        "counts": dict(result.counts),
    }


_WHO = {
    "labels": "this data",
    "masks": "this data",
    "method": "a bare backbone",
    "prototypes": "this method",
}
_HOW: dict[Need, str] = {
    "labels": "labels: a folder for each class (data.labels=folders), a table or a format that has them, or"
    " data.name=demo",
    "masks": "masks: data.name=folder data.masks=FOLDER, another format that has them, or data.name=demo",
    "method": "the method: name the directory of a run that has checkpoints",
    "prototypes": "prototypes: a run whose method ends in a softmax over its own classes (such as dino)",
}
"""How what is lacking can be given."""
