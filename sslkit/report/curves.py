"""figures/curves.png: how a run went, from its metrics.jsonl."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sslkit.hookspecs import hookimpl
from sslkit.style import COLOURS, GREY, new_figure, save, title
from sslkit.train.wording import knn_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE_NAME = "curves.png"
SMOOTHED_FROM = 200
"""Points from which on a running mean is drawn over the faint single values."""
COLUMNS = 3
Line = tuple[list[int], list[float]]
"""Steps and values."""
NOT_DRAWN = ("kind", "step", "epoch", "data_wait")
DRAWN = {
    *NOT_DRAWN,
    *("loss", "lr", "weight_decay", "grad_norm", "images_per_second", "feature_std"),
    *("teacher_entropy", "mean_teacher_entropy", "kl"),
}
"""Keys of step records that have a panel of their own, or none; all others are the method's."""
TITLES = {"rankme": "RankMe"}
"""Of keys that are more than words."""


@hookimpl
def sslkit_run_finished(run_dir: Path, error: BaseException | None) -> None:
    from sslkit.train.rundir import RunDirectory
    from sslkit.train.trackers import on_own_data, read_records

    directory = RunDirectory(run_dir)
    records = list(on_own_data(read_records(directory.metrics))) if directory.metrics.is_file() else []
    if not any(record["kind"] == "step" for record in records):
        return
    draw_curves(records, directory.figures / FILE_NAME, **_known(directory.recipe, directory.read_record()))


def _known(recipe_file: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """What the records do not say: the run's name, K, and what guessing reaches."""
    import yaml

    recipe = yaml.safe_load(recipe_file.read_text("utf-8"))
    classes = run.get("setup", {}).get("num_classes") if recipe["eval"].get("data") is None else None
    prototypes = recipe["method"].get("out_dim")
    return {"name": recipe["name"], "prototypes": prototypes, "chance": 1 / classes if classes else None}


@dataclass
class Panel:
    """One pair of axes: what is drawn into it."""

    title: str
    lines: dict[str, Line]
    """By label."""
    level: tuple[float, str] | None = None
    """A dashed line at a value that means something, and what it means."""
    unit: str = ""
    is_share: bool = False
    """Drawn in per cent from 0, with a mark at each value."""
    is_log: bool = False
    is_noisy: bool = False
    """A running mean is drawn over many values."""
    from_zero: bool = False
    is_empty: bool = field(init=False)

    def __post_init__(self) -> None:
        self.lines = {k: v for k, v in self.lines.items() if any(map(math.isfinite, v[1]))}
        self.is_empty = not self.lines


def draw_curves(
    records: Iterable[Mapping[str, Any]],
    path: Path,
    *,
    name: str = "run",
    prototypes: int | None = None,
    chance: float | None = None,
) -> Path:
    """Loss, teacher, evaluations, schedules and speed over the steps; what a run has not is left out.

    Args:
        records: lines of a `metrics.jsonl`.
        prototypes: K, for the line at ln K that a loss which learns nothing stays at; None: no line.
        chance: accuracy of guessing, 0 to 1; None: no line.
    """
    records = list(records)
    drawn = panels(records, prototypes, chance)
    rows = max(1, -(-len(drawn) // COLUMNS))
    figure = new_figure(4.1 * min(COLUMNS, max(len(drawn), 1)), 2.9 * rows + 0.7)
    title(figure, _title(name, records), "step" if drawn else "nothing was recorded")
    for number, panel in enumerate(drawn, 1):
        _draw_panel(figure.add_subplot(rows, min(COLUMNS, len(drawn)), number), panel)
    return save(figure, path)


def panels(
    records: Sequence[Mapping[str, Any]], prototypes: int | None = None, chance: float | None = None
) -> list[Panel]:
    """What there is to draw, in its order; the arguments are those of `draw_curves`."""
    steps = [record for record in records if record["kind"] == "step"]

    def line(key: str) -> Line:
        pairs = [(r["step"], _number(r[key])) for r in steps if key in r]
        return [step for step, _ in pairs], [value for _, value in pairs]

    entropies = {
        "entropy for one image": line("teacher_entropy"),
        "entropy of the mean": line("mean_teacher_entropy"),
        "KL(teacher || student)": line("kl"),
    }
    bound = (math.log(prototypes), f"ln {prototypes:,} = {math.log(prototypes):.2f}") if prototypes else None
    guess = (chance, f"chance {chance:.1%} (class)") if chance else None
    level = bound if entropies["entropy for one image"][0] else None
    spread = {"std": line("feature_std")}
    found = [
        Panel("Loss", {"loss": line("loss")}, level, is_noisy=True),
        Panel("Teacher", entropies, bound, unit="nats", from_zero=True, is_noisy=True),
        Panel("Evaluation on held-out images", _evaluations(records), guess, unit="%", is_share=True),
        Panel("Learning rate", {"lr": line("lr")}),
        Panel("Gradient norm", {"gradient norm": line("grad_norm")}, is_log=True, is_noisy=True),
        Panel("Spread of features", spread, (1.0, "1: at random"), unit="0: collapsed", from_zero=True),
        Panel("Weight decay", {"weight decay": line("weight_decay")}),
        Panel("Speed", {"speed": line("images_per_second")}, unit="images/s", from_zero=True, is_noisy=True),
        *_own_panels(steps, line),
    ]
    return [panel for panel in found if not panel.is_empty]


def _own_panels(steps: Sequence[Mapping[str, Any]], line: Callable[[str], Line]) -> list[Panel]:
    """What the method itself counts: accuracies together, anything else for itself."""
    own = [key for key in dict.fromkeys(key for record in steps for key in record) if key not in DRAWN]
    accuracies = {_words(key): line(key) for key in own if key.endswith("accuracy")}
    others = [key for key in own if not key.endswith("accuracy")]
    return [
        Panel("Accuracy in training", accuracies, from_zero=True, is_noisy=True),
        *(
            Panel(TITLES.get(key) or _words(key).capitalize(), {_words(key): line(key)}, is_noisy=True)
            for key in others
        ),
    ]


def _words(key: str) -> str:
    return key.replace("_", " ")


def _evaluations(records: Sequence[Mapping[str, Any]]) -> dict[str, Line]:
    """The chosen share of each evaluator over the steps; of two results at one step the later one."""
    found: dict[str, dict[int, float]] = {}
    for record in records:
        if record["kind"] == "eval":
            for label, value in _chosen(record["evaluator"], record["metrics"]):
                found.setdefault(label, {})[record["step"]] = value
    whole = {label: values for label, values in found.items() if all(0 <= v <= 1 for v in values.values())}
    return {label: (sorted(values), [values[s] for s in sorted(values)]) for label, values in whole.items()}


def _chosen(evaluator: str, metrics: Mapping[str, Any]) -> list[tuple[str, float]]:
    """kNN with k = 20, as in the paper, or its first k, on classes and objects; of others the first."""
    if evaluator != "knn":
        return [(f"{evaluator} {key}", _number(value)) for key, value in list(metrics.items())[:1]]
    chosen = []
    for start, what in (("top1_k", "class"), ("instance_top1_k", "the very object")):
        key = knn_key(metrics, start)
        if key is not None:
            k = key.removeprefix(start)
            chosen.append((f"kNN, {what} (k = {k})", _number(metrics[key])))
    return chosen


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    scale = 100 if panel.is_share else 1
    for colour, (label, (steps, values)) in zip(COLOURS, panel.lines.items(), strict=False):
        _draw_line(axes, steps, np.array(values) * scale, colour, label, panel=panel)
    if panel.level is not None:
        value, meaning = panel.level
        axes.axhline(value * scale, color=GREY, linestyle="--", linewidth=1, label=meaning)
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_ylabel(panel.unit, fontsize=8)
    if panel.is_share or panel.from_zero:
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    if panel.is_log and all(v > 0 for _, values in panel.lines.values() for v in values if math.isfinite(v)):
        _set_log_scale(axes)
    else:
        axes.yaxis.set_major_formatter("{x:g}")
    _tidy(axes, has_legend=len(panel.lines) > 1 or panel.level is not None or panel.is_share)


def _draw_line(
    axes: "Axes",
    steps: Sequence[int],
    values: npt.NDArray[np.float64],
    colour: str,
    label: str,
    *,
    panel: Panel,
) -> None:
    if not panel.is_noisy or len(values) < SMOOTHED_FROM:
        marker = "o" if panel.is_share or len(values) < 3 else None
        axes.plot(steps, values, color=colour, label=label, linewidth=1.4, marker=marker, markersize=4)
        return
    axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
    width = len(values) // 50
    axes.plot(steps, running_mean(values, width), color=colour, label=label, linewidth=1.4)


def running_mean(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """The mean over up to `width` values on both sides, [n]; values that are not finite are left out."""
    good = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(good)])
    at = np.arange(len(values))
    low, high = np.maximum(at - width, 0), np.minimum(at + width + 1, len(values))
    count = counts[high] - counts[low]
    return np.where(count > 0, (sums[high] - sums[low]) / np.maximum(count, 1), np.nan)


def _set_log_scale(axes: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _tidy(axes: "Axes", *, has_legend: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if has_legend:
        axes.legend(
            fontsize=7.5, frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(-0.02, -0.1)
        )  # below


def _title(name: str, records: Sequence[Mapping[str, Any]]) -> str:
    last = max((record["step"] for record in records), default=0)
    verdicts = [record["verdict"] for record in records if record["kind"] == "health"]
    return f"{name}: {last:,} steps" + (f", health: {verdicts[-1]}" if verdicts else "")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
