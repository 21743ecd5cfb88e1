"""What a check found, and how checks are run one after another."""

# K is what a check works with

import os
import re
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeVar

K = TypeVar("K")
Status = Literal["passed", "failed", "skipped"]
Check = Callable[[K], str | None]
"""Looks at one thing; raises `Unmet` or `NotChecked`, or gives back a remark, mostly none."""
_PYTHON = sysconfig.get_paths()["stdlib"] + os.sep
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")
_HERE = str(Path(__file__).parent) + os.sep


@dataclass(frozen=True)
class Finding:
    """The outcome of one check at one setting."""

    check: str
    """Name of the check, such as resume_is_exact."""
    where: str
    """The setting that it was made at, such as "vit, 2 local views"; empty where there is only one."""
    status: Status
    told: str = ""
    """Of a failed check what was got and what to change, of a skipped one why, else a remark or nothing."""
    seconds: float = 0.0
    """What it took."""


class ConformanceError(AssertionError):
    """One or more checks failed; the message lists each with what to change."""


class Unmet(Exception):  # noqa: N818 - what a check finds is no error of the kit
    """The component does not do what the check demands."""


class NotChecked(Exception):  # noqa: N818
    """The check has no meaning here, or something is missing that it needs."""


def demand(holds: object, told: str) -> None:
    """Raise `Unmet` with these words unless it holds; `assert` would be silent under `python -O`."""
    if not holds:
        raise Unmet(told)


def examine(checks: Iterable[Check[K]], kits: Mapping[str, K]) -> Iterator[Finding]:
    """Run each check at every setting, check by check."""
    for check in checks:
        for where, kit in kits.items():
            yield run(check, where, kit)


def pass_gates(gates: Sequence[Check[K]], kits: Mapping[str, K]) -> Generator[Finding, None, dict[str, K]]:
    """Run checks without which the others say nothing; gives back the settings that passed all of them."""
    left = dict(kits)
    for gate in gates:
        for where, kit in list(left.items()):
            finding = run(gate, where, kit)
            yield finding
            if finding.status != "passed":
                del left[where]
    return left


def run(check: Check[K], where: str, kit: K, name: str | None = None) -> Finding:
    """Run one check; whatever a stranger's code raises becomes a finding."""
    started = time.perf_counter()
    status: Status = "passed"
    try:
        with redirect_stdout(sys.stderr):  # on stdout are the findings
            told = check(kit) or ""
    except NotChecked as reason:
        status, told = "skipped", str(reason)
    except Unmet as problem:
        status, told = "failed", str(problem)
    except (Exception, SystemExit) as error:
        status, told = "failed", raised(error)
    return Finding(name or check.__name__, where, status, told, time.perf_counter() - started)


def raised(error: BaseException) -> str:
    """An exception in one line, with the place in the author's own code where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_theirs(frame.filename)]
    text = " ".join(str(error).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if not own:
        return f"raised {what}"
    return f"raised {what} (at {Path(own[-1].filename).name}, line {own[-1].lineno}, in {own[-1].name})"


def is_theirs(file: str) -> bool:
    """Whether it may be a file that the author of a component can mend."""
    of_python = file.startswith(_PYTHON) and "site-packages" not in file
    return not (of_python or file.startswith((_HERE, "<", *_LIBRARIES)))


def folder_of(package: str) -> str:
    """Where a library is installed, with a separator behind it, by what its files' names begin with."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent) + os.sep


_LIBRARIES = tuple(map(folder_of, ("torch", "timm", "kornia", "numpy")))


def few(names: Sequence[str], most: int = 3) -> str:
    """The first names of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def raise_failures(findings: Iterable[Finding], title: str) -> None:
    """Raise `ConformanceError` that lists every failed check, once for all settings that it failed alike at.

    Raises:
        ConformanceError: a check failed, or nothing but the configuration could be checked.
    """
    found = list(findings)
    failed = by_cause([finding for finding in found if finding.status == "failed"])
    if failed:
        lines = [f"{f[0].check}{_places(f)}: {f[0].told}" for f in failed]
        raise ConformanceError("\n  ".join([f"{title} does not conform:", *lines]))
    if nothing_was_checked(found):
        skipped = [finding for finding in found if finding.status == "skipped"]
        reasons = dict.fromkeys(f"{finding.check}: {finding.told}" for finding in skipped)
        raise ConformanceError("\n  ".join([f"nothing of {title} could be checked:", *reasons]))


CONFIG = "config_is_typed_and_documented"
PRELIMINARY = (CONFIG, "it_is_built")
"""Checks that say nothing yet of what a component does."""


def nothing_was_checked(findings: Sequence[Finding]) -> bool:
    """Whether checks were skipped, and none was made that says what the component does."""
    passed = {finding.check for finding in findings if finding.status == "passed"}
    return any(finding.status == "skipped" for finding in findings) and passed <= {*PRELIMINARY}


def by_cause(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of one check that say the same but for their numbers, together."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        words = _NUMBER.sub("#", finding.told)
        groups.setdefault((finding.check, finding.status, words), []).append(finding)
    return list(groups.values())


def _places(findings: Sequence[Finding]) -> str:
    places = [finding.where for finding in findings if finding.where]
    return f" ({'; '.join(places)})" if places else ""
