"""report.html: a run on one page that opens anywhere, without a network."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from sslkit.errors import RunError, SslkitError
from sslkit.hookspecs import hookimpl
from sslkit.report.rendering import Missing, rendered, write_html
from sslkit.train.rundir import RunDirectory

if TYPE_CHECKING:
    from sslkit.report.page_run import Run

AT_THE_END = 20.0
"""Seconds that features may take at the end of a run; `sslkit report` takes the time that it needs."""


@hookimpl(trylast=True)
def sslkit_run_finished(run_dir: Path, error: BaseException | None) -> None:
    if RunDirectory(run_dir).holds_a_run:
        write_page(run_dir, seconds=AT_THE_END)


def write_page(run: str | Path, *, seconds: float = math.inf) -> Path:
    """Write `<run>/report.html` from what is there; whatever is not is told on the page.

    Args:
        run: a run directory, or one of its checkpoints, whose features are then drawn.
        seconds: that features may take, about; on a slow machine they are of so many fewer images.

    Raises:
        RunError: there is no run.
    """
    from sslkit.report.page_run import read_run

    path = Path(run).resolve()
    directory = RunDirectory(path.parent.parent if path.parent.name == "checkpoints" else path)
    if not directory.holds_a_run:
        raise RunError(f"there is no run in {run}\n  name the directory of a run, or one of its checkpoints")
    return write_html(directory.report, _page(read_run(directory.path), path, seconds))


def _page(run: "Run", path: Path, seconds: float) -> str:
    from sslkit.report.page_attention import attention_over_time
    from sslkit.report.page_curves import constants, curves, drawn, invariance
    from sslkit.report.page_sections import opening, record

    figures, missing = run.directory.figures, list[Missing]()
    panels = drawn(run.records, run.prototypes, run.chance)
    data = {
        "curves": curves(panels),
        "timeline": attention_over_time(figures, run.steps),
        "invariance": invariance(figures / "invariance" / "curves.csv"),
        "features": _features(run.directory, path, seconds, missing),
    }
    context = {**opening(run), **record(run, data), "constants": constants(panels)}
    missing += _left_out(run, data)
    has_charts = any(data[key] for key in ("curves", "invariance", "features"))
    return rendered("page", run=run, data=data, missing=missing, has_charts=has_charts, **context)


def _features(
    directory: RunDirectory, path: Path, seconds: float, missing: list[Missing]
) -> dict[str, Any] | None:
    """Map and neighbours; where they cannot be had, why, added to what is missing."""
    from sslkit.report.page_features import Limits, NoFeatures, features_of

    if not _has_weights(directory):
        missing.append(Missing("map and neighbours", "no checkpoint was written"))
        return None
    limits = Limits(seconds=seconds)
    try:
        found = features_of(*_opened(directory, path), limits)
    except NoFeatures as reason:
        why = str(reason)
    except SslkitError as error:
        why = str(error).partition("\n")[0]
    except Exception as error:  # whatever is wrong with them, the rest of the page stands
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
    else:
        if found["images"] < min(found["of"], limits.held_out):
            told = f"of {found['images']:,} of {found['of']:,} held-out images"
            missing.append(Missing("map and neighbours", f"{told}, to save time", _report(path)))
        return found
    missing.append(Missing("map and neighbours", why, _report(path)))
    return None


def _opened(directory: RunDirectory, path: Path) -> tuple[Any, Any]:
    """The backbone, and the run's images."""
    from dataclasses import replace

    from sslkit.report.page_features import Look
    from sslkit.stations import open_eval_sets
    from sslkit.subjects import ask
    from sslkit.train.distributed import choose_device
    from sslkit.train.export import blocked_in
    from sslkit.train.precision import autocast, compute_dtype

    asked = ask(path, (), no_plugins=blocked_in(directory.path))
    recipe, device = asked.loaded.recipe, choose_device("auto")
    data = open_eval_sets(replace(recipe, data=replace(recipe.data, workers=0)), asked.loaded.registry)
    dtype = compute_dtype(recipe.runtime.precision, device)
    backbone = asked.subject.backbone.to(device).eval()
    return Look(backbone, device, partial(autocast, device, dtype)), data


# --- what is left out --------------------------------------------------------------------------------------


def _left_out(run: "Run", data: Mapping[str, Any]) -> Iterator[Missing]:
    where = quote(str(run.directory.path))
    if not run.verdicts:
        yield Missing("health", "the run ended before its first check")
    if data["timeline"] is None:
        why = "the evaluator timeline was not asked while the run trained; next time"
        yield Missing("attention over time", why, "eval.evaluators.timeline={}")
    asked = {record["evaluator"] for record in run.records if record["kind"] == "eval"} | {"timeline"}
    others = [name for name in _evaluators(run) if name not in asked]
    if others and _has_weights(run.directory):
        words = " ".join(f"--on {name}" for name in others)
        yield Missing(
            "evaluators",
            f"{', '.join(others)} were not asked",
            f"sslkit eval {where} {words}\n{_report(run.directory.path)}",
        )


def _has_weights(directory: RunDirectory) -> bool:
    from sslkit.train.export import FILE_NAME

    return (directory.path / FILE_NAME).is_file() or any(directory.checkpoints.glob("step-*"))


def _evaluators(run: "Run") -> list[str]:
    """The names of those that this run's data suffice for."""
    from sslkit.plugins import Registry
    from sslkit.train.export import blocked_in

    there = {"method", *({"labels"} if run.classes else ())}
    if (run.recipe.get("data") or {}).get("name") == "demo":
        there.add("masks")
    offers = Registry.load(blocked=blocked_in(run.directory.path)).offers("evaluators")
    return [n for n, found in offers.items() if len(found) == 1 and _suffices(there, found[0].component)]


def _suffices(there: set[str], evaluator: Any) -> bool:
    """No for a plugin's class that does not say what it needs: it must not cost the run its page."""
    needs = getattr(evaluator, "needs", None)
    return isinstance(needs, frozenset) and needs <= there


def _report(path: Path) -> str:
    return f"sslkit report {quote(str(path))}"
