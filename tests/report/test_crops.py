from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.core.method import Views
from sslkit.report.crops import draw_crops


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
