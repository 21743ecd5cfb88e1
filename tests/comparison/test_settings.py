"""In what groups differ."""

from pathlib import Path
from typing import Any

import pytest
from hand_runs import shared, write_run

from sslkit.compare import compare, markdown


def test_shared_settings_come_before_those_of_a_method(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", runtime__precision="bf16")
    b = write_run(
        tmp_path / "b", method={"name": "byol", "momentum": 0.9}, optim__lr=0.2, backbone__name="conv"
    )
    found = compare([a, b])
    assert list(shared(found)) == ["backbone.name", "optim.lr", "runtime.precision", "method.name"]
    assert shared(found)["optim.lr"] == (0.1, 0.2)
    assert found.differences.own == ({"method.out_dim": 16}, {"method.momentum": 0.9})
    page = markdown(found)
    assert page.index("optim.lr") < page.index("method.momentum=0.9") < page.index("knn.top1_k10")


def test_keys_that_one_kind_of_component_has_are_its_own_unless_they_differ(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", data={"name": "parquet", "column": "image", "workers": 2})
    c = write_run(tmp_path / "c", data__count=200)
    two, three = compare([a, b]), compare([a, b, c])
    assert list(shared(two)) == ["data.name"]
    assert two.differences.own == ({"data.root": None, "data.count": 100}, {"data.column": "image"})
    assert [getattr(v, "name", v) for v in shared(three)["data.count"]] == [100, "MISSING", 200]
    assert "| data.count | 100 | - | 200 |" in markdown(three)


def test_losses_of_two_methods_are_not_set_against_each_other(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", method={"name": "byol"})
    note = "losses of different methods measure different things"
    assert note in markdown(compare([a, b]))
    assert note not in markdown(compare([a, write_run(tmp_path / "c", optim__lr=0.2)]))


def test_a_bar_in_a_value_breaks_no_table(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", data__root="x|y")
    assert "| data.root | null | x\\|y |" in markdown(compare([a, b]))


def test_no_difference_is_said(tmp_path: Path) -> None:
    found = compare([write_run(tmp_path / "a"), write_run(tmp_path / "b", method__out_dim=32)])
    assert "### No shared setting differs" in markdown(found)
    assert found.differences.own == ({"method.out_dim": 16}, {"method.out_dim": 32})
    assert found.warnings == []


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"eval__crop": 24}, "eval.crop"),
        ({"eval__evaluators": {"knn": {"k": [10], "temperature": 1.0}}}, None),
        ({"eval__evaluators": {"knn": {"k": [10]}, "linear": {"lr": 1.0}, "gone": None}}, None),
        ({"eval__evaluators": {"knn": {"k": [10, 20]}}}, None),
        ({"eval__every_epochs": 2}, None),
        ({"data__count": 200}, "data.count"),
        ({"augment__global_size": 24}, None),
    ],
)
def test_what_is_measured_otherwise_is_a_warning(
    change: dict[str, Any], key: str | None, tmp_path: Path
) -> None:
    found = compare([write_run(tmp_path / "a"), write_run(tmp_path / "b", **change)])
    assert found.differences.of_evaluation == ([key] if key else [])
    assert any("not comparable" in warning for warning in found.warnings) == bool(key)


def test_which_evaluators_were_asked_is_one_row(tmp_path: Path) -> None:
    asked = {"knn": {"k": [10]}, "linear": {"lr": 1.0}, "gone": None}
    found = compare([write_run(tmp_path / "a"), write_run(tmp_path / "b", eval__evaluators=asked)])
    assert shared(found)["eval.evaluators"] == (["knn"], ["knn", "linear"])
    assert not any("gone" in key for key in shared(found))


def test_two_temperatures_of_an_evaluator_are_a_warning(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", eval__evaluators={"knn": {"temperature": 1.0}})
    b = write_run(tmp_path / "b", eval__evaluators={"knn": {"temperature": 2.0}})
    assert compare([a, b]).differences.of_evaluation == ["eval.evaluators.knn.temperature"]


def test_where_runs_ran_has_all_values_of_a_group(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", record={"threads": 1, "packages": {"torch": "2.9"}})
    b = write_run(tmp_path / "b", seed=1, record={"threads": 2, "packages": {"torch": "2.9"}})
    c = write_run(tmp_path / "c", optim__lr=0.2, record={"threads": 1, "packages": {"torch": "2.9"}})
    found = compare([a, b, c])
    assert {s.key: s.values for s in found.differences.ran} == {"threads": ((1, 2), (1,))}
    assert "| threads | 1, 2 | 1 |" in markdown(found)
    assert {s.key: s.values for s in compare([a, b]).differences.ran} == {"threads": ((1, 2),)}
