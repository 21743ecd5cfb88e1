"""The negative-sample game is won on held-out images, and only where there is something to find."""

from pathlib import Path

import pytest
from runs import lines

import sslkit


@pytest.mark.slow
def test_the_demo_wins_the_game_and_learns_features(tmp_path: Path) -> None:
    sslkit.run("patch", ["runtime.threads=1"], out=tmp_path / "run", quiet=True)
    found = lines(tmp_path / "run", "eval")
    before, game = (r["metrics"] for r in found if r["evaluator"] == "patch_game")
    error = game["standard_error"]
    assert game["accuracy"] > before["accuracy"] + 4 * error
    assert game["accuracy"] > 0.5 + 6 * error
    assert abs(game["accuracy_shuffled"] - 0.5) < 4 * error
    untrained, trained = (r["metrics"]["top1_k10"] for r in found if r["evaluator"] == "knn")
    assert trained > untrained + 0.1
