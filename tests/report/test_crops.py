from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import make_photos, tiny_recipe

import sslkit
from sslkit.augment.build import IMAGENET_MEAN, IMAGENET_STD
from sslkit.core.method import Views
from sslkit.data.open import open_train
from sslkit.recipe.schema import Recipe
from sslkit.report.crops import draw_crops, first_views, sslkit_run_started
from sslkit.report.reopen import recipe_of


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


@pytest.mark.parametrize(("local", "channels"), [(0, 3), (1, 3), (10, 3), (4, 1), (4, 6)])
def test_any_number_of_crops_and_channels(local: int, channels: int, tmp_path: Path) -> None:
    canvas = torch.randint(0, 256, (3, channels, 40, 40), dtype=torch.uint8)
    crops = torch.rand(local, 3, channels, 16, 16) if local else None
    views = Views(torch.rand(2, 3, channels, 32, 32), crops)
    path = draw_crops(canvas, torch.tensor([[40, 40], [20, 60], [60, 20]]), views, tmp_path / "f" / "c.png")
    width, height = size(path)
    assert 500 <= width <= 2000
    assert 400 <= height <= 1200


def test_images_keep_their_proportions(tmp_path: Path) -> None:
    canvas = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)  # a black image on a white page
    views = Views(torch.ones(1, 1, 3, 8, 8))
    path = draw_crops(canvas, torch.tensor([[30, 60]]), views, tmp_path / "c.png")
    with Image.open(path) as image:
        dark = np.asarray(image.convert("L")) < 5  # [H, W]
    rows = np.flatnonzero(dark.sum(1) > 0.9 * dark.sum(1).max())  # the image, not the letters
    columns = np.flatnonzero(dark[rows].all(0))
    assert len(columns) / len(rows) == pytest.approx(2, rel=0.05)


SPY = """
from dataclasses import dataclass
import torch
from sslkit import Method, StepOutput, hookimpl

@dataclass
class Config:
    path: str = ""

class Spy(Method):
    Config = Config

    def __init__(self, config, setup):
        super().__init__()
        self.path, self.backbone = config.path, setup.backbone()

    @property
    def encoder(self):
        return self.backbone

    def forward(self, views, progress):
        if progress.step == 0:
            torch.save([views.global_views, views.local_views, views.indices], self.path)
        return StepOutput(self.backbone(views.global_views[0]).square().mean())

@hookimpl
def sslkit_methods():
    return {"spy": Spy}
"""


def test_the_crops_are_those_of_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(SPY)
    recipe = tiny_recipe(make_photos(tmp_path / "photos"), seed=3)
    recipe |= {"method": {"name": "spy", "path": str(tmp_path / "views")}, "runtime": {"max_steps": 1}}
    out = tmp_path / "a"
    sslkit.run(recipe, plugins=[str(tmp_path / "spy.py")], out=out, quiet=True)
    global_views, local_views, indices = torch.load(tmp_path / "views")
    loaded = recipe_of(out)
    canvas, size, views = first_views(loaded.recipe, loaded.registry, most=3)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    assert views.local_views is not None
    torch.testing.assert_close(views.global_views, global_views[:, :3] * std + mean)
    torch.testing.assert_close(views.local_views, local_views[:, :3] * std + mean)
    images = [open_train(loaded.recipe, loaded.registry)[int(i)].image for i in indices[:3]]
    assert size.tolist() == [[*image.shape[:2]] for image in images]
    assert len(canvas) == 3


def test_a_resumed_run_keeps_its_picture(tmp_path: Path) -> None:
    path = tmp_path / "figures" / "crops.png"
    path.parent.mkdir()
    path.write_text("as it was")
    sslkit_run_started(Recipe(), tmp_path)
    assert path.read_text() == "as it was"


def test_a_plugin_that_was_left_out_stays_out(tmp_path: Path) -> None:
    recipe = tiny_recipe(make_photos(tmp_path / "photos"), runtime={"max_steps": 1})
    out = tmp_path / "a"
    sslkit.run(recipe, no_plugins=["report.attention", "report.curves"], out=out, quiet=True)
    assert [p.name for p in (out / "figures").glob("*.png")] == ["crops.png"]
    left_out = [p.name for p in recipe_of(out).registry.plugins if p.status == "left out"]
    assert left_out == ["sslkit.report.attention", "sslkit.report.curves"]
