from pathlib import Path

import pytest
import yaml

from sslkit.errors import RecipeError
from sslkit.recipe.annotate import annotated, write_start
from sslkit.recipe.load import differences, load_recipe
from sslkit.recipe.schema import Recipe
from sslkit.recipe.write import plain_recipe


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe({"sslkit": 1, "name": "a", "optim": {"lr": 0.25}}, ["eval.evaluators.knn=null"]).recipe


def test_the_values_are_those_of_the_recipe(recipe: Recipe) -> None:
    assert yaml.safe_load(annotated(recipe)) == plain_recipe(recipe)


def test_each_key_has_its_meaning(recipe: Recipe) -> None:
    lines = annotated(recipe, header="one\ntwo").splitlines()
    assert lines[:2] == ["# one", "# two"]
    at = next(i for i, line in enumerate(lines) if line.startswith("  mean: null  # Mean per channel of"))
    assert lines[at - 1] == "  canvas: null"
    assert lines[at - 2].strip() == "# the data's own size."
    assert "seed: 0  # Seed of the data order, the augmentation and the initial weights." in lines
    assert max(map(len, lines)) <= 140


def test_a_start_of_ones_own_runs_as_it_is(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "mine" / "own.yaml"
    write_start(recipe, path)
    assert differences(load_recipe(path).recipe, recipe) == []


def test_nothing_is_overwritten(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("mine")
    with pytest.raises(RecipeError, match="exists already"):
        write_start(recipe, path)
    assert path.read_text() == "mine"
