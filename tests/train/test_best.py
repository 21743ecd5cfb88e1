"""The best evaluation by a number of choice, and the backbone that is kept of it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import lines, make_photos, tiny_recipe

import sslkit
from sslkit.errors import RecipeError, RunError
from sslkit.train.best import Best


def record(step: int, value: float | None, evaluator: str = "health") -> dict[str, Any]:
    return {"evaluator": evaluator, "step": step, "metrics": {"rankme": value, "other": 100.0}}


@pytest.mark.parametrize(("key", "step"), [("health.rankme", 2), ("-health.rankme", 4), (None, None)])
def test_the_best_so_far(key: str | None, step: int | None) -> None:
    best = Best(key)
    values = [3.0, 5.0, 5.0, 2.0, math.nan, None]
    told = [best.see(record(at, value)) for at, value in enumerate(values, 1)]
    assert best.step == step
    assert told.count(True) == {2: 2, 4: 2, None: 0}[step]
    assert not best.see(record(9, 9.0, "knn"))


def test_its_backbone_is_kept(tmp_path: Path) -> None:
    recipe = tiny_recipe(make_photos(tmp_path / "photos"), checkpoint={"best": "-knn.top1_k3"})
    run = sslkit.run(recipe, out=tmp_path / "a", quiet=True).run_dir
    found = {r["step"]: r["metrics"]["top1_k3"] for r in lines(run, "eval")}
    kept = sslkit.load_backbone(run / "backbone_best.safetensors")
    (step,) = [s for s, v in found.items() if v == min(found.values())][:1]
    assert f'"step": {step}' in (run / "run.json").read_text()
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(kept(x), sslkit.load_backbone(run)(x)) == (step == max(found))


def test_an_evaluator_that_is_not_asked() -> None:
    with pytest.raises(RecipeError, match="no such evaluator is asked"):
        sslkit.run(tiny_recipe(Path()), ["checkpoint.best=health.rankme"])


def test_a_number_that_the_evaluator_does_not_give(tmp_path: Path) -> None:
    recipe = tiny_recipe(make_photos(tmp_path / "photos"), checkpoint={"best": "knn.top1_k4"})
    with pytest.raises(RunError, match=r"(?s)knn has no number 'top1_k4'.*valid: top1_k3"):
        sslkit.run(recipe, out=tmp_path / "a", quiet=True)


def test_a_resume_remembers_it_unless_it_is_of_a_later_step() -> None:
    kept = {"key": "health.rankme", "value": 5.0, "step": 10}
    for until, value in ((10, 5.0), (9, -math.inf)):
        best = Best("health.rankme")
        best.load(kept, until=until)
        assert best.value == value
