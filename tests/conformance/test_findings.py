"""What becomes of a check's outcome: findings, one error for all of them, lines for a person."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path

import pytest

from sslkit.conformance.findings import (
    CONFIG,
    Finding,
    NotChecked,
    demand,
    examine,
    pass_gates,
    raise_failures,
    run,
)
from sslkit.conformance.wording import summary, told
from sslkit.testing import ConformanceError


def it_is_even(number: int) -> str | None:
    """A check."""
    demand(number % 2 == 0, "it is odd: add one")
    return "it is nothing" if number == 0 else None


def it_is_small(number: int) -> None:
    """Another."""
    if number > 100:
        raise NotChecked("it is large")


def it_divides(number: int) -> None:
    """One that meets an exception."""
    print("a remark of the component's")
    assert 1 // number


def it_leaves(number: int) -> None:
    """One whose component ends the process."""
    sys.exit(3)


def outcome(check: object, number: int) -> tuple[str, str]:
    finding = run(check, "here", number)  # type: ignore[arg-type]
    return finding.status, finding.told


def test_outcomes(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(it_is_even, 2) == ("passed", "")
    assert outcome(it_is_even, 0) == ("passed", "it is nothing")
    assert outcome(it_is_even, 1) == ("failed", "it is odd: add one")
    assert outcome(it_is_small, 101) == ("skipped", "it is large")
    for check, error in (
        (it_leaves, "SystemExit: 3"),
        (it_divides, "ZeroDivisionError: integer division or modulo by zero"),
    ):
        status, words = outcome(check, 0)
        at = rf" \(at test_findings.py, line \d+, in {check.__name__}\)"
        assert status == "failed"
        assert re.fullmatch(f"raised {error}{at}", words)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "a remark of the component's\n")  # on stdout are findings alone


def test_the_place_of_an_error_is_told_in_a_folder_of_a_librarys_name(tmp_path: Path) -> None:
    path = tmp_path / "torch" / "numpy" / "mine.py"
    path.parent.mkdir(parents=True)
    path.write_text("import torch\ndef check(number):\n    torch.nn.Linear(2, 2)(torch.zeros(3))\n")
    _, words = outcome(run_path(str(path))["check"], 0)
    assert words.endswith("(at mine.py, line 3, in check)")  # and not where torch raised it


def test_after_a_gate_only_those_go_on_that_passed_it() -> None:
    left: list[dict[str, int]] = []

    def followed() -> Iterator[Finding]:
        left.append((yield from pass_gates((it_is_small, it_is_even), {"a": 1, "b": 2, "c": 1000})))

    found = list(followed())
    assert left == [{"b": 2}]
    assert [(f.check, f.where, f.status) for f in found] == [
        ("it_is_small", "a", "passed"),
        ("it_is_small", "b", "passed"),
        ("it_is_small", "c", "skipped"),
        ("it_is_even", "a", "failed"),
        ("it_is_even", "b", "passed"),
    ]


def test_one_error_lists_all_failures_each_once() -> None:
    found = list(examine((it_is_even, it_is_small), {"a": 1, "b": 2, "c": 3}))
    with pytest.raises(ConformanceError) as caught:
        raise_failures(found, "Numbers")
    assert str(caught.value).splitlines() == [
        "Numbers does not conform:",
        "  it_is_even (a; c): it is odd: add one",
    ]
    raise_failures(examine((it_is_even,), {"a": 2}), "Numbers")


def test_what_was_not_checked_at_all_does_not_conform() -> None:
    config = Finding(CONFIG, "", "passed")
    with pytest.raises(ConformanceError, match=r"(?s)nothing of Numbers.*it_is_small: it is large"):
        raise_failures([config, run(it_is_small, "", 101)], "Numbers")
    raise_failures([config, run(it_is_small, "", 101), run(it_is_even, "", 2)], "Numbers")


def finding(where: str, status: str = "passed", words: str = "", check: str = "resume_is_exact") -> Finding:
    return Finding(check, where, status, words, 0.4)  # type: ignore[arg-type]


WHERE = ["vit, no local views", "vit, 2 local views", "resnet, no local views", "resnet, 2 local views"]


def test_lines_of_a_check_that_passed_everywhere() -> None:
    assert list(told([finding(where) for where in WHERE])) == ["  ok       resume is exact  1.6 s"]


def test_lines_of_a_check_that_failed_somewhere() -> None:
    failed = [finding(WHERE[0], "failed", "too late: begin earlier\n  or later"), *map(finding, WHERE[1:])]
    assert list(told(failed)) == [
        "  FAILED   resume is exact (vit, no local views)",
        "           too late: begin earlier",
        "           or later",
        "  ok       resume is exact (vit, 2 local views; resnet)  1.2 s",
    ]


def test_what_differs_in_numbers_alone_is_told_once() -> None:
    failed = [finding(where, "failed", f"the loss is {x}") for where, x in zip(WHERE, "1234", strict=True)]
    assert list(told(failed)) == ["  FAILED   resume is exact  1.6 s", "           the loss is 1"]


def test_long_words_are_wrapped() -> None:
    lines = list(told([finding("", "failed", "word " * 40)], width=60))
    assert len(lines) == 5
    assert max(map(len, lines)) <= 60


def test_summaries() -> None:
    passed, failed = finding("", check="a"), finding("", "failed", check="b")
    skipped, config = finding("", "skipped", check="c"), finding("", check=CONFIG)
    assert summary("x", [passed, failed]) == "x does not conform: 1 of 2 checks failed, in 1 s"
    assert summary("x", [passed, skipped]) == "x conforms: 1 check passed, 1 skipped, in 1 s"
    assert summary("x", [config, skipped]).startswith("x: nothing of what it does could be checked")
