"""The bands of packed recipes are what docs/results.md gives by the rule of docs/reproduce.md."""

import math
import re
from pathlib import Path

import pytest
from scipy.stats import t

from sslkit.plugins import Registry
from sslkit.recipe.document import read_yaml
from sslkit.recipe.load import load_recipe, packed_recipes

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs/results.md").read_text()
TITLES = {
    "dino": "DINO",
    "byol": "BYOL",
    "simclr": "SimCLR",
    "mocov2": "MoCo v2",
    "mocov3": "MoCo v3",
    "patch": "patch discrimination",
    "supervised": "supervised (uses the labels)",
}
ROWS = {
    ("dino_pocket", "none"): ("table", "ViT, quiet scenes (`dino_pocket`)"),
    ("dino_pocket", "conv"): ("table", "conv, quiet scenes (`--variant conv`)"),
    ("dino_pocket", "nano"): ("table", "ViT, quiet scenes, under 90 s (`--variant nano`)"),
    **{(f"methods/{method}", "none"): ("scenes", title) for method, title in TITLES.items()},
}
"""By recipe and variant: the table of the page, and its row."""
METRICS = ("knn.top1_k10", "knn.instance_top1_k10")


def cells(mark: str, row: str, column: str) -> list[tuple[float, float]]:
    """Mean and standard deviation of class and identity."""
    lines = PAGE.split(f"<!-- {mark} -->")[1].strip().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = next(cells for cells in table if cells[0] == row)
    assert found[table[0].index("seeds")] == "3"
    pairs = re.findall(r"([\d.]+) ± ([\d.]+)", found[table[0].index(column)])
    return [(float(mean), float(sd)) for mean, sd in pairs]


def band(mean: float, sd: float, untrained: float) -> list[float]:
    half = t.ppf(0.975, 2) * max(sd, 0.01) * math.sqrt(1 + 1 / 3)
    low, high = math.floor(1000 * (mean - half)) / 1000, math.ceil(1000 * (mean + half)) / 1000
    return [max(low, untrained, 0), min(high, 1)]


@pytest.mark.parametrize(("recipe", "variant"), ROWS)
def test_the_bands_are_prediction_intervals_of_what_was_measured(recipe: str, variant: str) -> None:
    mark, row = ROWS[recipe, variant]
    trained, untrained = cells(mark, row, "trained"), cells(mark, row, "untrained")
    wanted = [band(*after, before[0]) for after, before in zip(trained, untrained, strict=True)]
    expect = load_recipe(recipe, variant=variant).recipe.expect
    assert expect.metrics == dict(zip(METRICS, wanted, strict=True))
    assert expect.seeds == [0, 1, 2]


def test_no_other_recipe_has_bands() -> None:
    methods = Registry.load(allow="").names("methods")
    assert ROWS.keys() >= {(f"methods/{method}", "none") for method in methods}
    found = set()
    for name, file in packed_recipes().items():
        recipe = read_yaml(file.read_text(), name).value
        variants = {"none": recipe, **recipe.get("variants", {})}
        found |= {(name, variant) for variant, keys in variants.items() if "expect" in keys}
    assert found == set(ROWS)


def test_the_versions_are_those_of_the_pinned_set() -> None:
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (TOP / "constraints.txt").read_text(), re.MULTILINE))
    for name in {name for name, _ in ROWS}:
        versions = read_yaml(packed_recipes()[name].read_text(), name).value["expect"]["versions"]
        others = {package: found for package, found in versions.items() if package != "sslkit"}
        assert others == {package: pinned[package] for package in others}
