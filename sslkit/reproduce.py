"""The door to reproduction: run a recipe, and say whether its metrics are in the bands that it states."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sslkit.comparison.reading import Run, read_run
from sslkit.errors import RecipeError, SslkitError, indented, nearest
from sslkit.recipe.load import NO_VARIANT, load_recipe, variants_of
from sslkit.recipe.schema import ExpectSection
from sslkit.run import recipe_of, run
from sslkit.train.wording import counted, number

__all__ = ["Finding", "Reproduction", "judge", "reproduce"]


@dataclass(frozen=True)
class Finding:
    """One metric beside its band."""

    metric: str
    value: float | None
    """At the end of the run; None where it was not measured there, or is not finite."""
    low: float
    high: float

    @property
    def inside(self) -> bool:
        return self.value is not None and self.low <= self.value <= self.high

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "missing"
        return "inside" if self.inside else "outside"


@dataclass(frozen=True)
class Reproduction:
    """A run of a recipe beside what the recipe expects of it."""

    run_dir: Path
    findings: tuple[Finding, ...]
    """One for each band; none of a run that was stopped."""
    expected: ExpectSection
    ran: str
    """What this run had in place of the bands' seeds and hardware, in words."""
    differs: tuple[str, ...]
    """Versions and the seed, where they are not those that gave the bands."""
    measured: tuple[str, ...] = ()
    """Every metric at the end of the run."""
    signal_exit_code: int | None = None
    """130 or 143 where a signal stopped the run."""

    @property
    def status(self) -> str:
        """reproduced, not reproduced, or stopped."""
        if self.signal_exit_code is not None:
            return "stopped"
        return "reproduced" if all(finding.inside for finding in self.findings) else "not reproduced"

    @property
    def exit_code(self) -> int:
        """0 where all is inside, 1 where anything is outside or missing, 130 or 143 after a signal."""
        return self.signal_exit_code or int(self.status != "reproduced")

    def told(self) -> Iterator[str]:
        """Lines for a person."""
        if self.signal_exit_code is not None:
            yield "stopped: bands are for the end of a run, so nothing is compared yet"
            yield f"  to go on: {shlex.join(['sslkit', 'reproduce', str(self.run_dir), '--resume'])}"
            return
        yield from _rows(self.status, self.findings)
        yield from self._missing()
        if _origin(self.expected):
            yield f"expected from {_origin(self.expected)}"
        yield f"this run had {self.ran}"
        yield from (f"differs here: {line}" for line in self.differs)

    def _missing(self) -> Iterator[str]:
        for finding in self.findings:
            if finding.value is None:
                near = nearest(finding.metric, self.measured)
                listed = indented(f"measured: {', '.join(self.measured) or 'nothing'}")
                yield f"{finding.metric} has no finite value at the end of the run{near}{listed}"

    def as_record(self) -> dict[str, Any]:
        """As JSON can have it."""
        return {
            "status": self.status,
            "exit_code": self.exit_code,
            "run_dir": str(self.run_dir),
            "findings": [{**asdict(f), "verdict": f.verdict} for f in self.findings],
            "expected": asdict(self.expected),
            "ran": self.ran,
            "differs": [*self.differs],
        }


def reproduce(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    variant: str | None = None,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Reproduction:
    """Run a recipe, and compare its metrics with the bands that it states.

    Args:
        recipe: a file, the name of a packed recipe such as "dino_pocket", a run directory, or a mapping.
        overrides: words that leave the result as it is, such as "seed=5" or "runtime.threads=1"; others leave
            the bands behind, unless they give some: "expect.metrics={knn.top1_k10: [0.90, 0.96]}".
        variant, plugins, no_plugins: as for a run.
        out: the run directory; by default the next free `runs/<name>`.
        resume: go on with the run in that directory.
        quiet: print nothing.

    Raises:
        RecipeError: nothing is expected of this recipe; the message says what can be reproduced.
        SslkitError: as a run does.
    """
    how: dict[str, Any] = {"plugins": plugins, "no_plugins": no_plugins}
    loaded = load_recipe(recipe_of(recipe), overrides, variant=variant, **how)
    expected = loaded.recipe.expect
    if not expected.metrics:
        raise RecipeError(_no_bands(recipe, overrides, loaded.variant, how))
    result = run(recipe, overrides, variant=variant, out=out, resume=resume, quiet=quiet, **how)
    return judge(read_run(result.run_dir), expected, result.exit_code or None)


def judge(run: Run, expected: ExpectSection, signal_exit_code: int | None = None) -> Reproduction:
    """A run that is there already beside what is expected of it; of a stopped one nothing is compared."""
    at_end = {
        metric: points[-1].value for metric, points in run.curves.items() if points[-1].step == run.step
    }
    findings = [Finding(metric, at_end.get(metric), *band) for metric, band in expected.metrics.items()]
    return Reproduction(
        run.path,
        tuple(findings) if signal_exit_code is None else (),
        expected,
        _ran(run),
        tuple(_differences(run, expected)),
        tuple(at_end),
        signal_exit_code,
    )


def _ran(run: Run) -> str:
    record = run.record
    words = [f"seed {run.seed} on {record.get('device')}", counted(int(record.get("threads", 1)), "thread")]
    processes = int(record.get("world_size", 1))
    return ", ".join([*words, str(record.get("precision")), *([f"{processes} processes"] * (processes > 1))])


def _differences(run: Run, expected: ExpectSection) -> Iterator[str]:
    for package, wanted in expected.versions.items():
        found = _installed(package)
        if found is None:
            yield f"{package} is not installed ({wanted} gave the bands)"
        elif wanted not in (found, found.partition("+")[0]):  # 2.14.1+cpu is a build of 2.14.1
            yield f"{package} {found} ({wanted} gave the bands)"
    if expected.seeds and run.seed not in expected.seeds:
        yield f"seed {run.seed} is not among those that gave the bands, which are for any seed"


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# --- in words ----------------------------------------------------------------------------------------------


def _rows(status: str, findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each metric, the status before the first."""
    values = ["-" if finding.value is None else number(finding.value, 4) for finding in findings]
    measured = [f"{finding.metric} {value}" for finding, value in zip(findings, values, strict=True)]
    bands = [f"expected {finding.low:g} to {finding.high:g}" for finding in findings]
    first, second = max(map(len, measured)), max(map(len, bands))
    for i, finding in enumerate(findings):
        head = (status if i == 0 else "").ljust(len(status))
        yield f"{head}  {measured[i]:<{first}}   {bands[i]:<{second}}   {finding.verdict}"


def _origin(expected: ExpectSection) -> str:
    seeds = ", ".join(map(str, expected.seeds))
    parts = [f"seed{'s' if len(expected.seeds) > 1 else ''} {seeds}" if seeds else "", expected.hardware]
    return " on ".join(part for part in parts if part)


GIVE_SOME = (
    "\n  to state some: expect: {metrics: {knn.top1_k10: [0.90, 0.96]}} in the recipe (docs/reproduce.md)"
)


def _no_bands(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    variant: str | None,
    how: Mapping[str, Any],
) -> str:
    """Why nothing is expected, and what can be reproduced instead."""
    name = "the recipe" if isinstance(recipe, Mapping) else str(recipe)
    source = recipe_of(recipe)
    if overrides and _has_bands(source, variant or NO_VARIANT, how):
        return (
            f"the bands of {name} are for the recipe as it is written, not for {' '.join(overrides)}"
            f"\n  leave out what changes a result; seed, device and threads may be changed{GIVE_SOME}"
        )
    others = [other for other in variants_of(source) if _has_bands(source, other, how)]
    told = f"\n  variants with bands: {', '.join(others)}" if others else ""
    chosen = f", variant {variant}," if variant else ""
    return f"{name}{chosen} states no bands that its metrics are expected in{told}{GIVE_SOME}"


def _has_bands(source: str | Path | Mapping[str, Any], variant: str, how: Mapping[str, Any]) -> bool:
    with suppress(SslkitError):  # one that cannot be loaded is not proposed
        return bool(load_recipe(source, variant=variant, **how).recipe.expect.metrics)
    return False
