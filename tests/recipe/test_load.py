"""Layers, name changes, typing, paths, and what is told when something does not fit."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sslkit.errors import PluginError, RecipeError, SslkitError
from sslkit.recipe.document import read_yaml
from sslkit.recipe.layers import Change
from sslkit.recipe.load import (
    changes_at,
    find_file,
    find_recipe,
    load_recipe,
    packed_recipes,
    packed_studies,
    read_data,
)
from sslkit.recipe.places import Place
from sslkit.recipe.schema import Recipe


def changed(recipe: Path, old: str, new: str) -> Path:
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))
    return recipe


def told(recipe: Any, *overrides: str, **options: Any) -> str:
    """The error, which must be one for users."""
    with pytest.raises(SslkitError) as caught:
        load_recipe(recipe, overrides, **options)
    return str(caught.value)


def load(recipe: Any, *overrides: str, **options: Any) -> Recipe:
    return load_recipe(recipe, overrides, **options).recipe


# The layers


def test_the_bare_file(toy: Path) -> None:
    loaded = load_recipe(toy)
    recipe, config = loaded.recipe, loaded.recipe.method.config
    assert (loaded.variant, loaded.notes, loaded.path) == (None, [], toy)
    assert (recipe.method.name, config.width, config.temperature, config.momentum) == ("toy", 4, 0.2, 0.9)
    assert recipe.augment.config.scale == (0.4, 1.0)
    assert recipe.augment.config.color_jitter.hue == 0.2
    assert (recipe.data.name, recipe.data.split, recipe.data_config.count) == ("toy_data", "all", 7)
    assert recipe.optim.lr == 0.001
    assert list(recipe.eval.evaluators) == ["toy_eval"]
    assert recipe.eval.evaluators["toy_eval"].k == [3]
    assert recipe.plugins == [str(toy.parent / "toy_plugin.py")]


def test_a_variant_and_then_the_command_line(toy: Path) -> None:
    recipe = load(toy, "method.width=128", variant="wide")
    assert (recipe.method.config.width, recipe.method.config.temperature, recipe.optim.lr) == (128, 0.2, 0.5)


def test_the_default_variant_and_none(toy: Path) -> None:
    changed(toy, "default_variant: null", "default_variant: wide")
    assert load_recipe(toy).variant == "wide"
    assert load_recipe(toy, variant="none").variant is None
    assert load(toy, variant="none").method.config.width == 4
    assert load_recipe(toy, variant="swap").variant == "swap"


def test_a_mapping_is_a_recipe_too(toy: Path) -> None:
    plugin = str(toy.parent / "toy_plugin.py")
    given = {"sslkit": 1, "plugins": [plugin], "method": {"name": "toy"}, "augment": {"name": "toy_views"}}
    given |= {"data": {"name": "toy_data", "table": Path("x")}, "eval": {"evaluators": {"knn": None}}}
    loaded = load_recipe(given, ["method.width=3"])
    assert (loaded.path, loaded.recipe.method.config.width) == (None, 3)
    assert loaded.recipe.data_config.table == Path("x").absolute()
    assert given["method"] == {"name": "toy"}
    assert told(given | {"seed": {1, 2}}).startswith("the recipe, line 1: 'seed' is {1, 2}, a set")


def test_the_last_of_two_overrides_wins(toy: Path) -> None:
    assert load(toy, "optim.lr=1", "optim.lr=2").optim.lr == 2


def test_mappings_merge_and_lists_replace(toy: Path) -> None:
    recipe = load(toy, "augment.color_jitter={p: [0.1, 1]}", "eval.evaluators.toy_eval.k=[9, 8]")
    assert recipe.augment.config.color_jitter.p == [0.1, 1.0]
    assert recipe.augment.config.color_jitter.hue == 0.2
    assert recipe.eval.evaluators["toy_eval"].k == [9, 8]


def test_null_removes_an_evaluator_and_keys_bring_it_back(toy: Path) -> None:
    assert load(toy, "eval.evaluators.toy_eval=null").eval.evaluators == {}
    again = load(toy, "eval.evaluators.toy_eval=null", "eval.evaluators.toy_eval.limit=2")
    assert again.eval.evaluators["toy_eval"].k == [1, 5]
    assert load(toy, "backbone.args={a: 1}", "backbone.args=null", "backbone.args.b=2").backbone.args == {
        "b": 2
    }


def test_knn_is_there_unless_it_is_removed(toy: Path) -> None:
    changed(toy, "knn: null, ", "")
    assert list(load(toy).eval.evaluators) == ["knn", "toy_eval"]
    assert list(load(toy, "eval.evaluators.knn=null").eval.evaluators) == ["toy_eval"]


def test_trackers_by_name_or_with_keys(toy: Path) -> None:
    recipe = load(toy, "trackers=[toy_tracker, {name: toy_tracker, project: mine}]")
    assert [(t.name, t.config.project) for t in recipe.trackers] == [
        ("toy_tracker", "toy"),
        ("toy_tracker", "mine"),
    ]


# Changing a name


def test_a_changed_name_keeps_what_fits_and_tells_what_it_drops(toy: Path) -> None:
    loaded = load_recipe(toy, ["method.name=other", "augment.name=other_views", "data.name=other_data"])
    recipe = loaded.recipe
    assert (recipe.method.config.width, recipe.method.config.queue) == (4, 32)
    assert (recipe.augment.config.size, recipe.augment.config.color_jitter.p) == (24, 0.3)
    assert (recipe.data.split, recipe.data_config.column) == ("all", "image")
    assert loaded.notes == [
        "method.name is now other instead of toy: dropped temperature, which other does not have",
        "augment.name is now other_views instead of toy_views: dropped color_jitter.hue, which other_views"
        " does not have",
        "data.name is now other_data instead of toy_data: dropped count, which other_data does not have",
    ]


def test_keys_given_with_or_after_the_name_must_exist(toy: Path) -> None:
    assert load(toy, variant="swap").method.config.queue == 9
    assert load(toy, "method.queue=3", "method.name=other").method.config.queue == 3
    for words in (
        ("method.name=other", "method.temperature=1"),
        ("method.temperature=1", "method.name=other"),
    ):
        assert told(toy, *words).startswith(
            "there is no key 'method.temperature' (given on the command line)"
        )
    assert "there is no key 'method.momentum'" in told(toy, "method.momentum=1", variant="swap")


def test_the_same_name_again_changes_nothing(toy: Path) -> None:
    loaded = load_recipe(toy, ["method.name=toy"])
    assert loaded.recipe.method.config.temperature == 0.2
    assert loaded.notes == []
    changed(toy, "temperature: 0.2", "temprature: 0.2")
    assert "there is no key 'method.temprature'" in told(toy, "method.name=toy")


def test_there_and_back_starts_from_the_defaults(toy: Path) -> None:
    recipe = load(toy, "method.name=toy", variant="swap")
    assert (recipe.method.config.width, recipe.method.config.temperature) == (4, 0.1)


def test_another_backbone_drops_weights_and_arguments_of_the_old(toy: Path) -> None:
    args = "args: {depth: 3, pos_embed_resize: dino, img_size: 9}"
    changed(toy, "{name: toy_net}", "{name: vit_pocket, weights: w, drop_path_rate: 0.3, " + args + "}")
    loaded = load_recipe(toy, ["backbone.name=toy_net"])
    assert loaded.recipe.backbone.args == {"depth": 3, "pos_embed_resize": "dino"}
    assert (loaded.recipe.backbone.weights, loaded.recipe.backbone.drop_path_rate) == (None, 0.3)
    assert "dropped weights, args.img_size" in loaded.notes[0]


def test_evaluation_data_of_its_own(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_recipe(toy, ["eval.data={name: other_data, root: there, column: c}"])
    assert loaded.recipe.eval.data is not None
    section, config = read_data(loaded.recipe.eval.data, loaded.registry)
    assert (section.name, section.root, section.split, config.column) == (
        "other_data",
        str(tmp_path / "there"),
        "train",
        "c",
    )
    assert "there is no key 'eval.data.colum'" in told(toy, "eval.data.name=other_data", "eval.data.colum=c")
    assert "'eval.data.labels' is 'x'" in told(toy, "eval.data.name=other_data", "eval.data.labels=x")


# Paths


def test_where_relative_paths_count_from(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    changed(toy, "count: 7", "root: photos, count: 7")
    recipe = load(toy, "backbone.weights=w/backbone.safetensors")
    assert recipe.data.root == str(elsewhere / "photos")
    assert recipe.backbone.weights == str(elsewhere / "w" / "backbone.safetensors")
    assert recipe.plugins == [str(tmp_path / "toy_plugin.py")]
    assert load(toy, "data.root=s3://bucket/x").data.root == "s3://bucket/x"
    (elsewhere / "mine.py").write_text((tmp_path / "toy_plugin.py").read_text())
    assert load(toy, "plugins=[./mine.py]").plugins == [str(elsewhere / "mine.py")]
    assert load(toy, plugins=["mine.py"]).plugins == [
        str(tmp_path / "toy_plugin.py"),
        str(elsewhere / "mine.py"),
    ]


def test_plugins_that_are_missing_or_refused(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toy.parent
    monkeypatch.chdir(folder)
    message = told(toy, plugins=["nix.py"])
    assert message == (
        "the plugin file 'nix.py' does not exist (given on the command line)\n"
        f"  looked for {folder / 'nix.py'}"
    )
    assert "--no-plugin" in told(toy, no_plugins=["toy_plugin.py"])
    changed(toy, "plugins: [./toy_plugin.py]", "plugins:\n- ./toy_plugin.py\n- ./nix.py")
    assert told("toy.yaml") == (
        f"toy.yaml, line 5: the plugin file './nix.py' does not exist\n  looked for {folder / 'nix.py'}"
    )


def test_a_packed_recipe_is_found_from_anywhere(tmp_path: Path) -> None:
    code = "from sslkit.recipe.load import find_recipe; print(find_recipe('dino_vits8'))"
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).read_text().startswith("# DINO")


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    for name in ("dino_vits9", "recipes/dino_vits8.yml"):
        with pytest.raises(
            RecipeError, match=f"(?s)no recipe '{name}'.*mean 'dino_vits8'.*recipes: .*dino_vits16"
        ):
            find_recipe(name)
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(
        RecipeError, match=f"is a folder, not a recipe\n  did you mean '{tmp_path}/recipe.yaml'"
    ):
        find_recipe(tmp_path)


# What is told

WRONG_ON_THE_COMMAND_LINE = {
    "augment.color_jiter.p=0": "there is no key 'augment.color_jiter' (given on the command line)\n"
    "  did you mean 'augment.color_jitter'?\n"
    "  keys of 'augment' (toy_views): size, scale, color_jitter, flip, extra",
    "augment.color_jitter.hu=0": "there is no key 'augment.color_jitter.hu' (given on the command line)\n"
    "  did you mean 'augment.color_jitter.hue'?\n  keys of 'augment.color_jitter': p, hue",
    "metod.width=1": "there is no key 'metod' (given on the command line)\n  did you mean 'method'?",
    "optim.lr=fast": "'optim.lr' is 'fast', but must be a number (given on the command line)",
    "optim.lr=true": "'optim.lr' is true, but must be a number",
    "optim.epochs=1.5": "'optim.epochs' is 1.5, but must be a whole number",
    "optim.epochs=null": "'optim.epochs' is null, but must be a whole number",
    "optim.lr=[1]": "'optim.lr' is [1], but must be a number",
    "optim.lr=.nan": "'optim.lr' is nan, but must be >= 0",
    "optim.lr=.inf": "'optim.lr' is inf, but must be >= 0",
    "optim.lr=-1": "'optim.lr' is -1.0, but must be >= 0",
    "optim.lr": "'optim.lr' is not of the form key=value (given on the command line)",
    "=3": "'=3' is not of the form key=value",
    "backbone.args={depth:2}": "a key of 'backbone.args' is 'depth:2', without a value",
    "optim.lr=[1": "'[1' cannot be read: this is not YAML",
    "optim=3": "'optim' is 3, but must be a mapping",
    "optim.clip=null": "'optim.clip' is null, but must be a mapping",
    "optim.clip.mode=globl": "'optim.clip.mode' is 'globl', but must be one of per_parameter, global, none"
    " (given on the command line)\n  did you mean 'global'?",
    "optim.clip.norm=0": "'optim.clip.norm' is 0.0, but must be > 0",
    "optim.name=adamx": "'optim.name' is 'adamx', which timm does not know",
    "optim.accumulate=3": "'optim.accumulate' is 3, but must divide the batch of 4",
    "optim.batch_size=0": "'optim.batch_size' is 0, but must be >= 1",
    "backbone.name=vit_smal_patch8_224": "'backbone.name' is 'vit_smal_patch8_224', which neither timm nor a"
    " plugin provides (given on the command line)\n  did you mean 'vit_small_patch8_224'?",
    "backbone.drop_path_rate=2": "'backbone.drop_path_rate' is 2.0, but must be from 0 to 1",
    "method=toy": "'method' is 'toy', but must be a mapping",
    "method.name=dyno": "'method.name' is 'dyno', which no plugin provides (given on the command line)\n"
    "  did you mean 'dino'?  methods: ",
    "method.width=-1": "'method.width' is -1, but must be >= 1 (given on the command line)",
    "data.name=toy_dat": "'data.name' is 'toy_dat', which no plugin provides",
    "data.labels=no": "'data.labels' is false, but must be a word (given on the command line)\n"
    "  put it in quotes",
    "data.labels=folder": "'data.labels' is 'folder', but must be one of auto, folders, none",
    "data.mean=[0, 1]": "'data.mean' has 2 values, but must have one for each of the 3 channels",
    "data.std=[0, 1, 1]": "'data.std' is [0.0, 1.0, 1.0], but each must be > 0",
    "data.workers=-1": "'data.workers' is -1, but must be >= 0",
    "data.root=${oc.env:HOME}": "'data.root' is '${oc.env:HOME}': no value can refer to another",
    "runtime.device=gpu": "'runtime.device' is 'gpu', but must be auto, cpu, cuda, cuda:N or mps",
    "runtime.precision=fp8": "'runtime.precision' is 'fp8', but must be one of auto, fp32, bf16, fp16",
    "runtime.strategy=ddp": "'runtime.strategy' is 'ddp'",
    "health.on_collapse=ignore": "'health.on_collapse' is 'ignore'",
    "checkpoint.keep=0": "'checkpoint.keep' is 0, but must be >= 1",
    "eval.crop=64": "'eval.crop' is 64, but must be at most 'eval.resize', 32",
    "eval.evaluators.toy_evil.k=[1]": "'eval.evaluators' is 'toy_evil', which no plugin provides",
    "eval.evaluators.toy_eval.k=5": "'eval.evaluators.toy_eval.k' is 5, but must be a list of whole numbers",
    "eval.evaluators.toy_eval.k=[1, a]": "'eval.evaluators.toy_eval.k[1]' is 'a', but must be a whole number",
    "eval.evaluators.toy_eval.limit=x": "'eval.evaluators.toy_eval.limit' is 'x', but must be a whole number"
    " or null",
    "augment.scale=[1]": "'augment.scale' is [1], but must be a list of 2 numbers",
    "augment.color_jitter.p=x": "'augment.color_jitter.p' is 'x', but must be a number or a list of numbers",
    "augment.color_jitter.p=[x]": "'augment.color_jitter.p[0]' is 'x', but must be a number",
    "augment.extra=[3]": "'augment.extra[0]' is 3, but must be a mapping",
    "trackers=toy_tracker": "'trackers' is 'toy_tracker', but must be a list",
    "trackers=[toy_traker]": "'trackers[0].name' is 'toy_traker', which no plugin provides",
    "trackers=[{name: toy_tracker, projct: 1}]": "there is no key 'trackers[0].projct'",
    "expect.metrics={toy_eval.a: 0.9}": "'expect.metrics.toy_eval.a' is 0.9, but must be a list of numbers",
    "expect.metrics={toy_eval.a: [0.9]}": "'expect.metrics.toy_eval.a' is [0.9], but must be the lowest and"
    " the highest value that is expected, two finite numbers (given on the command line)\n  such as",
    "expect.metrics={toy_eval.a: [0.9, 0.8]}": "'expect.metrics.toy_eval.a' is [0.9, 0.8], but must be",
    "expect.metrics={toy_eval.a: [0.9, .inf]}": "'expect.metrics.toy_eval.a' is [0.9, inf], but must be",
    "expect.metrics={toy_eval.a: [.nan, 1]}": "'expect.metrics.toy_eval.a' is [nan, 1.0], but must be",
    "expect.metrics={knn.top1: [0, 1]}": "'expect.metrics' has 'knn.top1', but no such evaluator is asked"
    " during the run (given on the command line)\n  valid: toy_eval.METRIC; to ask another:",
    "expect.metrics={toy_eval: [0, 1]}": "'expect.metrics' has 'toy_eval', but a metric is EVALUATOR.METRIC",
    "expect.versions.torch=2.14": "'expect.versions.torch' is 2.14, but must be a word (given on the command"
    " line)\n  put it in quotes",
    "expect.seeds=[a]": "'expect.seeds[0]' is 'a', but must be a whole number",
    "expect.toy=[0, 1]": "there is no key 'expect.toy' (given on the command line)\n  keys of 'expect': ",
    "name=a/b": "'name' is 'a/b', but must be a word that can name a folder",
    "plugins.a=1": "'plugins' is a list, which has no key 'a'",
    "sslkit=2": "'sslkit' cannot be overridden",
    "variants.wide=null": "'variants' cannot be overridden",
}


@pytest.mark.parametrize("word", WRONG_ON_THE_COMMAND_LINE)
def test_a_wrong_override(toy: Path, word: str) -> None:
    message = told(toy, word)
    assert message.startswith(WRONG_ON_THE_COMMAND_LINE[word])
    assert message.partition("\n")[0].endswith(" (given on the command line)")


WRONG_IN_THE_FILE = [
    (
        "method: {",
        "metod: {",
        "toy.yaml, line 4: there is no key 'metod'\n  did you mean 'method'?\n  keys of a recipe: ",
    ),
    ("  lr: 1e-3", "  lr: fast", "toy.yaml, line 13: 'optim.lr' is 'fast', but must be a number"),
    ("width: 4", "width: -1", "toy.yaml, line 4: 'method.width' is -1, but must be >= 1"),
    ("name: toy,", "name: dyno,", "toy.yaml, line 4: 'method.name' is 'dyno', which no plugin provides\n"),
    (
        "  size: 24",
        "  sise: 24",
        "toy.yaml, line 8: there is no key 'augment.sise'\n  did you mean 'augment.size'?\n",
    ),
    (
        "temperature: 0.2",
        "momentum: 0.1",
        "toy.yaml, line 4: 'method': momentum and temperature may not be the same",
    ),
    (
        "split: all",
        "split: 1.10",
        "toy.yaml, line 10: 'data.split' is 1.1, but must be a word\n  put it in quotes",
    ),
    ("toy_eval: {k: [3]}", "toy_eval: {k: 3}", "toy.yaml, line 14: 'eval.evaluators.toy_eval.k' is 3"),
    ("  lr: 1e-3", "  batch_size: 8", "toy.yaml, line 13: the key 'batch_size' stands here a second time"),
    ("  lr: 1e-3", " lr: 1e-3", "toy.yaml, line 13: this is not YAML"),
    (
        "sslkit: 1",
        "sslkit: 2",
        "toy.yaml, line 1: 'sslkit' is 2, but this sslkit reads recipes of format 1\n  upgrade",
    ),
    ("sslkit: 1", "sslkit: one", "toy.yaml, line 1: 'sslkit' is 'one', but must be 1"),
    (
        "sslkit: 1",
        "sslkt: 1",
        "toy.yaml has no 'sslkit: 1', the version of the recipe format\n  did you mean it by 'sslkt'",
    ),
    (
        "default_variant: null",
        "default_variant: wid",
        "toy.yaml, line 21: there is no variant 'wid'\n  did you mean 'wide'?",
    ),
    (
        "plugins: [./toy_plugin.py]",
        "plugins: ./toy_plugin.py",
        "toy.yaml, line 3: 'plugins' is './toy_plugin.py', but must",
    ),
]


@pytest.mark.parametrize(("old", "new", "start"), WRONG_IN_THE_FILE)
def test_a_wrong_line_in_the_file(
    toy: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, start: str
) -> None:
    monkeypatch.chdir(toy.parent)
    changed(toy, old, new)
    assert told("toy.yaml").startswith(start)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "toy.yaml is empty, but a recipe is a mapping"),
        ("- a\n", "toy.yaml holds ['a'], but a recipe is a mapping"),
        ("sslkit: 1\nvariants: [a]\n", "toy.yaml, line 2: 'variants' must be a mapping"),
        ("sslkit: 1\nvariants: {none: {}}\n", "toy.yaml, line 2: 'variants' must be a mapping"),
        ("sslkit: 1\nvariants: {a: 3}\ndefault_variant: a\n", "toy.yaml, line 2: variant a is 3"),
        (
            "sslkit: 1\nvariants:\n  a: {sslkit: 1}\ndefault_variant: a\n",
            "toy.yaml, line 3: variant a cannot change",
        ),
    ],
)
def test_files_that_are_no_recipe(toy: Path, monkeypatch: pytest.MonkeyPatch, text: str, start: str) -> None:
    monkeypatch.chdir(toy.parent)
    toy.write_text(text)
    assert told("toy.yaml").startswith(start)


def test_a_file_of_other_bytes(toy: Path) -> None:
    toy.write_bytes(b"\xff\xfe\x00\x01sslkit: 1")
    assert "cannot be read" in told(toy)


def test_faults_in_a_variant_are_told_with_its_line(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.parent)
    changed(toy, "method: {width: 64}", "method: {widht: 64}")
    assert told("toy.yaml", variant="wide").startswith(
        "toy.yaml, line 17: there is no key 'method.widht' (variant wide)\n  did you mean 'method.width'?"
    )
    changed(toy, "optim.lr: 0.5", "optim.lr: fast")
    changed(toy, "widht", "width")
    assert told("toy.yaml", variant="wide").startswith("toy.yaml, line 18: 'optim.lr' is 'fast'")
    assert told("toy.yaml", variant="wid") == (
        "there is no variant 'wid' (given on the command line)\n  did you mean 'wide'?\n"
        "  variants: wide, swap, none"
    )


def test_a_failed_plugin_that_nobody_asked_for_is_a_note(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "toy_failing-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-failing\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[sslkit]\nx = toy_failing_module_that_is_absent\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", "toy-failing,*.py")
    assert load_recipe(toy).notes == [
        "plugin toy-failing failed and is left out: ModuleNotFoundError: No module named"
        " 'toy_failing_module_that_is_absent'"
    ]
    with pytest.raises(PluginError, match="toy-failing is asked for, but cannot be loaded"):
        load_recipe(toy, plugins=["toy-failing"])


# Studies, which lay further layers over a recipe


def layer(place: str, **values: Any) -> list[Change]:
    """Changes by dotted key, with __ for the dot."""
    return [Change(tuple(key.split("__")), value, lambda _: Place(place)) for key, value in values.items()]


def test_layers_lie_between_the_variant_and_the_command_line(toy: Path) -> None:
    layers = [layer("study", method__width=5, optim__lr=0.25, seed=1), layer("arm", method__width=6)]
    recipe = load(toy, "seed=2", variant="wide", layers=layers)
    assert (recipe.method.config.width, recipe.optim.lr, recipe.seed) == (6, 0.25, 2)
    assert load(toy, layers=[[], layer("arm", method={"width": 7})]).method.config.temperature == 0.2


def test_a_layer_that_names_another_component_starts_its_section_again(toy: Path) -> None:
    layers = [layer("study", method__temperature=0.3), layer("arm", method__queue=3, method__name="other")]
    loaded = load_recipe(toy, layers=layers)
    assert (loaded.recipe.method.config.width, loaded.recipe.method.config.queue) == (4, 3)
    assert loaded.notes == [
        "method.name is now other instead of toy: dropped temperature, which other does not have"
    ]


def test_a_fault_in_a_layer_is_told_with_its_place(toy: Path) -> None:
    assert told(toy, layers=[layer("s.yaml, line 3", method__widht=1)]).startswith(
        "s.yaml, line 3: there is no key 'method.widht'\n  did you mean 'method.width'?"
    )
    layers = [layer("s.yaml, line 3", method__width=0), layer("s.yaml, line 4", method__width=-1)]
    assert told(toy, layers=layers).startswith("s.yaml, line 4: 'method.width' is -1, but must be >= 1")


CHANGES = """\
arms:
  dotted: {optim.lr: 1, method: {width: 2}}
  nothing:
  empty: {}
  word: 3
  other:
    optim.lr: 1
    optim.variants: 1
  fixed:
    optim.lr: 1
    variants.wide: null
"""


def test_changes_that_a_file_holds_somewhere() -> None:
    document = read_yaml(CHANGES, "s.yaml")
    found = changes_at(document, ("arms", "dotted"), "arm dotted")
    assert [(change.path, change.value) for change in found] == [
        (("optim", "lr"), 1),
        (("method",), {"width": 2}),
    ]
    assert found[1].place_of(("method", "width")) == Place("s.yaml, line 2", "arm dotted")
    for name in ("nothing", "empty"):
        assert changes_at(document, ("arms", name), "") == []
    other = changes_at(document, ("arms", "other"), "arm other")
    assert [change.place_of(change.path).before for change in other] == ["s.yaml, line 7", "s.yaml, line 8"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("word", "s.yaml, line 5: arm word is 3, but must be a mapping of changes"),
        (
            "fixed",
            "s.yaml, line 11: arm fixed cannot change 'variants', which only the file of a recipe can give"
            "\n  leave it out",
        ),
    ],
)
def test_changes_that_are_none(name: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        changes_at(read_yaml(CHANGES, "s.yaml"), ("arms", name), f"arm {name}")
    assert str(caught.value) == message


def test_packed_studies_are_no_recipes() -> None:
    studies, recipes = packed_studies(), packed_recipes()
    assert {"smoke", "temperature", "augmentations"} <= studies.keys()
    assert {"dino_pocket", "methods/byol"} <= recipes.keys()
    assert not set(studies.values()) & set(recipes.values())
    assert not any(name.startswith("ablations") for name in (*studies, *recipes))
    for name, file in studies.items():
        assert file.read_text().count("sslkit_study: 1\n") == 1
        assert find_file(name, "study", studies) == file


def test_a_study_that_is_given_as_a_recipe(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.parent)
    Path("mine.yaml").write_text("sslkit_study: 1\nbase: toy.yaml\n")
    assert told("mine.yaml") == "mine.yaml is a study, not a recipe\n  sslkit ablate mine.yaml"
    for name in ("smoke", "ablations/smoke"):
        assert told(name) == f"'{name}' is a study, not a recipe\n  sslkit ablate smoke"
    Path("smoke").write_text(toy.read_text())  # a file of one's own comes first
    assert load("smoke").method.name == "toy"


def test_studies_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        find_file("smoker", "study", packed_studies())
    assert str(caught.value).startswith(
        "there is no study 'smoker', neither a file nor a packed one\n  did you mean 'smoke'?\n  studies: aug"
    )
    (tmp_path / "study.yaml").touch()
    with pytest.raises(
        RecipeError, match=f"is a folder, not a study\n  did you mean '{tmp_path}/study.yaml'"
    ):
        find_file(tmp_path, "study", packed_studies())
