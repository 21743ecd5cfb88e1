"""From the recipe to data sets: splits, held-out parts, sets elsewhere."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sslkit.core.dataset import Dataset
from sslkit.data.open import held_out, open_eval, open_train
from sslkit.data.scenes import ScenesConfig
from sslkit.errors import DataError, PluginError, RecipeError
from sslkit.plugins import Registry
from sslkit.recipe.schema import Recipe

Make = Callable[..., Recipe]
Tree = Callable[[Path, Sequence[str]], Path]


def keys(dataset: Dataset) -> list[str]:
    return [dataset.key(index) for index in range(len(dataset))]


def test_splits_that_are_there_are_used(tmp_path: Path, tree: Tree, recipe: Make, registry: Registry) -> None:
    tree(tmp_path, ["train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "val/b/4.jpg"])
    made = recipe(name="folder", root=str(tmp_path))
    train, (bank, queries) = open_train(made, registry), open_eval(made, registry)
    assert keys(train) == keys(bank) == ["train/a/1.jpg", "train/b/2.jpg"]
    assert keys(queries) == ["val/a/3.jpg", "val/b/4.jpg"]
    assert train.classes == queries.classes == ("a", "b")


def test_without_a_split_to_evaluate_on_some_are_held_out(
    tmp_path: Path, tree: Tree, recipe: Make, registry: Registry
) -> None:
    names = [f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(30)]
    made = recipe(name="folder", root=str(tree(tmp_path, names)))
    train, (bank, queries) = open_train(made, registry), open_eval(made, registry)
    assert keys(train) == keys(bank)
    assert set(keys(train)).isdisjoint(keys(queries))
    assert sorted(keys(train) + keys(queries)) == sorted(names)
    assert 2 <= len(queries) <= 14
    assert queries[0].key == queries.key(0)
    assert queries[0].label == ["cat", "dog"].index(queries.key(0)[:3])
    tree(tmp_path, ["cat/new.jpg"])
    assert set(keys(open_eval(made, registry)[1])) - {"cat/new.jpg"} == set(keys(queries))


def test_a_train_folder_alone_is_divided(
    tmp_path: Path, tree: Tree, recipe: Make, registry: Registry
) -> None:
    tree(tmp_path, [f"train/{number}.jpg" for number in range(20)] + ["test/1.jpg"])
    made = recipe(name="folder", root=str(tmp_path))
    train, (_, queries) = open_train(made, registry), open_eval(made, registry)
    assert len(train) + len(queries) == 20
    assert all(key.startswith("train/") for key in keys(queries))


def test_a_tenth_is_held_out_and_at_least_one() -> None:
    many = held_out([f"{number}.jpg" for number in range(20_000)])
    assert 0.09 < many.mean() < 0.11
    for count in range(2, 12):
        few = held_out([f"x{number}" for number in range(count)])
        assert 1 <= few.sum() < count
    assert np.array_equal(held_out(["b", "a", "c"])[[1, 0, 2]], held_out(["a", "b", "c"]))


def test_a_wrong_split_does_not_train_on_everything(
    tmp_path: Path, tree: Tree, recipe: Make, registry: Registry
) -> None:
    tree(tmp_path, ["train/1.jpg", "val/1.jpg"])
    with pytest.raises(DataError, match="divided into train, val"):
        open_train(recipe(name="folder", root=str(tmp_path), split="trian"), registry)
    with pytest.raises(DataError, match=r"the demo has no split 'trian'.*\n  did you mean 'train'"):
        open_train(recipe(name="demo", split="trian"), registry)


def test_too_few_images(tmp_path: Path, tree: Tree, recipe: Make, registry: Registry) -> None:
    tree(tmp_path, ["1.jpg"])
    made = recipe(name="folder", root=str(tmp_path))
    with pytest.raises(DataError, match="found 1 image; at least 2 are needed"):
        open_train(made, registry)
    tree(tmp_path, ["2.jpg", "3.jpg"])
    with pytest.raises(DataError, match="found 2 images to train on, but one step takes 64"):
        open_train(recipe(64, name="folder", root=str(tmp_path)), registry)


def test_a_split_that_lacks_classes_counts_as_the_other_does(
    tmp_path: Path, tree: Tree, recipe: Make, registry: Registry
) -> None:
    tree(tmp_path, ["train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/b/2.jpg", "val/c/3.jpg"])
    bank, queries = open_eval(recipe(name="folder", root=str(tmp_path)), registry)
    assert queries.classes == bank.classes == ("a", "b", "c")
    assert [queries[index].label for index in range(2)] == [1, 2]
    tree(tmp_path, ["val/z/1.jpg"])
    with pytest.raises(DataError, match=r"1 classes that the others lack: z"):
        open_eval(recipe(name="folder", root=str(tmp_path)), registry)


def test_evaluation_elsewhere(tmp_path: Path, tree: Tree, recipe: Make, registry: Registry) -> None:
    photos = tree(tmp_path / "photos", ["1.jpg", "2.jpg", "3.jpg"])
    labelled = tree(tmp_path / "set", ["train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg", "test/b/3.jpg"])
    made = recipe(name="folder", root=str(photos), channels=1)
    made.eval.data = {"name": "folder", "root": str(labelled), "eval_split": "test", "suffixes": [".jpg"]}
    assert len(open_train(made, registry)) == 3  # nothing is held out
    bank, queries = open_eval(made, registry)
    assert (bank.classes, keys(queries)) == (("a", "b"), ["test/a/3.jpg", "test/b/3.jpg"])
    assert queries[0].image.shape[2] == 1  # as the network takes them
    made.eval.data = {"name": "folder", "rot": str(labelled)}
    with pytest.raises(RecipeError, match=r"(?s)eval.data.rot.*did you mean.*root"):
        open_eval(made, registry)


def test_the_demo(recipe: Make, registry: Registry) -> None:
    made = recipe(8, ScenesConfig(count=12, eval_count=6, image_size=32), name="demo", eval_split="unseen")
    train, (bank, queries) = open_train(made, registry), open_eval(made, registry)
    assert (len(train), len(bank), len(queries)) == (12, 12, 6)
    assert queries.key(0) == "unseen/0"
    assert queries.instances == bank.instances


def test_impossible_settings_are_told(tmp_path: Path, recipe: Make, registry: Registry) -> None:
    with pytest.raises(
        RecipeError, match=r"'data.labels' is 'folder'; valid: auto, folders, none\n.*'folders'"
    ):
        open_train(recipe(name="demo", labels="folder"), registry)
    with pytest.raises(RecipeError, match=r"'data.channels' is 0; valid: 1 or more"):
        open_train(recipe(name="demo", channels=0), registry)
    with pytest.raises(PluginError, match="foldr"):
        open_train(recipe(name="foldr"), registry)
    with pytest.raises(DataError, match=r"there is no .*gone"):
        open_train(recipe(name="folder", root=str(tmp_path / "gone")), registry)
