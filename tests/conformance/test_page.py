"""The page about the kit names every check of every kind."""

from pathlib import Path
from typing import Any

import pytest

from sslkit.conformance import augmentation, backbone, dataset, evaluator, executor, method, tracker
from sslkit.conformance.findings import CONFIG
from sslkit.conformance.sought import LOADS
from sslkit.conformance.watching import watching_hooks_hear_a_run

PAGE = (Path(__file__).parents[2] / "docs/conformance.md").read_text()
HEADING = "## What is asked of "
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split(HEADING)[1:]}
CHECKS: dict[str, list[Any]] = {
    "a method": [*method.GATES, *method.CHECKS, *method.ONCE],
    "a backbone": [*backbone.GATES, *backbone.CHECKS],
    "an augmentation": [*augmentation.GATES, *augmentation.CHECKS],
    "a data set": [*dataset.GATES, *dataset.CHECKS],
    "an evaluator": [*evaluator.GATES, *evaluator.CHECKS, *evaluator.ONCE],
    "a tracker": [*tracker.GATES, *tracker.CHECKS],
    "an executor": [*executor.GATES, *executor.CHECKS],
    "a plugin as a whole": [watching_hooks_hear_a_run],
}
OTHERS = {"a method": [CONFIG, method.TWO], "a plugin as a whole": [LOADS]}


@pytest.mark.parametrize("kind", CHECKS)
def test_every_check_is_explained(kind: str) -> None:
    names = [check.__name__ for check in CHECKS[kind]] + OTHERS.get(kind, [])
    assert [name for name in names if f"`{name}`" not in SECTIONS[kind]] == []


def test_there_is_no_section_too_many() -> None:
    assert {*SECTIONS} == {*CHECKS}
