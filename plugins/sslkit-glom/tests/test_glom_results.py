"""The script that writes the README's tables from run directories."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "docs" / "make_results.py"


@pytest.fixture(scope="module")
def results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_results", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(path: Path, **metrics: float) -> None:
    """Without metrics one that has begun."""
    path.mkdir()
    trained = [metrics] if metrics else []
    lines = [
        {"kind": "eval", "step": 0, "evaluator": "islands", "metrics": {"ari_1": 9.0}},  # before training
        *({"kind": "eval", "step": 9, "evaluator": "islands", "metrics": found} for found in trained),
    ]
    (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))


def test_mean_and_deviation_over_seeds(results: ModuleType, tmp_path: Path) -> None:
    write_run(tmp_path / "filling-0", islands_1=10.0, ari_1=0.4, kmeans_4_ari=0.2)
    write_run(tmp_path / "filling-1", islands_1=12.0, ari_1=0.6, kmeans_4_ari=0.2)
    write_run(tmp_path / "filling-2")
    lines = results.table(tmp_path, results.SCENES).splitlines()
    assert "| **filling in (2 seeds)**, level 1 |  |  | 11.0 ± 1.4 | 0.500 ± 0.141 |  |  |  |" in lines
    assert "| *k-means, 4 clusters of colour and place* |  |  |  | 0.200 ± 0.000 |  |  |  |" in lines
    assert not [line for line in lines if "ViT" in line]
