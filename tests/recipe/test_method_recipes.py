"""The recipes of the methods: on one footing in recipes/methods, and their demo variant the same in short."""

import pytest

from sslkit.plugins import Registry
from sslkit.recipe.load import differences, load_recipe
from sslkit.recipe.schema import Recipe

METHODS = sorted(Registry.load(allow="").names("methods"))
OWN = {"name", "optim.lr"}
"""What each pocket recipe may have for itself, beside its method."""
SHORTER = {
    "name",
    "closing",
    "data.count",
    "data.eval_count",
    "optim.epochs",
    "checkpoint.every_epochs",
    "eval.every_epochs",
}


def pocket(method: str) -> Recipe:
    return load_recipe(f"methods/{method}").recipe


def differing(a: Recipe, b: Recipe) -> set[str]:
    """But for what each is expected to reach."""
    return {key for key in differences(a, b) if not key.startswith("expect.")}


@pytest.mark.parametrize("method", [m for m in METHODS if m != "dino"])
def test_all_methods_are_compared_on_one_footing(method: str) -> None:
    found = differing(pocket("dino"), pocket(method)) - {"method.name"}
    assert found <= OWN | ({"augment.name"} if method == "patch" else set())


@pytest.mark.parametrize("method", [m for m in METHODS if m != "dino"])
def test_the_demo_is_the_pocket_recipe_in_short(method: str) -> None:
    demo = load_recipe(method)
    assert demo.variant == "demo"
    found = differing(demo.recipe, pocket(method))
    assert {"data.count", "optim.epochs"} <= found <= SHORTER


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_pocket_recipe(method: str) -> None:
    assert pocket(method).method.name == method
