import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sslkit.report import curves
from sslkit.report.curves import draw_curves, running_mean, sslkit_run_finished


def step(number: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": "step",
        "step": number,
        "epoch": 0,
        "loss": 8 / number,
        "lr": 0.1,
        "grad_norm": 1.0,
        **more,
    }


def knn(number: int, **metrics: float | None) -> dict[str, Any]:
    return {"kind": "eval", "step": number, "evaluator": "knn", "dataset": "d", "metrics": metrics}


DINO = [step(n, teacher_entropy=6.0, kl=0.5, feature_std=0.8) for n in range(1, 10)]


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def titles(records: list[dict[str, Any]], prototypes: int | None = None) -> list[str]:
    return [panel.title for panel in curves.panels(records, prototypes)]


def test_a_picture_of_sensible_size(tmp_path: Path) -> None:
    path = draw_curves(
        [*DINO, knn(0, top1_k20=0.1)], tmp_path / "figures" / "c.png", prototypes=4096, chance=0.1
    )
    width, height = size(path)
    assert 1000 < width < 2000
    assert 500 < height < 1500
    assert [p.name for p in path.parent.iterdir()] == ["c.png"]


def test_only_what_the_run_has_is_drawn() -> None:
    assert titles([step(1), step(2)]) == ["Loss", "Learning rate", "Gradient norm"]
    assert titles(DINO) == ["Loss", "Teacher", "Learning rate", "Gradient norm", "Spread of features"]
    assert titles([step(1, loss=None), step(2, loss=math.nan)]) == ["Learning rate", "Gradient norm"]
    assert titles([knn(0, top1_k20=0.5)]) == ["Evaluation on held-out images"]


def test_what_a_method_counts_has_panels_of_its_own() -> None:
    records = [step(n, accuracy=0.5, contrast_accuracy=0.1, key_momentum=0.99) for n in (1, 2)]
    assert titles(records)[-2:] == ["Accuracy in training", "Key momentum"]
    panel = next(p for p in curves.panels(records) if p.title == "Accuracy in training")
    assert panel.lines == {"accuracy": ([1, 2], [0.5, 0.5]), "contrast accuracy": ([1, 2], [0.1, 0.1])}


def test_ln_k_only_where_the_loss_is_a_cross_entropy_over_prototypes() -> None:
    loss = curves.panels(DINO, 4096)[0]
    assert loss.level == (math.log(4096), "ln 4,096 = 8.32")
    plain = [step(1)]
    assert curves.panels(plain, 4096)[0].level is None


def test_evaluations_start_before_training_and_the_later_of_two_counts() -> None:
    records = [
        knn(0, top1_k10=0.1, top1_k20=0.2, instance_top1_k10=0.05),
        knn(9, top1_k10=0.4, top1_k20=0.5, instance_top1_k10=0.3),
        knn(9, top1_k10=0.4, top1_k20=0.6, instance_top1_k10=0.3),
        {"kind": "eval", "step": 9, "evaluator": "health", "dataset": "d", "metrics": {"rankme": 40.0}},
    ]
    assert curves._evaluations(records) == {
        "kNN, class (k = 20)": ([0, 9], [0.2, 0.6]),
        "kNN, the very object (k = 10)": ([0, 9], [0.05, 0.3]),
    }


@pytest.mark.parametrize("records", [[], [step(1)], [knn(0, top1_k20=None)], DINO * 60])
def test_any_records_can_be_drawn(records: list[dict[str, Any]], tmp_path: Path) -> None:
    assert size(draw_curves(records, tmp_path / "c.png"))[0] > 100


def test_names_are_no_tex(tmp_path: Path) -> None:
    draw_curves(DINO, tmp_path / "c.png", name="$\\frac$")


def test_running_mean_against_a_loop() -> None:
    values = np.random.default_rng(0).normal(size=50)
    values[[3, 4]] = np.nan
    slow = [np.nanmean(values[max(i - 2, 0) : i + 3]) for i in range(50)]
    np.testing.assert_allclose(running_mean(values, 2), slow)
    assert np.isnan(running_mean(np.full(3, np.nan), 1)).all()


def test_a_run_directory_gets_its_picture_also_after_a_failure(tmp_path: Path) -> None:
    lines = [json.dumps(record) for record in [*DINO, knn(0, top1_k20=0.1)]]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"kind"')
    (tmp_path / "recipe.yaml").write_text("name: a\nmethod: {name: dino, out_dim: 64}\neval: {data: null}\n")
    (tmp_path / "run.json").write_text(json.dumps({"setup": {"num_classes": 10}}))
    sslkit_run_finished(tmp_path, RuntimeError("x"))
    assert size(tmp_path / "figures" / "curves.png")[0] > 1000
    known = curves._known(tmp_path / "recipe.yaml", {"setup": {"num_classes": 10}})
    assert known == {"name": "a", "prototypes": 64, "chance": 0.1}


def test_nothing_is_drawn_of_a_run_without_steps(tmp_path: Path) -> None:
    sslkit_run_finished(tmp_path, None)
    assert list(tmp_path.iterdir()) == []
