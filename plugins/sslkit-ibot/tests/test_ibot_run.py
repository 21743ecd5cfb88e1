"""Small real runs through the product's own door: recipes, resume, export, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from sslkit import run
from sslkit.errors import RecipeError
from sslkit.run import dry_run

RECIPE = Path(__file__).parents[1] / "recipes/ibot.yaml"
WITHOUT_PICTURES = [f"sslkit.report.{name}" for name in ("attention", "crops", "curves", "page")]
HEAD = {"hidden_dim": 16, "out_dim": 16, "bottleneck_dim": 8}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy images of two colours in class folders."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(24):
        pixels = rng.integers(0, 120, (24, 24, 3), dtype=np.uint8)
        pixels[..., i % 2] += 100
        folder = root / ("red", "green")[i % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return root


def recipe(photos: Path, **method: Any) -> dict[str, Any]:
    """Twelve steps of four images, two global and two local crops."""
    return {
        "sslkit": 1,
        "name": "tiny",
        "method": {"name": "ibot", **HEAD, **method},
        "backbone": {"name": "vit_pocket", "drop_path_rate": 0.1, "args": {"embed_dim": 16, "depth": 2}},
        "augment": {"name": "multicrop", "global_size": 16, "local_size": 8, "local_count": 2},
        "data": {"name": "folder", "root": str(photos), "workers": 0},
        "optim": {"batch_size": 4, "epochs": 3, "warmup_epochs": 1},
        "runtime": {"threads": 1},
        "checkpoint": {"every_steps": 2, "keep": 2},
        "eval": {"resize": 16, "crop": 16, "evaluators": {"knn": {"k": [3]}}},
    }


def train(given: Path | dict[str, Any], out: Path, *words: str, resume: bool = False) -> Path:
    run(given, words, out=out, resume=resume, quiet=True, no_plugins=WITHOUT_PICTURES)
    return out


def losses(run_dir: Path) -> list[float]:
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["kind"] == "step"]


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(photos: Path, tmp_path: Path) -> None:
    """Masks, both centres, the mask token and a patch head of its own are all in the checkpoint."""
    given = recipe(photos, patch_head="separate", koleo_weight=0.1)
    whole = train(given, tmp_path / "whole")
    parts = train(given, tmp_path / "parts", "runtime.max_steps=5")
    assert len(losses(parts)) == 5
    train(parts, parts, "runtime.max_steps=null", resume=True)
    assert losses(parts) == losses(whole)
    assert (parts / "backbone.safetensors").read_bytes() == (whole / "backbone.safetensors").read_bytes()


@pytest.mark.slow
def test_without_masks_and_weights_a_run_is_dinos(photos: Path, tmp_path: Path) -> None:
    """The same views, drop path and weights, to the last bit."""
    given = recipe(photos, patch_weight=0.0, mask_probability=0.0, warmup_teacher_temperature_epochs=0)
    train(given, tmp_path / "ibot")
    given["method"] = {"name": "dino", **HEAD}
    train(given, tmp_path / "dino")
    assert losses(tmp_path / "ibot") == losses(tmp_path / "dino")
    ours, dinos = (tmp_path / name / "backbone.safetensors" for name in ("ibot", "dino"))
    assert ours.read_bytes() == dinos.read_bytes()


def test_timm_loads_what_it_exports(photos: Path, tmp_path: Path) -> None:
    """The mask token is the method's, and no part of the network."""
    file = train(recipe(photos), tmp_path / "run", "runtime.max_steps=2") / "backbone.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = {key: json.loads(opened.metadata()[key]) for key in ("name", "args")}
    network = timm.create_model(metadata["name"], num_classes=0, **metadata["args"])
    network.load_state_dict(load_file(file))


def test_a_convolutional_net_is_refused_before_anything_is_written(photos: Path, tmp_path: Path) -> None:
    given = {**recipe(photos), "backbone": {"name": "conv_pocket", "drop_path_rate": 0.0}}
    with pytest.raises(RecipeError, match="hides patches, and the backbone 'resnet18' has none"):
        train(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variant", ["none", "nano", "koleo"])
def test_the_pocket_recipe_resolves(variant: str, tmp_path: Path) -> None:
    record = dry_run(RECIPE, ["data.count=128", "data.eval_count=64"], out=tmp_path / "run", variant=variant)
    assert record
    assert not (tmp_path / "run").exists()


def test_the_papers_recipe_resolves(photos: Path, tmp_path: Path) -> None:
    words = [f"data.root={photos}", "optim.batch_size=4", "data.workers=0"]
    assert dry_run(RECIPE, words, out=tmp_path / "run", variant="vits16")
