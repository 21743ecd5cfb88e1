"""The README's tables and pictures, from run directories.

python docs/make_results.py RUNS     RUNS/NAME-SEED: filling, flat, noised, dino, byol, vit, horses,
                                     horses_vit

Fills what is between the marks in README.md; pictures of seed 0 go to docs/.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
SCORES = ("ari", "objects_ari", "jaccard", "figure_jaccard")
HEAD = (
    "| | neighbours | any two | islands | ARI | ARI, objects alone | Jaccard, best | Jaccard, figure |\n"
    "|---|---|---|---|---|---|---|---|"
)
SCENES = {
    "filling": "filling in",
    "noised": "noise instead of gaps",
    "flat": "filling in, `imagined=0`",
    "dino": "columns by DINO",
    "byol": "columns by BYOL",
    "vit": "ViT by DINO",
}
UNTRAINED = {"filling": "*columns with initial weights*", "vit": "*ViT with initial weights*"}
HORSES = {"horses": "filling in", "horses_vit": "ViT by DINO"}
PICTURES = {"filling-0": "islands.png", "vit-0": "islands_vit.png", "horses-0": "islands_horses.png"}
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seeds alone."""

    runs: Sequence[Mapping[str, Numbers]]
    """Of each, an evaluator's last numbers by its name."""
    untrained: Sequence[Mapping[str, Numbers]]
    """Of each, its first ones."""

    def cell(self, key: str) -> str:
        return over_seeds(self.runs, "islands", key)

    def levels(self) -> int:
        return sum(f"islands_{n}" in self.runs[0]["islands"] for n in range(1, 100))


def over_seeds(runs: Sequence[Mapping[str, Numbers]], evaluator: str, key: str) -> str:
    """Mean ± standard deviation; empty where no run has such a number."""
    known = [run[evaluator][key] for run in runs if key in run.get(evaluator, {})]
    if not known:
        return ""
    digits = 1 if mean(known) > 1.5 else 3
    spread = f" ± {stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean(known):.{digits}f}{spread}"


def read_group(root: Path, name: str) -> Group | None:
    """All runs NAME-SEED that were asked for islands after training; None if there is none."""
    runs = [evaluations(path) for path in sorted(root.glob(f"{name}-[0-9]*"))]
    ended = [
        run for run in runs if any(record["evaluator"] == "islands" and record["step"] for record in run)
    ]
    return Group([by_name(run) for run in ended], [by_name(run[::-1]) for run in ended]) if ended else None


def evaluations(run: Path) -> Sequence[Any]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "eval"]


def by_name(records: Sequence[Any]) -> Mapping[str, Numbers]:
    """Of each evaluator the last record."""
    return {record["evaluator"]: record["metrics"] for record in records}


def table(root: Path, names: Mapping[str, str]) -> str:
    """Networks level by level, and under them what they have to beat."""
    groups = {name: group for name in names if (group := read_group(root, name)) is not None}
    rows = [row for name, group in groups.items() for row in trained(names[name], group)]
    first = next(iter(groups.values()), None)
    return "\n".join([HEAD, *rows, *(floors(first) if first else ())])


def trained(title: str, group: Group) -> Iterator[str]:
    count = len(group.runs)
    title = f"{title} ({count} seed{'s' * (count > 1)})"
    for level in range(1, group.levels() + 1):
        yield row(f"**{title}**, level {level}" if level == 1 else f"level {level}", group, "", f"_{level}")
    if "attention_jaccard" in group.runs[0]["islands"]:
        yield row("its attention's masks", group, "attention_", "")


def floors(group: Group) -> Iterator[str]:
    """Beside the first network of the table."""
    for level in range(1, group.levels() + 1):
        title = "*columns with initial weights*, level 1" if level == 1 else f"level {level}"
        yield row(title, group, "untrained_", f"_{level}")
    for k in (2, 4, 8):
        yield row(f"*k-means, {k} clusters of colour and place*", group, f"kmeans_{k}_", "")
    yield row("*the image as one segment*", group, "one_", "")


def row(title: str, group: Group, prefix: str, suffix: str) -> str:
    keys = ("agreement_beside", "agreement_anywhere", "islands", *SCORES)
    return " | ".join([f"| {title}", *(group.cell(f"{prefix}{key}{suffix}") for key in keys)]) + " |"


def features(root: Path) -> str:
    """kNN of the pooled features on the scenes."""
    groups = {name: group for name in SCENES if (group := read_group(root, name)) is not None}
    rows = [(SCENES[name], group.runs) for name, group in groups.items()]
    rows += [(title, groups[name].untrained) for name, title in UNTRAINED.items() if name in groups]
    lines = ["| kNN, k 10 | class of the largest object | the very object |", "|---|---|---|"]
    for title, runs in rows:
        cells = (over_seeds(runs, "knn", key) for key in ("top1_k10", "instance_top1_k10"))
        lines.append(" | ".join([f"| {title}", *cells]) + " |")
    return "\n".join(lines)


def pictures(root: Path) -> Iterator[str]:
    """Copy what has been drawn to docs/, and show it."""
    for run, name in PICTURES.items():
        picture = root / run / "figures" / "islands" / "islands.png"
        if picture.is_file():
            shutil.copy(picture, HERE / name)
            yield f"\n![Islands by level, {run}](docs/{name})"


def main(words: Sequence[str]) -> None:
    if len(words) != 1:
        sys.exit(__doc__)
    root, readme = Path(words[0]), HERE.parent / "README.md"
    shown = list(pictures(root))
    parts = (
        "Demo scenes of three objects, 100 held out:\n",
        table(root, SCENES),
        "\n" + features(root),
        "\nHorses, 49 held out:\n",
        table(root, HORSES),
        *shown,
    )
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text("\n".join([before + BEGIN, *parts, END]) + rest.split(END)[1])


if __name__ == "__main__":
    main(sys.argv[1:])
