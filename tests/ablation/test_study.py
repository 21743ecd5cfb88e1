"""Study files: what they say, and what is told when something in them does not fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ablation.studies import STUDY, read, write_study

from sslkit.ablation.study import Study, as_yaml, read_study
from sslkit.errors import SslkitError
from sslkit.recipe.load import packed_studies


def told(study: Path | str, *overrides: str, **how: Any) -> str:
    """The error, which must be one for users."""
    with pytest.raises(SslkitError) as caught:
        read_study(study, overrides, **how)
    return str(caught.value)


def changed(old: str, new: str) -> str:
    assert STUDY.count(old) == 1
    return STUDY.replace(old, new)


def names(study: Study) -> list[str]:
    return [arm.name for arm in study.arms]


# What a study says


def test_arms_by_name_beside_the_baseline(tmp_path: Path) -> None:
    study = read(tmp_path, STUDY)
    baseline, sharp, no_flip = study.arms
    assert names(study) == ["baseline", "sharp", "no_flip"]
    assert (study.name, study.seeds, study.baseline) == ("crops", [0, 1], baseline)
    assert [arm.recipe.optim.lr for arm in study.arms] == [0.001] * 3
    assert [arm.recipe.method.config.teacher_temperature for arm in study.arms] == [0.04, 0.02, 0.04]
    assert baseline.differs_in == {}
    assert sharp.differs_in == {"method.teacher_temperature": (0.04, 0.02)}
    assert no_flip.differs_in == {"augment.flip.p": (0.5, 0)}
    assert [(m.name, m.measured, m.better) for m in study.metrics] == [
        ("knn.top1_k3", "end", "higher"),
        ("knn.top1_k3", "area", "higher"),
    ]
    assert all(arm.points == {} for arm in study.arms)


def test_only_what_was_written_is_needed(tmp_path: Path) -> None:
    evaluators = {"evaluators": {"knn": {"k": [10]}}}
    path = write_study(
        tmp_path, "sslkit_study: 1\nbase: base.yaml\narms: {a: {optim.lr: 1}}\n", eval=evaluators
    )
    study = read_study(path)
    assert (study.name, study.seeds, names(study)) == ("study", [0, 1, 2], ["baseline", "a"])
    assert [metric.name for metric in study.metrics] == ["knn.top1_k10"]


def test_the_command_line_is_above_all_arms(tmp_path: Path) -> None:
    study = read(tmp_path, STUDY, "optim.lr=0.5", "data.root=elsewhere", seeds=[7])
    assert [arm.recipe.optim.lr for arm in study.arms] == [0.5] * 3
    assert study.seeds == [7]
    assert {arm.recipe.seed for arm in study.arms} == {7}


def test_a_variant_of_the_base_and_the_bare_file(tmp_path: Path) -> None:
    variants = {"variants": {"wide": {"method.out_dim": 32}}, "default_variant": "wide"}
    for said, out_dim in (("", 32), ("variant: none\n", 16), ("variant: wide\n", 32)):
        study = read_study(write_study(tmp_path, said + STUDY, **variants))
        assert {arm.recipe.method.config.out_dim for arm in study.arms} == {out_dim}


def test_the_base_is_a_packed_recipe_or_a_file_beside_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = "sslkit_study: 1\nbase: dino_pocket\narms: {a: {optim.lr: 1}}\n"
    study = read(tmp_path, packed)
    assert study.baseline.recipe.backbone.name == "vit_pocket"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write_study(tmp_path)
    assert read_study("../study.yaml").baseline.recipe.backbone.args["depth"] == 2


def test_a_plugin_of_an_arm_lies_beside_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = "from sslkit.hookspecs import hookimpl\nfrom sslkit.methods.byol import BYOL\n\n\n@hookimpl\n"
    plugin += "def sslkit_methods():\n    return {'mine': BYOL}\n"
    studies = tmp_path / "studies"
    studies.mkdir()
    (studies / "mine.py").write_text(plugin)
    write_study(tmp_path)
    arms = "arms: {mine: {plugins: [mine.py], method: {name: mine}}}\n"
    grid = "grid: {axes: {whose: {mine: {plugins: [./mine.py], method: {name: mine}}}}}\n"
    start = "sslkit_study: 1\nbase: ../base.yaml\nmetrics: [{name: knn.top1_k3}]\n"
    monkeypatch.chdir(tmp_path)
    for said in (arms, grid):
        (studies / "s.yaml").write_text(start + said)
        study = read_study("studies/s.yaml")
        assert study.arms[1].recipe.method.name == "mine"
        assert study.arms[1].recipe.plugins == [str(studies / "mine.py")]


def test_an_arm_of_another_method_drops_the_keys_of_the_old(tmp_path: Path) -> None:
    byol = "  byol: {method.hidden_dim: 8, method: {name: byol, out_dim: 4}}\n"
    arm = read(tmp_path, changed("metrics:\n", byol + "metrics:\n")).arms[-1]
    assert (arm.recipe.method.config.hidden_dim, arm.recipe.method.config.out_dim) == (8, 4)
    assert arm.differs_in["method.name"] == ("dino", "byol")
    assert "dropped bottleneck_dim, which byol does not have" in arm.loaded.notes[-1]


def test_a_study_as_yaml_runs_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = "grid: {mode: full, axes: {optim.lr: [0.1, 0.2], seen: {few: {augment.local_count: 0}}}}\n"
    written = read(tmp_path, STUDY + grid, "method.out_dim=8", seeds=[3])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "again.yaml").write_text(as_yaml(written))
    monkeypatch.chdir(tmp_path / "b")
    again = read_study("again.yaml")
    assert [(a.name, a.recipe, a.points) for a in again.arms] == [
        (a.name, a.recipe, a.points) for a in written.arms
    ]
    assert (again.name, again.seeds, again.metrics) == (written.name, [3], written.metrics)


def test_as_yaml_the_command_line_still_has_the_last_word(tmp_path: Path) -> None:
    arms = "  both: {method: {teacher_temperature: 0.03, out_dim: 8}, optim.lr: 1}\n"
    grid = "grid: {axes: {how: {fast: {optim: {lr: 2}, augment.flip.p: 0.1}, as_it_is: }}}\n"
    text = changed("metrics:\n", arms + grid + "metrics:\n")
    written = read(tmp_path, text, "optim.lr=0.5", "method.out_dim=4", "data.workers=1")
    (tmp_path / "again.yaml").write_text(as_yaml(written))
    again = read_study(tmp_path / "again.yaml")
    assert [(a.name, a.recipe) for a in again.arms] == [(a.name, a.recipe) for a in written.arms]
    assert {(a.recipe.optim.lr, a.recipe.method.config.out_dim) for a in again.arms} == {(0.5, 4)}
    assert as_yaml(written).count("data.workers") == 1  # where no arm has a word on it, it is said once


def test_as_yaml_plugins_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "yours"):
        code = "from sslkit.hookspecs import hookimpl\nfrom sslkit.methods.byol import BYOL\n\n\n@hookimpl\n"
        (tmp_path / f"{name}.py").write_text(f"{code}def sslkit_methods():\n    return {{'{name}': BYOL}}\n")
    arms = "arms: {mine: {plugins: [mine.py], method: {name: mine}}, yours: {method: {name: yours}}}\n"
    text = "sslkit_study: 1\nbase: base.yaml\nmetrics: [{name: knn.top1_k3}]\n"
    written = read(tmp_path, text + arms, plugins=["yours.py"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "again.yaml").write_text(as_yaml(written))
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = read_study("again.yaml")
    assert [arm.recipe.method.name for arm in again.arms] == ["dino", "mine", "yours"]
    assert again.arms[2].recipe.plugins == [str(tmp_path / "yours.py")]


@pytest.mark.parametrize("name", packed_studies())
def test_every_packed_study_resolves(name: str) -> None:
    study = read_study(name)
    assert study.name == name
    assert study.section.title
    assert len(study.seeds) >= 2
    assert all(arm.differs_in for arm in study.arms[1:])
    assert len({str(arm.recipe) for arm in study.arms}) == len(study.arms)


def test_a_packed_study_takes_other_images(tmp_path: Path) -> None:
    study = read_study("temperature", ["data.name=folder", f"data.root={tmp_path}"])
    assert {arm.recipe.data.root for arm in study.arms} == {str(tmp_path)}


# What is told

WRONG = [
    (
        "name: crops",
        "nme: crops",
        2,
        "there is no key 'nme'\n  did you mean 'name'?\n  keys of a study: base, ",
    ),
    ("name: crops", "name: [a]", 2, "'name' is ['a'], but must be a word"),
    ("name: crops", "name: my study", 2, "'name' is 'my study', but must be a word that can name a folder"),
    ("name: crops", "baseline: a/b", 2, "'baseline' is 'a/b', but must be a word that can name a folder"),
    (
        "name: crops",
        "variant: wide",
        2,
        "'variant' is 'wide', which base.yaml does not have\n  variants: none",
    ),
    ("base: base.yaml", "base: bse.yaml", 3, "'base' is 'bse.yaml', but there is neither "),
    ("base: base.yaml", "base: dino_poket", 3, "'base' is 'dino_poket', but there is neither "),
    (
        "seeds: [0, 1]",
        "seeds: []",
        4,
        "'seeds' is [], but must be one or more different whole numbers from 0",
    ),
    ("seeds: [0, 1]", "seeds: [0, -1]", 4, "'seeds' is [0, -1], but must be one or more different"),
    ("seeds: [0, 1]", "seeds: [1, 0, 1]", 4, "'seeds' is [1, 0, 1], but must be one or more different"),
    ("seeds: [0, 1]", "seeds: 3", 4, "'seeds' is 3, but must be a list of whole numbers"),
    ("seeds: [0, 1]", "seeds: [a]", 4, "'seeds[0]' is 'a', but must be a whole number"),
    (
        "{optim.lr: 0.001}",
        "{optim.lrr: 1}",
        5,
        "there is no key 'optim.lrr' (the study)\n  did you mean 'optim",
    ),
    ("{optim.lr: 0.001}", "fast", 5, "'overrides' is 'fast', but must be a mapping"),
    (
        "{optim.lr: 0.001}",
        "{seed: 1}",
        5,
        "'seed' cannot be changed, since all arms run with the study's seeds",
    ),
    ("sharp: {", "so sharp: {", 7, "the name of an arm is 'so sharp', but must be a word that can name a"),
    ("sharp: {", "a/b: {", 7, "the name of an arm is 'a/b', but must be a word that can name a folder"),
    ("sharp: {", ".a: {", 7, "the name of an arm is '.a', but must be a word that can name a folder"),
    ("sharp: {", "baseline: {", 7, "there are two arms of the name 'baseline'\n  rename one of them"),
    (
        "sharp: {",
        "Baseline: {",
        7,
        "there are two arms 'baseline' and 'Baseline', which a folder's name does not",
    ),
    ("sharp: {method.teacher_temperature: 0.02}", "sharp: 3", 7, "arm sharp is 3, but must be a mapping of"),
    (
        "teacher_temperature: 0.02",
        "teacher_temperatur: 1",
        7,
        "there is no key 'method.teacher_temperatur' (arm",
    ),
    (
        "teacher_temperature: 0.02",
        "teacher_temperature: hot",
        7,
        "'method.teacher_temperature' is 'hot', but",
    ),
    ("teacher_temperature: 0.02", "out_dim: 1", 7, "'method.out_dim' is 1, but must be >= 2 (arm sharp)"),
    (
        "method.teacher_temperature: 0.02",
        "seed: 5",
        7,
        "'seed' cannot be changed, since all arms run with the",
    ),
    ("method.teacher_temperature: 0.02", "variants: {}", 7, "arm sharp cannot change 'variants', which only"),
    (
        "method.teacher_temperature: 0.02",
        "sslkit: 1",
        7,
        "arm sharp cannot change 'sslkit', which only the file",
    ),
    (
        "augment.flip.p: 0",
        "augment.flip.p: 0.5",
        8,
        "the arm 'no_flip' changes nothing: its recipe is the base",
    ),
    (
        "augment.flip.p: 0",
        "name: other",
        8,
        "the arm 'no_flip' changes nothing: its recipe is the baseline's",
    ),
    (
        "augment.flip.p: 0",
        "method: {teacher_temperature: 0.02}",
        8,
        "the arms 'sharp' and 'no_flip' are equal:",
    ),
    (
        "augment.flip.p: 0",
        "eval.evaluators: {knn: null}",
        11,
        "the metric 'knn.top1_k3' is of an evaluator that",
    ),
    (
        "  - {name: knn.top1_k3}",
        "  - {name: kn.top1}",
        11,
        "the metric 'kn.top1' is of an evaluator that the",
    ),
    (
        "  - {name: knn.top1_k3}",
        "  - {name: knn}",
        11,
        "'metrics[0].name' is 'knn', but must be EVALUATOR.MET",
    ),
    (
        "  - {name: knn.top1_k3}",
        "  - knn.top1_k3",
        11,
        "'metrics[0]' is 'knn.top1_k3', but must be a mapping",
    ),
    (
        "measured: area",
        "measured: aria",
        12,
        "'metrics[1].measured' is 'aria', but must be one of end, best, area",
    ),
    ("measured: area", "better: more", 12, "'metrics[1].better' is 'more', but must be one of higher, lower"),
    ("measured: area", "measured: end", 10, "'metrics' has knn.top1_k3 (end) twice"),
    (
        "sslkit_study: 1",
        "sslkit_study: 2",
        1,
        "'sslkit_study' is 2, but this sslkit reads studies of format 1",
    ),
    ("sslkit_study: 1", "sslkit_study: one", 1, "'sslkit_study' is 'one', but must be 1"),
    ("sslkit_study: 1", "sslkit_study: true", 1, "'sslkit_study' is true, but must be 1"),
    ("name: crops", "name: crops\nname: twice", 3, "the key 'name' stands here a second time"),
    ("seeds: [0, 1]", "seeds: [0, 1", 5, "this is not YAML"),
]


@pytest.mark.parametrize(("old", "new", "line", "start"), WRONG)
def test_a_wrong_line_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, line: int, start: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, changed(old, new))
    assert told("study.yaml").startswith(f"study.yaml, line {line}: {start}")


MENDED: list[tuple[str, str, Sequence[str]]] = [
    ("name: crops", "nme: crops", ["did you mean 'name'?", "seeds, baseline, arms, grid, metrics"]),
    ("base: base.yaml", "base: dino_poket", ["did you mean 'dino_pocket'?", "packed: byol, "]),
    ("seeds: [0, 1]", "seeds: []", ["such as [0, 1, 2]"]),
    ("method.teacher_temperature: 0.02", "seed: 5", ["(arm sharp)", "--seeds 0,1,2"]),
    ("augment.flip.p: 0", "augment.flip.p: 0.5", ["\n  augment.flip.p: 0.5"]),
    (
        "augment.flip.p: 0",
        "method: {teacher_temperature: 0.02}",
        ["both have method: {'teacher_temperature': 0.02}", "leave one of them out"],
    ),
    ("measured: area", "measured: aria", ["did you mean 'area'?"]),
    (
        "  - {name: knn.top1_k3}",
        "  - {name: kn.top1}",
        [
            "did you mean 'knn'?",
            "valid: knn.METRIC; to ask another: eval.evaluators.NAME={} on the command line",
        ],
    ),
    ("augment.flip.p: 0", "eval.evaluators: {knn: null}", ["the arm 'no_flip' does not ask", "valid: none"]),
    ("sslkit_study: 1", "sslkit_study: 2", ["upgrade it: pip install"]),
]


@pytest.mark.parametrize(("old", "new", "words"), MENDED)
def test_how_to_mend_it_is_told(tmp_path: Path, old: str, new: str, words: Sequence[str]) -> None:
    message = told(write_study(tmp_path, changed(old, new)))
    for each in words:
        assert each in message


def without(key: str) -> str:
    values = yaml.safe_load(STUDY)
    del values[key]
    return yaml.safe_dump(values, sort_keys=False)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (without("base"), "study.yaml, line 1: 'base' must be given: the recipe that all arms change"),
        (without("arms"), "study.yaml, line 1: the study has no arm beside the baseline\n  give some under"),
        (
            without("sslkit_study"),
            "study.yaml has no 'sslkit_study: 1', the version of the study format\n  add",
        ),
        (
            "sslkit_studi: 1\n",
            "study.yaml has no 'sslkit_study: 1', the version of the study format\n  did you",
        ),
        ("", "study.yaml is empty, but a study is a mapping\n  it starts with sslkit_study: 1"),
        ("- a\n", "study.yaml holds ['a'], but a study is a mapping"),
        (
            "metrics: []\n" + without("metrics"),
            "study.yaml, line 1: 'metrics' is empty, but a study compares",
        ),
    ],
)
def test_files_that_lack_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, start: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, text)
    assert told("study.yaml").startswith(start)


def test_a_recipe_is_not_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path)
    assert told("base.yaml") == "base.yaml is a recipe, not a study\n  sslkit run base.yaml"
    assert told("temprature").startswith(
        "there is no study 'temprature', neither a file nor a packed one\n  did you mean 'temperature'?\n"
        "  studies: augmentations, "
    )


def test_faults_of_the_command_line_are_told_so(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    assert told(path, "optim.lrr=1").startswith("there is no key 'optim.lrr' (given on the command line)")
    assert told(path, "seed=1").startswith(
        "'seed' cannot be changed, since all arms run with the study's seeds (g"
    )
    for seeds in ([], [1, 1], [-1]):
        message = told(path, seeds=seeds)
        assert message.startswith(f"'seeds' is {seeds}, but must be one or more different")
        assert "(given on the command line)" in message


def test_arms_that_the_command_line_makes_equal(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    message = told(path, "method.teacher_temperature=0.03")
    assert "line 7: the arm 'sharp' changes nothing" in message
    assert "and the command line says method.teacher_temperature=0.03" in message


def test_a_fault_of_the_base_is_told_with_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, optim={"epochs": "many"})
    message = told("study.yaml")
    assert message.startswith("base.yaml, line ")
    assert ": 'optim.epochs' is 'many', but must be a whole number" in message


def test_a_misspelt_key_beside_a_new_name_is_not_dropped(tmp_path: Path) -> None:
    arm = "  byol: {method.hiden_dim: 8, method: {name: byol}}\n"
    message = told(write_study(tmp_path, changed("metrics:\n", arm + "metrics:\n")))
    assert "line 10: there is no key 'method.hiden_dim' (arm byol)" in message
