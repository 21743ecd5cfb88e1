"""Small real runs for tests: photos that are made here, a tiny ViT, a few steps."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("red", "green")
HEAD = {"hidden_dim": 16, "out_dim": 8}
METHODS: dict[str, dict[str, Any]] = {
    "dino": {"hidden_dim": 16, "out_dim": 16, "bottleneck_dim": 8},
    "byol": HEAD,
    "simclr": HEAD,
    "mocov2": {**HEAD, "queue_size": 24, "shuffle_groups": 2},
    "mocov3": HEAD,
    "patch": HEAD,
    "supervised": {},
}
"""Sizes that make each built-in method small; the queue takes batches of 4 and of 8."""


def make_photos(root: Path, *, count: int = 24, side: int = 24, labelled: bool = True) -> Path:
    """`count` noisy images of two colours, in class folders, or flat without labels."""
    rng = np.random.default_rng(0)
    for i in range(count):
        label = i % len(CLASSES)
        pixels = rng.integers(0, 120, (side, side + 8 * (i % 3), 3), dtype=np.uint8)
        pixels[..., label] += 100
        folder = root / CLASSES[label] if labelled else root
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return root


def tiny_recipe(root: Path, **changes: Any) -> dict[str, Any]:
    """A DINO run of 12 steps in 3 epochs on two global 16 px and two local 8 px crops."""
    recipe: dict[str, Any] = {
        "sslkit": 1,
        "name": "tiny",
        "method": {"name": "dino", **METHODS["dino"]},
        "backbone": {
            "name": "vit_tiny_patch16_224",
            "drop_path_rate": 0.1,
            "args": {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2},
        },
        "augment": {"name": "multicrop", "global_size": 16, "local_size": 8, "local_count": 2},
        "data": {"name": "folder", "root": str(root), "workers": 0},
        "optim": {"batch_size": 4, "epochs": 3, "warmup_epochs": 1},
        "runtime": {"threads": 1},
        "checkpoint": {"every_steps": 2, "keep": 2},
        "eval": {"resize": 16, "crop": 16, "evaluators": {"knn": {"k": [3]}}},
    }
    for key, value in changes.items():
        recipe[key] = {**recipe[key], **value} if isinstance(recipe.get(key), dict) else value
    return recipe


def tiny_recipe_of(method: str, root: Path) -> dict[str, Any]:
    """The same run with another method; patch discrimination sees patches."""
    recipe = {**tiny_recipe(root), "method": {"name": method, **METHODS[method]}}
    if method == "patch":
        recipe["augment"] = {"name": "patches", "size": 16}
    return recipe


def lines(run_dir: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The records of metrics.jsonl, of one kind or all."""
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [r for r in records if kind in (None, r["kind"])]


def learned(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what a clock says."""
    clocks = ("images_per_second", "data_wait")
    return [{k: v for k, v in r.items() if k not in clocks} for r in records]


def command(*words: str | Path) -> list[str]:
    """The command line in this environment."""
    return [sys.executable, "-m", "sslkit.cli", *map(str, words)]


def sslkit(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(
        command(*words),
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
