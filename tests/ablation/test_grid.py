"""Grids: which arms they make, what those are called, and where the baseline stands among them."""

from pathlib import Path

import pytest
from ablation.studies import read, write_study

from sslkit.ablation.study import Study, read_study
from sslkit.errors import RecipeError

HEAD = "sslkit_study: 1\nbase: base.yaml\nmetrics: [{name: knn.top1_k3}]\n"
TWO_AXES = """\
grid:
  mode: MODE
  axes:
    optim.lr: [0.1, 0.2]
    views:
      all: {}
      global_only: {augment: {local_count: 0}}
      flipped: {augment.flip.p: 1, augment.solarize.p: 1}
"""


def grid(folder: Path, text: str, *overrides: str) -> Study:
    return read(folder, HEAD + text, *overrides)


def told(folder: Path, text: str) -> str:
    path = write_study(folder, HEAD + text)
    with pytest.raises(RecipeError) as caught:
        read_study(path)
    return str(caught.value).removeprefix(f"{folder}/")


def points(study: Study) -> dict[str, dict[str, str]]:
    return {arm.name: dict(arm.points) for arm in study.arms}


def test_one_factor_at_a_time(tmp_path: Path) -> None:
    study = grid(tmp_path, TWO_AXES.replace("MODE", "one_factor"))
    assert points(study) == {
        "baseline": {"views": "all"},
        "lr=0.1": {"optim.lr": "lr=0.1"},
        "lr=0.2": {"optim.lr": "lr=0.2"},
        "global_only": {"views": "global_only"},
        "flipped": {"views": "flipped"},
    }
    assert [arm.recipe.optim.lr for arm in study.arms] == [0.0005, 0.1, 0.2, 0.0005, 0.0005]
    assert [arm.recipe.augment.config.local_count for arm in study.arms] == [2, 2, 2, 0, 2]
    assert study.arms[-1].differs_in.keys() == {"augment.flip.p", "augment.solarize.p"}


def test_every_combination(tmp_path: Path) -> None:
    study = grid(tmp_path, TWO_AXES.replace("MODE", "full"))
    cells = [(lr, views) for lr in ("lr=0.1", "lr=0.2") for views in ("all", "global_only", "flipped")]
    assert points(study) == {
        "baseline": {},
        **{f"{lr},{views}": {"optim.lr": lr, "views": views} for lr, views in cells},
    }
    assert [(arm.recipe.optim.lr, arm.recipe.augment.config.local_count) for arm in study.arms[1:]] == [
        (0.1, 2), (0.1, 0), (0.1, 2), (0.2, 2), (0.2, 0), (0.2, 2)
    ]  # fmt: skip
    assert study.axes == {"optim.lr": ["lr=0.1", "lr=0.2"], "views": ["all", "global_only", "flipped"]}


def test_one_factor_is_what_is_meant_where_nothing_is_said(tmp_path: Path) -> None:
    study = grid(tmp_path, TWO_AXES.replace("  mode: MODE\n", ""))
    assert len(study.arms) == 5


@pytest.mark.parametrize("name", ["baseline", "lr=0.1,all"])
def test_the_cell_that_is_the_baseline_is_run_once(tmp_path: Path, name: str) -> None:
    base = f"baseline: {name}\noverrides: {{optim.lr: 0.1}}\n"
    study = grid(tmp_path, base + TWO_AXES.replace("MODE", "full"))
    assert len(study.arms) == 6
    assert study.baseline.name == name
    assert study.baseline.points == {"optim.lr": "lr=0.1", "views": "all"}
    assert study.baseline.differs_in == {}
    assert study.baseline.changes == ()


def test_the_baseline_stands_on_each_axis_that_has_it(tmp_path: Path) -> None:
    study = grid(tmp_path, "grid: {axes: {optim.lr: [0.0005, 1], augment.local_count: [0, 2]}}\n")
    assert points(study) == {
        "baseline": {"optim.lr": "lr=0.0005", "augment.local_count": "local_count=2"},
        "lr=1": {"optim.lr": "lr=1"},
        "local_count=0": {"augment.local_count": "local_count=0"},
    }


def test_arms_by_name_stand_beside_a_grid(tmp_path: Path) -> None:
    text = "arms: {no_flip: {augment.flip.p: 0}}\ngrid: {axes: {optim.lr: [1]}}\n"
    assert points(grid(tmp_path, text)) == {
        "baseline": {},
        "no_flip": {},
        "lr=1": {"optim.lr": "lr=1"},
    }


def test_values_make_names_that_can_be_folders(tmp_path: Path) -> None:
    text = "grid: {axes: {augment.global_scale: [[0.5, 1], [0.2, 1]], data.root: [a/b, null]}}\n"
    study = grid(tmp_path, text)
    assert [arm.name for arm in study.arms[1:]] == [
        "global_scale=[0.5,1]",
        "global_scale=[0.2,1]",
        "root=a_b",
        "root=null",
    ]
    assert study.arms[1].recipe.augment.config.global_scale == [0.5, 1.0]


def test_one_axis_may_choose_the_method_for_the_keys_of_another(tmp_path: Path) -> None:
    axes = "{method.name: [byol, simclr], method.hidden_dim: [4, 8]}"
    study = grid(tmp_path, f"grid: {{mode: full, axes: {axes}}}\n")
    assert [(a.recipe.method.name, a.recipe.method.config.hidden_dim) for a in study.arms[1:]] == [
        ("byol", 4), ("byol", 8), ("simclr", 4), ("simclr", 8)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (
            "grid: {mode: ful, axes: {optim.lr: [1]}}\n",
            "line 4: 'grid.mode' is 'ful', but must be one of one_f",
        ),
        ("grid: {axes: {}}\n", "line 4: 'grid.axes' is empty, but a grid has at least one"),
        ("grid: {mode: full}\n", "line 4: 'grid.axes' must be given"),
        ("grid: {axis: {a: [1]}}\n", "line 4: there is no key 'grid.axis'\n  did you mean 'grid.axes'?"),
        ("grid: [1]\n", "line 4: 'grid' is [1], but must be a mapping or null"),
        (
            "grid: {axes: {optim.lr: 1}}\n",
            "line 4: 'grid.axes' has 'optim.lr' as 1, but an axis is a list of",
        ),
        (
            "grid: {axes: {optim.lr: []}}\n",
            "line 4: 'grid.axes' has 'optim.lr' as [], but an axis is a list of",
        ),
        (
            "grid:\n  axes:\n    optim.lrr: [1]\n",
            "line 6: there is no key 'optim.lrr'\n  did you mean 'optim.lr'",
        ),
        (
            "grid:\n  axes:\n    a:\n      b: {optim.lrr: 1}\n",
            "line 7: there is no key 'optim.lrr' (point b of axis a)\n",
        ),
        ("grid:\n  axes:\n    a:\n      b: 3\n", "line 7: point b of axis a is 3, but must be a mapping"),
        (
            "grid:\n  axes:\n    a:\n      b c: {optim.lr: 1}\n",
            "line 7: the name of an arm is 'b c', but must",
        ),
        (
            "grid:\n  axes:\n    a:\n      b/c: {optim.lr: 1}\n",
            "line 7: the name of an arm is 'b/c', but must",
        ),
        (
            "grid:\n  axes:\n    optim.lr:\n    - 1\n    - 1\n",
            "line 8: the axis 'optim.lr' has lr=1 twice\n  leave",
        ),
        (
            "grid:\n  axes:\n    optim.lr:\n    - 1\n    - x\n",
            "line 8: 'optim.lr' is 'x', but must be a number",
        ),
        (
            "grid: {axes: {seed: [1, 2]}}\n",
            "line 4: 'seed' cannot be changed, since all arms run with the study",
        ),
        (
            "grid: {axes: {variants: [1]}}\n",
            "line 4: an axis cannot change 'variants', which only the file of a",
        ),
        ("grid: {axes: {a: {b: {variants: 1}}}}\n", "line 4: point b of axis a cannot change 'variants'"),
        ("grid: {axes: {a: {b: {}}}}\n", "line 1: the study has no arm beside the baseline"),
        (
            "arms: {lr=1: {optim.lr: 2}}\ngrid: {axes: {optim.lr: [1]}}\n",
            "line 5: there are two arms of the name 'lr=1'\n  rename one of them",
        ),
        (
            "arms: {fast: {optim.lr: 1}}\ngrid: {axes: {optim.lr: [1]}}\n",
            "line 5: the arms 'fast' and 'lr=1' are equal: both have optim.lr: 1\n  leave one of them out",
        ),
    ],
)
def test_what_is_told(tmp_path: Path, text: str, start: str) -> None:
    assert told(tmp_path, text).removeprefix("study.yaml, ").startswith(start)


def test_an_axis_that_the_command_line_makes_void(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no arm beside the baseline \(the command line says optim.lr=3\)"):
        grid(tmp_path, "grid: {axes: {optim.lr: [1, 2]}}\n", "optim.lr=3")
