"""Backbones of plugins that have a name which is taken: by timm, or by one of the built-in networks."""

import json
import re
from pathlib import Path

import pytest
from test_plugins import HEAD, Site, write

from sslkit import catalog
from sslkit.errors import PluginError
from sslkit.nn.pocket import conv_pocket
from sslkit.plugins import Registry
from sslkit.recipe.load import load_recipe
from sslkit.recipe.schema import BackboneSection
from sslkit.train.export import load_backbone, save_backbone
from sslkit.train.rundir import RunDirectory


def backbone(name: str) -> str:
    """The source of a plugin."""
    return f"{HEAD}\n@hookimpl\ndef sslkit_backbones():\n    return {{'{name}': lambda **keys: None}}\n"


def test_a_backbone_that_timm_has_too_is_a_conflict(tmp_path: Path) -> None:
    path = str(write(tmp_path / "rival.py", backbone("resnet18")))
    told = (
        rf"both timm and the plugin rival\.py \({re.escape(path)}\) provide 'resnet18' in backbones\n"
        r"  rename it in the plugin, or leave that out: --no-plugin rival\.py"
    )
    with pytest.raises(PluginError, match=told):
        Registry.load([path]).get("backbones", "resnet18")
    assert "\nconflict: both timm and the plugin rival.py" in "\n".join(catalog.told(Registry.load([path])))
    recipe = {"sslkit": 1, "backbone": {"name": "resnet18"}, "data": {"name": "demo"}}
    with pytest.raises(PluginError, match=told):
        load_recipe(recipe, plugins=[path])
    assert load_recipe(recipe).recipe.backbone.name == "resnet18"


def test_a_run_keeps_out_what_it_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", "toy-*")
    network = conv_pocket(channels=3, image_size=16, drop_path_rate=0)
    file = tmp_path / "backbone.safetensors"
    save_backbone(network, BackboneSection("conv_pocket"), file, channels=3, image_size=16)
    Site(tmp_path / "site").install("toy-usurper", "1", backbone("conv_pocket"))
    with pytest.raises(PluginError, match="--no-plugin toy-usurper"):
        load_backbone(file)
    out = [{"name": "toy-usurper", "status": "left out"}]
    RunDirectory(tmp_path).record.write_text(json.dumps({"plugins": out}))
    assert load_backbone(file).embed_dim == network.embed_dim
