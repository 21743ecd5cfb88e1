"""Real small runs: the recipe's sections, an exact resume, export, another data set, other methods."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sslkit import load_backbone, run
from sslkit.core.evaluator import Result
from sslkit.errors import PluginError, RecipeError
from sslkit.recipe.load import load_recipe
from sslkit.run import evaluate_run
from sslkit.stations import open_eval_sets
from sslkit_glom.backbone import Glom

RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty-four noisy images with a bright square each, and masks of the squares."""
    rng = np.random.default_rng(0)
    for number in range(24):
        pixels, mask = rng.integers(0, 80, (24, 24, 3), dtype=np.uint8), np.zeros((24, 24), np.uint8)
        top, left = rng.integers(0, 12, 2)
        mask[top : top + 12, left : left + 12] = 255
        pixels[mask > 0, number % 3] = 250
        for kind, picture in (("images", pixels), ("masks", mask)):
            (tmp_path / "photos" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / "photos" / kind / f"{number:02d}.png")
    return tmp_path / "photos"


def tiny(photos: Path, **changes: Any) -> dict[str, Any]:
    """Six steps of the plugin's method on its backbone."""
    recipe: dict[str, Any] = {
        "sslkit": 1,
        "name": "tiny",
        "plugins": ["sslkit-glom>=0.1,<1"],
        "method": {"name": "glom"},
        "backbone": {
            "name": "glom",
            "drop_path_rate": 0.1,
            "args": {"levels": 3, "dim": 8, "radius": [1, 2, 4]},
        },
        "augment": {"name": "multicrop", "global_size": 16, "local_count": 0},
        "data": {"name": "folder", "root": str(photos), "images": "images", "masks": "masks", "workers": 0},
        "optim": {"batch_size": 4, "epochs": 2, "warmup_epochs": 1},
        "runtime": {"threads": 1, "max_steps": 6},
        "checkpoint": {"every_steps": 3},
        "eval": {"every_epochs": None, "resize": 24, "crop": 24, "evaluators": {"islands": {"images": 4}}},
    }
    for key, value in changes.items():
        recipe[key] = {**recipe[key], **value} if isinstance(value, Mapping) else value
    return recipe


@pytest.mark.slow
def test_a_run_goes_on_exactly_where_it_stopped_and_ends_with_islands(photos: Path, tmp_path: Path) -> None:
    recipe = tiny(photos)
    whole = run(recipe, out=tmp_path / "whole", quiet=True)
    run(recipe, ["runtime.max_steps=3"], out=tmp_path / "parts", quiet=True)
    resumed = run(recipe, out=tmp_path / "parts", resume=True, quiet=True)
    weights = [(r.run_dir / "backbone.safetensors").read_bytes() for r in (whole, resumed)]
    assert weights[0] == weights[1]
    assert whole.metrics == resumed.metrics
    for key in (
        "agreement_beside_3",
        "islands_1",
        "ari_2",
        "untrained_jaccard_1",
        "kmeans_4_ari",
        "one_jaccard",
    ):
        assert f"islands/{key}" in whole.metrics
    assert (whole.run_dir / "figures" / "islands" / "islands.png").is_file()

    loaded = load_backbone(whole.run_dir)
    assert isinstance(loaded, Glom)
    saved = load_file(whole.run_dir / "backbone.safetensors")
    assert saved.keys() == loaded.network.state_dict().keys()
    assert torch.equal(saved["initial"], loaded.network.initial)


@pytest.mark.slow
def test_islands_of_a_vit_beside_columns(photos: Path, tmp_path: Path) -> None:
    columns = run(tiny(photos), ["eval.evaluators.islands=null"], out=tmp_path / "columns", quiet=True)
    method = {"name": "dino", "hidden_dim": 16, "out_dim": 16, "bottleneck_dim": 8}
    vit = {
        "name": "vit_tiny_patch16_224",
        "args": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
    }
    recipe = tiny(photos) | {"method": method, "backbone": vit}
    trained = run(recipe, ["eval.evaluators.islands=null"], out=tmp_path / "vit", quiet=True)
    asked = [f"eval.evaluators.islands.against={columns.run_dir}", "eval.evaluators.islands.images=4"]
    found = evaluate_run(trained.run_dir, asked, on=["islands"])["islands"]
    assert isinstance(found, Result)
    for key in ("ari_2", "attention_jaccard", "untrained_ari_1", "against_ari_3"):
        assert np.isfinite(found.metrics[key])
    assert "against_attention_jaccard" not in found.metrics


@pytest.mark.slow
@pytest.mark.parametrize("method", [{"name": "dino", "out_dim": 16}, {"name": "byol", "out_dim": 8}])
def test_other_methods_train_columns(method: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    recipe = tiny(photos, augment={"local_count": 2, "local_size": 8, "global_size": 16})
    done = run(recipe | {"method": {**method, "hidden_dim": 16}}, out=tmp_path / "run", quiet=True)
    assert done.status == "finished"
    assert np.isfinite(done.metrics["islands/ari_3"])


def test_the_scenes_of_the_recipe_tell_their_objects_apart() -> None:
    loaded = load_recipe(RECIPES / "glom.yaml", ["data.count=4", "data.eval_count=4", "data.workers=0"])
    batch = next(open_eval_sets(loaded.recipe, loaded.registry).test.batches())
    assert batch.objects is not None
    assert batch.objects.amax() == 3


def test_without_masks_only_agreement_is_told(photos: Path, tmp_path: Path) -> None:
    done = run(tiny(photos), ["data.masks=null", "runtime.max_steps=1"], out=tmp_path / "run", quiet=True)
    assert np.isfinite(done.metrics["islands/agreement_anywhere_1"])
    assert not [key for key in done.metrics if "ari" in key or "jaccard" in key]


@pytest.mark.parametrize("variant", [None, "dino", "byol", "horses"])
def test_the_shipped_recipe_loads(variant: str | None) -> None:
    loaded = load_recipe(
        RECIPES / "glom.yaml", ["data.root=."] if variant == "horses" else [], variant=variant
    )
    assert loaded.recipe.backbone.name == "glom"
    assert "islands" in loaded.recipe.eval.evaluators


def test_a_recipe_needs_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", "")
    with pytest.raises(PluginError, match="sslkit-glom is asked for, but is not allowed"):
        load_recipe(RECIPES / "glom.yaml")


def test_impossible_arguments_end_a_run_before_it_starts(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"'backbone.args.steps' is 2, but must be a whole number >= levels"
    ):
        run(tiny(photos), ["backbone.args.steps=2"], out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
