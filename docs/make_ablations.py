"""Writes the tables and the picture of docs/ablations.md from what studies found (docs/studies/NAME.json).

    python docs/make_ablations.py --take studies/temperature    take over a study.json, without paths
    python docs/make_ablations.py                               write tables and picture anew

A study is run by `sslkit ablate NAME`; here are the paper's figures beside ours, and nothing is measured.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslkit.style import COLOURS, GREY, new_figure, save, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).parent
PAGE, STUDIES, PICTURE = DOCS / "ablations.md", DOCS / "studies", DOCS / "images/ablations.png"
COLUMNS = 4
"""Of the picture, at most."""

PAPER: Mapping[str, Mapping[str, str]] = {
    "temperature": {"teacher_0": "43.9", "teacher_.02": "66.7", "teacher_.04": "69.6", "teacher_.06": "68.7",
                    "teacher_.08": ".1", "warmup_.02-.04": "69.7 (.04 → .07)"},
    "centering": {"momentum_0": "69.1", "momentum_.9": "69.7", "momentum_.99": "69.4", "momentum_.999": ".1",
                  "no_centering": "collapse", "no_sharpening": "collapse"},
    "teacher": {"ema_.99": "72.8 (.996)", "student_copy": ".1", "previous_epoch": "66.6"},
    "prototypes": {"K_512": "67.8 (1024)", "K_2048": "69.3 (4096)"},
    "augmentations": {"all": "72.8 (6 local)", "global_only": "67.9"},
    "batch": {"batch_32": "57.9 (128)", "batch_64": "59.1 (256)", "batch_128": "59.6 (512)",
              "batch_256": "59.9 (1024)"},
    "methods": {"dino": "67.9", "dino_local": "72.7", "byol": "66.6", "byol_local": "59.8",
                "mocov2": "62.0", "mocov2_local": "65.4"},
}  # fmt: skip
"""kNN top-1 on ImageNet, %, of the arm that corresponds (Caron et al. 2021); in brackets where it differs."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--take", nargs="*", type=Path, default=[], metavar="DIR", help="directories of studies"
    )
    parser.add_argument("--as", dest="name", help="the name to take one over by")
    asked = parser.parse_args()
    for folder in asked.take:
        take(folder, asked.name)
    records = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(STUDIES.glob("*.json"))}
    if PAGE.is_file():
        PAGE.write_text(with_tables(PAGE.read_text("utf-8"), records), encoding="utf-8")
    draw(records)


def take(folder: Path, name: str | None) -> None:
    """A study's record, without what belongs to the machine that ran it."""
    record = json.loads((folder / "study.json").read_text("utf-8"))
    record["command_line"] = [re.sub(r"(data\.root=).*", r"\1DIR", word) for word in record["command_line"]]
    STUDIES.mkdir(exist_ok=True)
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    (STUDIES / f"{name or record['name']}.json").write_text(text + "\n", encoding="utf-8")


# --- tables ------------------------------------------------------------------------------------------------


def with_tables(page: str, records: Mapping[str, Any]) -> str:
    """The page with the table of each study between its two marks."""
    for name, record in records.items():
        begin, end = f"<!-- table: {name} -->", f"<!-- end: {name} -->"
        if begin in page:
            before, _, rest = page.partition(begin)
            page = (
                before + begin + "\n" + "\n".join(table(name, record)) + "\n" + end + rest.partition(end)[2]
            )
    return page


def table(name: str, record: Mapping[str, Any]) -> Iterator[str]:
    paper = PAPER.get(name.partition("_")[0], {})
    baseline = record["baseline"]
    last = " paper, % |" if paper else ""
    yield f"| arm | kNN, % | less {baseline} | 95 % (t) | p (Holm) | collapsed |{last}"
    yield f"|---|---:|---:|---:|---:|---:|{'---:|' if paper else ''}"
    for arm in record["arms"]:
        cells = [*_cells(arm), *([paper.get(arm["name"], "")] if paper else [])]
        yield f"| {' | '.join(cells)} |"


def _cells(arm: Mapping[str, Any]) -> list[str]:
    measure = arm["measures"][0]
    found = measure["difference"]
    mean = "" if measure["mean"] is None else f"{100 * measure['mean']:.1f}"
    spread = "" if measure["sd"] is None else f" ± {100 * measure['sd']:.1f}"
    difference = ["", "", ""]
    if found is not None:
        low, high = found["interval"] or (None, None)
        bounds = "" if low is None else f"{100 * low:+.1f} to {100 * high:+.1f}"
        difference = [
            f"{100 * found['mean']:+.1f}",
            bounds,
            f"{measure['p_holm']:.3f}" if low is not None else "",
        ]
    word = measure["verdict"] or ""
    name = f"**{arm['name']}**" if word in ("better", "worse") else arm["name"]
    collapsed = f"{arm['collapsed']} of {arm['begun']}" if arm["collapsed"] else ""
    return [name, mean + spread, *difference, collapsed]


# --- the picture -------------------------------------------------------------------------------------------


def draw(records: Mapping[str, Any]) -> None:
    """A panel a study: each arm's paired difference to the baseline with its interval."""
    if not records:
        return
    columns = min(COLUMNS, len(records))
    rows = -(-len(records) // columns)
    tallest = max(len(record["arms"]) for record in records.values())
    figure = new_figure(3.9 * columns + 0.5, rows * (0.24 * tallest + 0.9) + 0.6)
    title(figure, "What each change is worth: kNN top-1, percentage points beside the baseline", BELOW)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (name, record) in zip(axes, records.items(), strict=False):
        _panel(axis, name, record)
    for axis in axes[len(records) :]:
        axis.set_axis_off()
    save(figure, PICTURE)


BELOW = (
    "Dots: each seed. Lines: 95 % interval of the mean paired difference (t, 3 seeds; cut off at the edge). "
    "Filled: better or worse after Holm's correction over the arms; hollow: no difference shown; crosses: "
    "collapsed."
)
MOST = 60.0
"""Percentage points that a panel shows at most."""


def _panel(axes: "Axes", name: str, record: Mapping[str, Any]) -> None:
    arms = record["arms"][1:]
    baseline = record["arms"][0]["measures"][0]["values"]
    axes.axvline(0, color=GREY, linewidth=0.8)
    for row, arm in enumerate(arms):
        _row(axes, row, arm, baseline)
    axes.set_yticks(range(len(arms)), [arm["name"] for arm in arms], fontsize=8)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -MOST), min(high, MOST))
    axes.set_title(f"{name.replace('_', ' ')} (beside {record['baseline']})", fontsize=9, loc="left")
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _row(axes: "Axes", row: int, arm: Mapping[str, Any], baseline: list[float | None]) -> None:
    measure = arm["measures"][0]
    found = measure["difference"]
    if found is None:
        return
    pairs = zip(measure["values"], baseline, strict=True)
    dots = [100 * (value - base) for value, base in pairs if value is not None and base is not None]
    colour = {"better": COLOURS[2], "worse": COLOURS[1]}.get(measure["verdict"], GREY)
    axes.scatter(dots, [row] * len(dots), s=7, color=colour, alpha=0.5, linewidths=0)
    if found["interval"]:
        axes.plot([100 * x for x in found["interval"]], [row, row], color=colour, linewidth=1.6, alpha=0.8)
    marker = "X" if arm["collapsed"] else "o"
    face = "white" if colour == GREY and marker == "o" else colour
    axes.plot(100 * found["mean"], row, marker=marker, markersize=6, color=colour, markerfacecolor=face)


if __name__ == "__main__":
    main()
