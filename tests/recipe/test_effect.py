"""Bands belong to the recipe that they are written for: which changes leave them behind."""

from pathlib import Path

import pytest

from sslkit.errors import RecipeError
from sslkit.recipe.effect import changes_results, has_effect
from sslkit.recipe.layers import parse_override
from sslkit.recipe.load import load_recipe, variants_of
from sslkit.recipe.schema import ExpectSection

BANDS = """expect:
  seeds: [0, 1]
  hardware: a machine
  versions: {torch: 2.14.1}
  metrics: {toy_eval.a: [0.1, 0.2]}
variants:
  own:
    method: {width: 3}
    expect: {metrics: {toy_eval.b: [0.3, 0.4]}}
  other_name: {name: another, checkpoint: {keep: 7}}
"""


@pytest.fixture
def banded(toy: Path) -> Path:
    toy.write_text(toy.read_text().replace("variants:\n", BANDS))
    return toy


def expected(recipe: Path, *words: str, variant: str = "none") -> ExpectSection:
    return load_recipe(recipe, words, variant=variant).recipe.expect


def metrics(recipe: Path, *words: str, variant: str = "none") -> list[str]:
    return list(expected(recipe, *words, variant=variant).metrics)


def test_the_bare_file_has_its_bands(banded: Path) -> None:
    found = expected(banded)
    assert (found.seeds, found.hardware, found.versions) == ([0, 1], "a machine", {"torch": "2.14.1"})
    assert found.metrics == {"toy_eval.a": [0.1, 0.2]}


def test_a_recipe_without_bands_expects_nothing(toy: Path) -> None:
    assert expected(toy) == ExpectSection()
    toy.write_text(toy.read_text() + "expect: {}\n")  # as runs of before have it
    assert expected(toy) == ExpectSection()


WITHOUT = (
    "name=x",
    "closing=bye",
    "seed=5",
    "trackers=[toy_tracker]",
    "runtime.device=cpu",
    "runtime={threads: 1, log_every: 9}",
    "data.workers=0",
    "checkpoint={every_steps: 3, keep: 1}",
    "health.on_collapse=stop",
)


@pytest.mark.parametrize("word", WITHOUT)
def test_what_changes_no_result_keeps_the_bands(banded: Path, word: str) -> None:
    assert metrics(banded, word) == ["toy_eval.a"]


@pytest.mark.parametrize(
    "word",
    [
        "optim.lr=1",
        "method.name=other",
        "data.count=3",
        "eval={crop: 16}",
        "runtime.precision=bf16",
        "runtime={threads: 1, max_steps: 3}",
        "eval.evaluators.toy_eval={}",
        "backbone.args=null",
    ],
)
def test_what_can_change_a_result_leaves_nothing_of_them(banded: Path, word: str) -> None:
    assert expected(banded, "seed=5", word) == ExpectSection()


def test_an_evaluator_that_is_gone_takes_its_bands_along(banded: Path) -> None:
    assert expected(banded, "eval.evaluators.toy_eval=null") == ExpectSection()


def test_a_variant_inherits_no_bands_and_its_own_stand_alone(banded: Path) -> None:
    assert expected(banded, variant="wide") == ExpectSection()
    assert expected(banded, variant="own") == ExpectSection(metrics={"toy_eval.b": [0.3, 0.4]})
    assert metrics(banded, "seed=5", variant="own") == ["toy_eval.b"]
    assert metrics(banded, "optim.lr=1", variant="own") == []
    assert metrics(banded, variant="other_name") == ["toy_eval.a"]


def test_bands_on_the_command_line_are_of_what_stands_beside_them(banded: Path) -> None:
    new = "expect.metrics={toy_eval.c: [0, 1]}"
    assert metrics(banded, new) == ["toy_eval.a", "toy_eval.c"]
    assert metrics(banded, new, "optim.lr=1") == metrics(banded, "optim.lr=1", new) == ["toy_eval.c"]


def test_each_layer_of_a_study_counts(banded: Path) -> None:
    def found(*layers: list[str]) -> list[str]:
        changes = [[parse_override(word) for word in layer] for layer in layers]
        return list(load_recipe(banded, layers=changes).recipe.expect.metrics)

    own = "expect.metrics={toy_eval.c: [0, 1]}"
    assert found(["seed=3"], ["name=x"]) == ["toy_eval.a"]
    assert found(["optim.lr=1", own], ["seed=3"]) == ["toy_eval.c"]
    assert found(["optim.lr=1", own], ["optim.epochs=3"]) == []


def test_an_error_in_new_bands_has_its_place_and_old_places_are_forgotten(banded: Path) -> None:
    recipe = banded.read_text().replace("toy_eval.b: [0.3, 0.4]", "toy_eval.b: [0.4, 0.3]")
    banded.write_text(recipe)
    line = recipe[: recipe.index("toy_eval.b")].count("\n") + 1
    with pytest.raises(RecipeError, match=rf"line {line}: 'expect.metrics.toy_eval.b' is .*\(variant own\)"):
        expected(banded, variant="own")


def test_the_variants_of_a_recipe(banded: Path, tmp_path: Path) -> None:
    assert variants_of(banded) == ["own", "other_name", "wide", "swap", "none"]
    bare = tmp_path / "bare.yaml"
    bare.write_text("sslkit: 1\n")
    assert variants_of(bare) == variants_of({"sslkit": 1}) == ["none"]


def test_keys() -> None:
    assert not any(map(has_effect, ("seed", "checkpoint.keep", "runtime.device", "expect.metrics.knn.top1")))
    assert all(map(has_effect, ("runtime", "optim.lr", "data.name", "checkpoints", "runtime.max_steps")))
    assert not changes_results([])
