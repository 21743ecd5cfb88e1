"""Which runs are one row, and what it is called."""

import math
from pathlib import Path
from typing import Any

import pytest
from hand_runs import KNN, names, shared, write_run

from sslkit.compare import compare
from sslkit.comparison.groups import Spread


def test_seeds_of_one_recipe_are_one_row(tmp_path: Path) -> None:
    ends = (0.5, 0.6, 0.9)
    runs = [
        write_run(
            tmp_path / f"a-{seed}",
            evals={0: {"top1_k10": 0.1}, 40: {"top1_k10": end}},
            seed=seed,
            name=f"a{seed}",
            runtime__threads=seed + 1,
            data__workers=seed,
            checkpoint__keep=seed + 1,
        )
        for seed, end in enumerate(ends)
    ]
    other = write_run(tmp_path / "b-0", optim__lr=0.2)
    found = compare([*runs, other])
    assert names(found) == ["a", "b"]
    assert [group.seeds for group in found.groups] == [[0, 1, 2], [0]]
    spread = found.spread(found.groups[0], KNN, "end")
    assert spread.mean == pytest.approx(2 / 3)
    assert spread.sd == pytest.approx(math.sqrt(sum((e - 2 / 3) ** 2 for e in ends) / 2))
    assert spread.shown(3) == "0.667 ± 0.208"
    assert found.spread(found.groups[1], KNN, "end").shown(3) == "0.500"


def test_what_is_the_same_for_all_seeds_needs_no_deviation() -> None:
    assert Spread((1500.0, 1500.0)).shown(0, constant=True) == "1,500"
    assert Spread((1500.0, 1500.0)).shown(0) == "1,500 ± 0"
    assert Spread((1500.0, None)).shown(0) == "1,500 (1 of 2)"
    assert Spread((None, None)).shown(0) == ""


def test_two_files_of_one_name_are_two_plugins(tmp_path: Path) -> None:
    def plugin(digest: str) -> dict[str, Any]:
        return {"plugins": [{"name": "mine", "sha256": digest}, {"name": "built-in", "sha256": None}]}

    a = write_run(tmp_path / "a", record=plugin("0" * 64))
    b = write_run(tmp_path / "b", record=plugin("0" * 64), seed=1)
    c = write_run(tmp_path / "c", record=plugin("1" * 64), seed=1)
    found = compare([a, b, c])
    assert [len(group.runs) for group in found.groups] == [2, 1]
    assert shared(found) == {"plugin.mine": ("00000000", "11111111")}


def test_one_seed_twice_is_told(tmp_path: Path) -> None:
    found = compare([write_run(tmp_path / "a"), write_run(tmp_path / "b"), write_run(tmp_path / "c", seed=1)])
    assert found.warnings == ["dino has more than one run of seed 0: its spread is too small"]


@pytest.mark.parametrize(
    ("folders", "changes", "wanted"),
    [
        (("x/a", "x/b"), {"method__name": "byol"}, ["dino", "byol"]),
        (("x/a", "x/b"), {"name": "other", "optim__lr": 1.0}, ["hand", "other"]),
        (("x/vit16-0", "x/k-64"), {"optim__lr": 1.0}, ["vit16", "k-64"]),
        (("x/lr_seed0", "x/lr-2"), {"optim__lr": 1.0}, ["lr", "lr-2"]),
        (("x/a-0", "y/b-0"), {"optim__lr": 1.0}, ["a", "b"]),
        (("x/a-0", "y/a-0"), {"optim__lr": 1.0}, ["x/a-0", "y/a-0"]),
        (("1/x/a", "2/x/a"), {"optim__lr": 1.0}, ["{}/1/x/a", "{}/2/x/a"]),
    ],
)
def test_a_name_is_as_short_as_can_tell_groups_apart(
    folders: tuple[str, str], changes: dict[str, Any], wanted: list[str], tmp_path: Path
) -> None:
    runs = [write_run(tmp_path / folders[0]), write_run(tmp_path / folders[1], **changes)]
    assert names(compare(runs)) == [name.format(tmp_path) for name in wanted]
