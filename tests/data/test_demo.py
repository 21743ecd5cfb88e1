"""The demo as a data set; what the scenes are like is tested in test_scenes.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sslkit.core.dataset import DataSource
from sslkit.data.demo import Demo
from sslkit.data.scenes import CLASS_NAMES, IDENTITY_NAMES, ScenesConfig, load_scenes
from sslkit.errors import DataError, MissingSplitError

Source = Callable[..., DataSource]
SMALL = ScenesConfig(count=12, eval_count=6, image_size=32)


def test_a_sample_is_a_scene(source: Source) -> None:
    dataset, scenes = Demo(SMALL, source(None, "train")), load_scenes(SMALL, "train")
    assert (len(dataset), dataset.classes, dataset.instances) == (12, CLASS_NAMES, len(IDENTITY_NAMES))
    sample = dataset[5]
    assert np.array_equal(sample.image, scenes.images[5])
    assert np.array_equal(sample.mask, scenes.masks[5])  # type: ignore[arg-type]
    assert (sample.label, sample.instance) == (scenes.labels[5], scenes.identities[5])
    assert (sample.key, dataset.key(5)) == ("train/5", "train/5")
    assert dataset.has_masks


def test_its_splits(source: Source) -> None:
    assert [len(Demo(SMALL, source(None, split))) for split in ("val", "unseen")] == [6, 6]
    with pytest.raises(MissingSplitError, match="it has train, val, unseen"):
        Demo(SMALL, source(None, "test"))


def test_channels_and_labels_none(source: Source) -> None:
    dataset = Demo(SMALL, source(None, "val", labels="none", channels=1))
    assert dataset[0].image.shape == (32, 32, 1)
    assert (dataset.classes, dataset[0].label) == (None, None)
    assert dataset[0].instance is not None


def test_background_alone_has_no_labels(source: Source) -> None:
    dataset = Demo(ScenesConfig(count=2, image_size=16, objects=0), source(None, "train"))
    assert (dataset.classes, dataset.instances, dataset.has_masks) == (None, None, False)
    sample = dataset[0]
    assert (sample.label, sample.instance, sample.mask) == (None, None, None)


def test_several_objects_are_told_apart(source: Source) -> None:
    sample = Demo(ScenesConfig(count=4, image_size=64, objects=3), source(None, "train"))[0]
    assert sample.objects is not None
    assert sample.mask is not None
    assert (sample.mask == (sample.objects == 1)).all()
    assert {0, 1} < set(sample.objects.ravel().tolist()) <= {0, 1, 2, 3}
    assert Demo(SMALL, source(None, "train"))[0].objects is None


def test_a_root_is_refused_with_what_was_meant(source: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"draws its own images.*\n.*data.name=folder data.root=DIR"):
        Demo(SMALL, source(tmp_path, "train"))
