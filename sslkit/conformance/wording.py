"""Findings as lines for a person: one a check, and what to change below those that failed."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from sslkit.conformance.findings import Finding, by_cause, nothing_was_checked

MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}
INDENT = 11
"""Columns before what is told of a check."""
SLOW = 1.0
"""Seconds from which on it is said how long a check took."""


def told(findings: Sequence[Finding], width: int = 100) -> Iterator[str]:
    """The lines of one check, over all settings that it was made at.

    Args:
        findings: of one check.
        width: columns.
    """
    for group in by_cause(findings):
        first = group[0]
        name = first.check.replace("_", " ")
        places = f" ({_places(group, findings)})" if len(group) < len(findings) else ""
        seconds = sum(finding.seconds for finding in group)
        took = f"  {seconds:.1f} s" if seconds >= SLOW else ""
        yield f"  {MARKS[first.status]:<{INDENT - 4}}  {name}{places}{took}"
        for line in _wrapped(first.told, width - INDENT):
            yield f"{'':<{INDENT}}{line}"


def _wrapped(text: str, width: int) -> Iterator[str]:
    for line in text.splitlines():
        yield from wrap(line.strip(), max(width, 40), break_long_words=False, break_on_hyphens=False)


def summary(name: str, findings: Sequence[Finding]) -> str:
    """One line at the end: whether a component conforms."""
    checks = {status: _checks(findings, status) for status in MARKS}
    total = len({finding.check for finding in findings})
    seconds = f"in {sum(finding.seconds for finding in findings):.0f} s"
    if checks["failed"]:
        return f"{name} does not conform: {len(checks['failed'])} of {total} checks failed, {seconds}"
    passed, skipped = len(checks["passed"]), len(checks["skipped"] - checks["passed"])
    if nothing_was_checked(findings):
        return f"{name}: nothing of what it does could be checked; what it needs is told above"
    rest = f", {skipped} skipped" if skipped else ""
    return f"{name} conforms: {passed} {'check' if passed == 1 else 'checks'} passed{rest}, {seconds}"


def _checks(findings: Sequence[Finding], status: str) -> set[str]:
    return {finding.check for finding in findings if finding.status == status}


def _places(group: Sequence[Finding], findings: Sequence[Finding]) -> str:
    """Where, as short as can be: the first words alone where all of their settings are in the group."""
    where = [finding.where for finding in group]
    names: list[str] = []
    for finding in group:
        first = finding.where.partition(",")[0]
        whole = [other.where for other in findings if other.where.partition(",")[0] == first]
        name = first if {*whole} <= {*where} else finding.where
        if name not in names:
            names.append(name)
    return "; ".join(names)
