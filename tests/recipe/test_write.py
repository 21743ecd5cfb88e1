"""A resolved recipe loads again to an equal one; differences are named; every key has its meaning."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sslkit.plugins import KINDS, Registry
from sslkit.recipe import schema
from sslkit.recipe.document import read_yaml
from sslkit.recipe.explain import explain, field_meanings
from sslkit.recipe.load import load_recipe, packed_recipes
from sslkit.recipe.schema import Recipe
from sslkit.recipe.typed import hints
from sslkit.recipe.write import differences, to_yaml


def again(recipe: Recipe, folder: Path) -> Recipe:
    file = folder / "again.yaml"
    file.write_text(to_yaml(recipe, header="Written by a test.\n\nLast line."))
    loaded = load_recipe(file)
    assert loaded.variant is None
    assert loaded.notes == []
    return loaded.recipe


def test_a_resolved_recipe_loads_again(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "data.root=photos",
        "augment.extra=[{name: RandomErasing, scale: [0.1, 0.2]}]",
        "data.table=t.csv",
    ]
    words += [
        "trackers=[toy_tracker]",
        "eval.data={name: other_data, root: there}",
        "backbone.args.name='1e-6'",
    ]
    words += [
        "augment.color_jitter.p=[1, 0]",
        "expect={seeds: [3], versions: {torch: '2.14'}, metrics: {toy_eval.a.b: [1e-9, 0.1]}}",
    ]
    recipe = load_recipe(toy, words, variant="wide").recipe
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert again(recipe, elsewhere) == recipe
    assert recipe.backbone.args == {"name": "1e-6"}
    assert recipe.expect.metrics == {"toy_eval.a.b": [1e-9, 0.1]}


def test_the_header_is_a_comment_and_nothing_is_left_to_defaults(toy: Path) -> None:
    text = to_yaml(load_recipe(toy).recipe, header="one\n\ntwo")
    assert text.startswith("# one\n#\n# two\nsslkit: 1\n")
    value = read_yaml(text, "x").value
    assert set(value) == {f.name for f in fields(Recipe)} - {"data_config"}
    assert value["eval"]["evaluators"] == {"toy_eval": {"k": [3], "limit": None}, "knn": None}
    assert value["data"]["count"] == 7
    assert value["method"] == {"name": "toy", "width": 4, "temperature": 0.2, "momentum": 0.9}


def test_a_run_directory_has_its_own_plugin_files(toy: Path, tmp_path: Path) -> None:
    loaded = load_recipe(toy)
    run_dir = tmp_path / "run"
    loaded.registry.save_files(run_dir)
    (run_dir / "recipe.yaml").write_text(to_yaml(loaded.recipe, run_dir=run_dir))
    (tmp_path / "toy_plugin.py").unlink()
    resumed = load_recipe(run_dir / "recipe.yaml").recipe
    assert resumed.plugins == [str(run_dir / "plugins" / "toy_plugin.py")]
    assert differences(loaded.recipe, resumed) == ["plugins"]


@pytest.mark.parametrize("name", packed_recipes())
def test_every_packed_recipe_and_variant_loads_again(name: str, tmp_path: Path) -> None:
    variants = read_yaml(packed_recipes()[name].read_text(), name).value.get("variants", {})
    for variant in [*variants, "none"]:
        recipe = load_recipe(name, variant=variant).recipe
        assert again(recipe, tmp_path) == recipe


def test_differences_name_the_keys(toy: Path) -> None:
    recipe = load_recipe(toy).recipe

    def changed(*words: str) -> list[str]:
        return differences(recipe, load_recipe(toy, words).recipe)

    assert changed() == []
    assert changed("optim.lr=1", "augment.color_jitter.p=0") == ["augment.color_jitter.p", "optim.lr"]
    assert changed("method.name=other") == ["method.name"]
    assert changed("eval.evaluators.toy_eval=null") == ["eval.evaluators.toy_eval"]
    assert changed("data.count=8", "data.split=x") == ["data.split", "data.count"]
    assert differences(recipe, replace(recipe, seed=1)) == ["seed"]


def test_explain_has_every_key_with_its_value_and_meaning(toy: Path) -> None:
    recipe = load_recipe(toy, ["augment.color_jitter.p=[1, 0]", "trackers=[toy_tracker]"]).recipe
    rows = {key: (value, meaning) for key, value, meaning in explain(recipe)}
    assert rows["method.name"] == ("toy", "What one step computes.")
    assert rows["method.width"] == (4, "Width, >= 1.")
    assert rows["augment.color_jitter.p"] == ([1.0, 0.0], "Probability.")
    assert rows["data.count"] == (7, "Images.")
    assert rows["optim.clip.norm"][0] == 3.0
    assert rows["eval.evaluators.toy_eval.k"] == ([3], "Neighbours.")
    assert rows["trackers"][0] == [{"name": "toy_tracker", "project": "toy"}]
    assert rows["backbone.args"][1].endswith("chooses how a ViT resizes its position embedding.")
    assert [key for key, (_, meaning) in rows.items() if not meaning] == []
    assert not any("data_config" in key for key in rows)


def _configs() -> list[type]:
    registry = Registry.load(allow="")
    sections = [value for value in vars(schema).values() if isinstance(value, type) and is_dataclass(value)]
    components = [
        registry.get(kind, name).Config
        for kind in KINDS
        if kind != "backbones"
        for name in registry.names(kind)
    ]
    return list(dict.fromkeys([*sections, *components]))


def _with_nested(cls: type) -> list[type]:
    nested = [hint for hint in hints(cls).values() if isinstance(hint, type) and is_dataclass(hint)]
    return [cls, *(found for hint in nested for found in _with_nested(hint))]


@pytest.mark.parametrize("config", _configs(), ids=lambda cls: cls.__name__)
def test_every_field_of_every_built_in_has_a_docstring(config: Any) -> None:
    for cls in _with_nested(config):
        assert [name for name in hints(cls) if not field_meanings(cls).get(name)] == [], cls.__name__


@pytest.mark.parametrize("config", _configs(), ids=lambda cls: cls.__name__)
def test_no_built_in_takes_a_key_that_every_recipe_has(config: Any) -> None:
    if config.__module__ != schema.__name__:
        assert "name" not in hints(config)
