"""Runs the experiments of docs/results.md and writes its tables and curves.

    python docs/make_results.py RUNS                  all that needs no data of one's own, two at a time
    python docs/make_results.py RUNS --photos DIR     also real photos (a parquet folder, train and val)
    python docs/make_results.py RUNS --only pocket    some of them

Finished runs are not run again, and half-finished ones go on from their checkpoint. A thread a run.
"""

# B images of a batch, H heads, N patches, S side of the images

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import ImageSet
from sslkit.eval.attention import mass_mask
from sslkit.eval.knn import knn_votes
from sslkit.plugins import Registry
from sslkit.recipe.load import load_recipe
from sslkit.stations import Facts, build_method, open_eval_sets
from sslkit.train.export import load_backbone

DOCS = Path(__file__).parent
K, TEMPERATURE, MASS = 10, 0.07, 0.6
MARK = "<!-- table -->"


@dataclass(frozen=True)
class Experiment:
    """One row of the table: a recipe with changes, over seeds."""

    name: str
    title: str
    words: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    variant: str | None = None


SCENES = [
    Experiment("pocket", "ViT, quiet scenes (`dino_pocket`)", ()),
    Experiment("conv", "conv, quiet scenes (`--variant conv`)", (), variant="conv"),
    Experiment("nano", "ViT, quiet scenes, under 90 s (`--variant nano`)", (), variant="nano"),
    Experiment("gradient", "ViT, gradient grounds", ("data.background=gradient",), seeds=(0,)),
    Experiment("photo", "ViT, photo grounds", ("data.background=photo",), seeds=(0,)),
]


def photos(root: str) -> list[Experiment]:
    words = ("data.name=parquet", f"data.root={root}")
    return [
        Experiment(
            "tin20-conv", "conv, 20 classes of real photos (`--variant photos`)", words, (0,), "photos"
        ),
        Experiment("tin20-vit", "ViT, the same photos (`dino_pocket`)", words, (0,)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--photos")
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    experiments = [*SCENES, *(photos(given.photos) if given.photos else [])]
    experiments = [e for e in experiments if not given.only or e.name in given.only]
    jobs = [(e, seed) for e in experiments for seed in e.seeds]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: train(given.runs, *job), jobs))
    for experiment in experiments:
        (given.runs / f"{experiment.name}.json").write_text(json.dumps(measure(given.runs, experiment)))
    found = {p.stem: json.loads(p.read_text()) for p in given.runs.glob("*.json")}
    known = [e for e in [*SCENES, *photos("")] if e.name in found]
    page = DOCS / "results.md"
    before, _, after = page.read_text().partition(MARK)
    page.write_text(f"{before}{MARK}\n{table(known, found)}\n{MARK}{after.partition(MARK)[2]}")
    draw(given.runs, known)


def train(runs: Path, experiment: Experiment, seed: int) -> None:
    words = ["dino_pocket", *experiment.words, f"seed={seed}"]
    words += ["--variant", experiment.variant] if experiment.variant else []
    train_once(runs / f"{experiment.name}-{seed}", words)


def train_once(out: Path, words: Sequence[str]) -> None:
    """`sslkit run` with these words and one thread, unless the run is finished; goes on with half of one."""
    record = json.loads((out / "run.json").read_text()) if (out / "run.json").is_file() else {}
    if record.get("status") == "finished":
        return
    command = [sys.executable, "-m", "sslkit.cli", "run", *words, "runtime.threads=1", "--out", str(out)]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_name(f"{out.name}.log").open("a") as log:
        command += ["--resume"] if record else []
        subprocess.run(command, stdout=log, stderr=log, check=True)


def measure(runs: Path, experiment: Experiment) -> dict[str, Any]:
    """Floors, results and masks of all seeds."""
    rows = [measure_run(runs / f"{experiment.name}-{seed}") for seed in experiment.seeds]
    return {key: [row[key] for row in rows] for key in rows[0]}


@torch.no_grad()
def measure_run(run: Path) -> dict[str, Any]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evals = [r for r in records if r["kind"] == "eval" and r["evaluator"] == "knn"]
    loaded = load_recipe(run / "recipe.yaml")
    data = open_eval_sets(loaded.recipe, loaded.registry)
    record = json.loads((run / "run.json").read_text())
    untrained = build_method(loaded.recipe, loaded.registry, Facts(**record["setup"])).encoder.eval()
    return {
        "untrained": pair(evals[0]["metrics"]),
        "trained": pair(evals[-1]["metrics"]),
        "pixels": pixels(data.train, data.test),
        "masks untrained": masks(untrained, data.test),
        "masks trained": masks(load_backbone(run, Registry.load()), data.test),
        "seconds": seconds(records, loaded.recipe.optim.batch_size),
        "steps": max(r["step"] for r in records),
    }


def seconds(records: Sequence[dict[str, Any]], batch: int) -> float:
    return float(sum(batch / r["images_per_second"] for r in records if r["kind"] == "step"))


def pair(metrics: dict[str, float]) -> tuple[float, float | None]:
    return metrics[f"top1_k{K}"], metrics.get(f"instance_top1_k{K}")


def pixels(train: ImageSet, test: ImageSet) -> tuple[float, float | None]:
    """kNN on the normalised pixels less the training mean."""
    sets = [list(image_set.batches()) for image_set in (train, test)]
    bank, queries = (torch.cat([b.images.flatten(1) for b in batches]) for batches in sets)  # [N, C S S]
    mean = bank.mean(0)
    found: list[float | None] = []
    for name in ("labels", "instances"):
        parts = [[getattr(b, name) for b in batches] for batches in sets]
        if parts[0][0] is None:
            found.append(None)
            continue
        answers, wanted = (torch.cat(part) for part in parts)
        votes = knn_votes(
            bank - mean,
            answers,
            queries - mean,
            k=K,
            temperature=TEMPERATURE,
            num_classes=int(answers.max()) + 1,
        )
        found.append((votes.argmax(1) == wanted).float().mean().item())
    assert found[0] is not None
    return found[0], found[1]


def masks(backbone: Backbone, test: ImageSet) -> tuple[float, ...] | None:
    """How the attention sits on the objects.

    Jaccard of the 60 % mass masks (best head of each image; best head for all images), and the share of the
    attention that lies on the object, mean of the heads.
    """
    if not test.has_masks:
        return None
    found = [part for batch in test.batches() for part in _attention(backbone, batch.images, batch.masks)]
    if not found:
        return None
    jaccard, mass = (torch.cat(parts) for parts in zip(*found, strict=True))  # [N, H] each
    return jaccard.amax(1).mean().item(), jaccard.mean(0).max().item(), mass.mean().item()


def _attention(backbone: Backbone, images: Tensor, truth: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    attention = backbone.cls_attention(images)  # [B, H, N]
    if attention is None or truth is None:
        return
    side, rows = images.shape[-1], round(attention.shape[-1] ** 0.5)
    mask = mass_mask(attention, MASS).unflatten(-1, (rows, rows)).float()  # [B, H, rows, rows]
    mask = nn.functional.interpolate(mask, size=(side, side), mode="nearest") > 0.5  # [B, H, S, S]
    both, either = (mask & truth[:, None]).sum((2, 3)), (mask | truth[:, None]).sum((2, 3))
    covered = nn.functional.adaptive_avg_pool2d(truth[:, None].float(), rows).flatten(2)  # [B, 1, N]
    on_object = (attention * covered).sum(-1) / attention.sum(-1)  # [B, H]
    yield both / either.clamp(min=1), on_object


def table(experiments: Sequence[Experiment], found: dict[str, Any]) -> str:
    lines = [
        "| run | seeds | steps, one thread | pixels | untrained | trained | attention, untrained | trained |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for e in experiments:
        r = found[e.name]
        time = f"{r['steps'][0]:,}, {statistics.fmean(r['seconds']) / 60:.1f} min"
        cells = [e.title, str(len(e.seeds)), time, *(_cell(r[k]) for k in ("pixels", "untrained", "trained"))]
        cells += [_cell(r[k]) for k in ("masks untrained", "masks trained")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[Sequence[float | None] | None]) -> str:
    """Mean and standard deviation over seeds, of each of the pair."""
    if values[0] is None:
        return ""
    columns = zip(*(v for v in values if v is not None), strict=True)
    return " / ".join(_mean(column) for column in columns if column[0] is not None)


def _mean(column: Sequence[float | None]) -> str:
    known = [value for value in column if value is not None]
    spread = f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.3f}{spread}"


def draw(runs: Path, experiments: Sequence[Experiment]) -> None:
    """kNN over the steps, a line for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, key, title in (
        (axes[0], f"top1_k{K}", "class"),
        (axes[1], f"instance_top1_k{K}", "the very object"),
    ):
        for number, experiment in enumerate(experiments):
            for seed in experiment.seeds:
                records = map(json.loads, (runs / f"{experiment.name}-{seed}/metrics.jsonl").open())
                evals = [r for r in records if r["kind"] == "eval" and key in r["metrics"]]
                label = experiment.name if seed == experiment.seeds[0] else None
                xs, ys = [r["step"] for r in evals], [r["metrics"][key] for r in evals]
                axis.plot(xs, ys, color=f"C{number}", label=label, lw=1.2)
        axis.set(title=f"kNN (k {K}): {title}", xlabel="step")
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    (DOCS / "images").mkdir(exist_ok=True)
    figure.savefig(DOCS / "images/knn.png", dpi=110)


if __name__ == "__main__":
    main()
