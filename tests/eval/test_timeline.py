from pathlib import Path

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from PIL import Image

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.errors import RecipeError
from sslkit.eval.timeline import IMAGES, Timeline, TimelineConfig, read_frames, scattered
from sslkit.nn.backbones import timm_backbone


@pytest.fixture(scope="module")
def vit() -> Backbone:
    return timm_backbone(
        "vit_tiny_patch16_224",
        channels=3,
        image_size=16,
        drop_path_rate=0.0,
        args={"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
    )


def pictures(count: int = 9, seed: int = 0, channels: int = 3) -> Pictures:
    return Pictures(torch.randn(count, channels, 16, 16, generator=torch.Generator().manual_seed(seed)))


def ask(
    vit: Backbone, images: Pictures, figures: Path, step: int, timeline: Timeline | None = None
) -> Result:
    subject = Subject(vit)
    context = context_for(subject, figures, step=step)
    return (timeline or Timeline(TimelineConfig()))(subject, EvalData(images, images), context)


def test_it_keeps_the_mean_attention_of_six_images(vit: Backbone, tmp_path: Path) -> None:
    images = pictures()
    vit.train()
    assert ask(vit, images, tmp_path, 500) == Result({})
    assert vit.training
    (frame,) = read_frames(tmp_path)
    assert (frame.step, frame.is_attention) == (500, True)
    attention = vit.eval().cls_attention(images.images[scattered(9, 6)])
    assert attention is not None
    np.testing.assert_allclose(frame.maps, attention.detach().mean(1).view(6, 4, 4), rtol=1e-5)
    with Image.open(tmp_path / IMAGES) as strip:
        assert strip.size == (6 * 16, 16)
        first = np.asarray(strip)[:, :16] / 255  # [16, 16, 3]
    shown = (images.images[scattered(9, 6)[0]] * images.std + images.mean).clamp(0, 1).permute(1, 2, 0)
    np.testing.assert_allclose(first, shown, atol=0.51 / 255)


def test_an_equal_step_is_written_over_and_others_stay(vit: Backbone, tmp_path: Path) -> None:
    for step in (0, 10, 10):
        ask(vit, pictures(), tmp_path, step)
    assert [frame.step for frame in read_frames(tmp_path)] == [0, 10]


def test_the_pictures_of_other_images_are_left_alone(vit: Backbone, tmp_path: Path) -> None:
    ask(vit, pictures(), tmp_path, 0)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    result = ask(vit, pictures(seed=1), tmp_path, 0)
    assert "other images" in result.notes[0]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_fewer_images_than_asked_for_and_one_channel(tmp_path: Path) -> None:
    net = timm_backbone("test_resnet", channels=1, image_size=32, drop_path_rate=0.0)
    ask(net, pictures(2, channels=1), tmp_path, 0)
    (frame,) = read_frames(tmp_path)
    assert len(frame.maps) == 2
    assert not frame.is_attention


def test_a_broken_file_is_left_out(vit: Backbone, tmp_path: Path) -> None:
    ask(vit, pictures(), tmp_path, 0)
    (tmp_path / "step-00000005.npz").write_bytes(b"half")
    assert [frame.step for frame in read_frames(tmp_path)] == [0]


def test_positions_do_not_follow_the_classes() -> None:
    """With 10 classes in turn, evenly spaced positions are all of one class."""
    assert len({place % 10 for place in scattered(300, 6)}) > 3
    assert scattered(4, 6) == [0, 1, 2, 3]


def test_no_images_is_an_error() -> None:
    with pytest.raises(RecipeError, match="1 or more"):
        TimelineConfig(images=0)
