"""What the tests of all checks share: a list of (check, component that fails it, words that it is told)."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from sslkit.conformance.findings import CONFIG, Finding

Mistake = tuple[str, Any, list[str]]


def each_of(mistakes: Sequence[Mistake]) -> pytest.MarkDecorator:
    """Parametrises a test by (check, cls, words)."""
    names = [f"{check}-{cls.__name__}" for check, cls, _ in mistakes]
    return pytest.mark.parametrize(("check", "cls", "words"), mistakes, ids=names)


def assert_told(finding: Finding, words: Iterable[str]) -> None:
    """The check failed, and says these words."""
    assert finding.status == "failed"
    for word in words:
        assert word in finding.told


def assert_complete(mistakes: Sequence[Mistake], of_a_sound_one: Iterable[Finding]) -> None:
    """Each check that is made has a mistake, and a sound component passes all of them."""
    found = list(of_a_sound_one)
    assert {finding.check for finding in found} - {CONFIG} == {check for check, _, _ in mistakes}
    assert {finding.status for finding in found} == {"passed"}
