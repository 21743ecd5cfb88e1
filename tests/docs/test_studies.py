"""The tables of docs/ablations.md are what the kept records say, and those are of the studies that ship."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sslkit.ablation.study import read_study

DOCS = Path(__file__).parents[2] / "docs"
RECORDS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in DOCS.glob("studies/*.json")}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_ablations", DOCS / "make_ablations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_records(script: ModuleType) -> None:
    page = (DOCS / "ablations.md").read_text()
    assert not [name for name in RECORDS if f"<!-- table: {name} -->" not in page]
    assert script.with_tables(page, RECORDS) == page


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_record_is_of_the_study_that_ships(name: str) -> None:
    record = RECORDS[name]
    study = read_study(record["name"])
    assert record["complete"]
    assert [arm["name"] for arm in record["arms"]] == [arm.name for arm in study.arms]
    assert record["seeds"] == list(study.seeds)
    assert [(m["name"], m["measured"]) for m in record["metrics"]] == [
        (m.name, m.measured) for m in study.metrics
    ]
