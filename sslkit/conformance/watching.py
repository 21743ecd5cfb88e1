"""Do a plugin's watching hooks get through a run? A real one, of a few steps on pictures drawn for it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from sslkit.conformance.findings import demand
from sslkit.plugins import Registry
from sslkit.recipe.load import Loaded, load_recipe
from sslkit.session import prepare
from sslkit.train.distributed import Place
from sslkit.train.rundir import RunDirectory
from sslkit.train.signals import StopRequest

IMAGES, SIDE, BATCH = 12, 16, 4
PICTURES = "sslkit.report."
"""What the names of the built-in plugins begin with that draw pictures, which takes longer than the run."""


def watching_hooks_hear_a_run(load: Callable[..., Registry]) -> None:
    """Start, steps and end of a run of DINO; a hook that raises would be left out of the rest of it.

    Args:
        load: loads the plugin; takes `blocked`, names of plugins to leave out.
    """
    blocked = [info.name for info in Registry.load(allow="").plugins if info.name.startswith(PICTURES)]
    with TemporaryDirectory() as name, warnings.catch_warnings(record=True, action="always") as caught:
        recipe = load_recipe(_recipe(Path(name)), no_plugins=blocked).recipe
        registry = load(blocked=blocked)
        loaded = Loaded(recipe, registry, None, [], None)
        session = prepare(loaded, Place(torch.device("cpu")), StopRequest())
        session.open(RunDirectory(Path(name) / "run"), resume=False, quiet=True)
        session.go()
    failed = [info for info in registry.plugins if info.status == "failed"]
    told = [str(warning.message) for warning in caught if issubclass(warning.category, RuntimeWarning)]
    demand(not failed, told[0] if told else "a hook failed")


def _recipe(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(IMAGES):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{number}.png")
    return {
        "sslkit": 1,
        "name": "checked",
        "method": {"name": "dino", "out_dim": 16, "hidden_dim": 16, "bottleneck_dim": 8},
        "backbone": {"name": "vit_pocket", "args": {"embed_dim": 16, "depth": 1, "num_heads": 2}},
        "augment": {"name": "multicrop", "global_size": SIDE, "local_count": 0},
        "data": {"name": "folder", "root": str(folder / "photos"), "workers": 0},
        "optim": {"batch_size": BATCH, "epochs": 2},
        "runtime": {"device": "cpu"},
        "eval": {"resize": SIDE, "crop": SIDE, "evaluators": {"knn": None}},
    }
