"""The tracker on a file store, which needs no server; what a server adds is in test_mlflow_server.py."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from sslkit_mlflow.tracker import MLflow, MLflowConfig

from sslkit.errors import RecipeError
from sslkit.testing import check_tracker


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    (tmp_path / "run").mkdir()


def client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient()


def the_run(run_dir: Path) -> Any:
    return client().get_run((run_dir / "mlflow" / "run-id").read_text())


def curve(run_dir: Path, name: str) -> list[tuple[int, float]]:
    points = client().get_metric_history(the_run(run_dir).info.run_id, name)
    return [(point.step, point.value) for point in points]


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"kind": "step", "step": number, "epoch": 0, "loss": 1.0 / number, **more}


def start(at: int = 0) -> dict[str, Any]:
    return {"kind": "start", "start_step": at, "variant": "nano", "device": "cpu", "data": "demo"}


HEALTH = {"kind": "health", "step": 2, "verdict": "healthy", "cause": None, "advice": None}
FINISHED: dict[str, Any] = {"kind": "end", "status": "finished", "error": None, "figures": []}


def track(run_dir: Path, *records: dict[str, Any], **config: Any) -> None:
    tracker = MLflow(MLflowConfig(**config), run_dir, "a")
    for record in records:
        tracker.log(record)
    tracker.close()


def test_a_run_is_there_with_its_words_and_numbers(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "recipe.yaml").write_text("name: a\nmethod: {name: dino, out_dim: 16}\n")
    knn = {"kind": "eval", "step": 0, "evaluator": "knn", "dataset": "d", "metrics": {"top1_k20": 0.25}}
    records = (start(), knn, step(1), step(2, kl=math.nan), step(3, kl=0.5), HEALTH, FINISHED)
    track(run_dir, *records, tags={"team": "vision"}, experiment="pockets")
    run = the_run(run_dir)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "a")
    assert run.info.end_time is not None
    assert client().get_experiment(run.info.experiment_id).name == "pockets"
    assert run.data.params == {"name": "a", "method.name": "dino", "method.out_dim": "16"}
    told = {"team": "vision", "sslkit.variant": "nano", "sslkit.device": "cpu", "sslkit.health": "healthy"}
    assert run.data.tags.items() >= told.items()
    assert curve(run_dir, "train/loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert curve(run_dir, "train/kl") == [(3, 0.5)]
    assert curve(run_dir, "knn/top1_k20") == [(0, 0.25)]


@pytest.mark.parametrize(
    ("status", "shown"), [("finished", "FINISHED"), ("failed", "FAILED"), ("stopped", "KILLED")]
)
def test_mlflow_shows_how_it_ended(status: str, shown: str, tmp_path: Path) -> None:
    error = "the loss became nan" if status == "failed" else None
    track(tmp_path / "run", start(), step(1), {**FINISHED, "status": status, "error": error})
    run = the_run(tmp_path / "run")
    assert run.info.status == shown
    assert run.data.tags.get("sslkit.error") == error


# --- going on ----------------------------------------------------------------------------------------------


def keep(run_dir: Path, *records: dict[str, Any]) -> None:
    """What metrics.jsonl has once a resume has cut it."""
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_resume_goes_on_with_the_same_run_and_repeats_nothing(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    track(run_dir, start(), *map(step, range(1, 6)), {**FINISHED, "status": "stopped"})
    first = the_run(run_dir).info.run_id
    keep(run_dir, *map(step, range(1, 4)))
    track(run_dir, start(3), *map(step, range(4, 8)), FINISHED)
    assert the_run(run_dir).info.run_id == first
    assert the_run(run_dir).info.status == "FINISHED"
    assert curve(run_dir, "train/loss") == [(n, 1 / n) for n in range(1, 8)]


def test_a_line_that_was_cut_off_is_not_sent(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    keep(run_dir, step(1))
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    track(run_dir, start(1), step(2), FINISHED)
    assert curve(run_dir, "train/loss") == [(1, 1.0), (2, 0.5)]


def test_it_runs_while_it_is_resumed(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    track(run_dir, start(), step(1), {**FINISHED, "status": "stopped"})
    tracker = MLflow(MLflowConfig(), run_dir, "a")
    tracker.log(start(1))
    assert the_run(run_dir).info.status == "RUNNING"
    tracker.log(FINISHED)
    tracker.close()
    assert the_run(run_dir).info.status == "FINISHED"


def test_a_resume_adds_what_the_server_lacks(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    track(run_dir, start(), step(1), step(2), FINISHED)
    keep(run_dir, *map(step, range(1, 6)), HEALTH)  # the server heard nothing of 3 to 5
    track(run_dir, start(5), step(6), FINISHED)
    assert curve(run_dir, "train/loss") == [(n, 1 / n) for n in range(1, 7)]
    assert the_run(run_dir).data.tags["sslkit.health"] == "healthy"


def test_a_resume_with_another_runtime_keeps_the_parameters_of_the_start(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    for threads, at in (("1", 0), ("2", 1)):
        (run_dir / "recipe.yaml").write_text(f"name: a\nruntime: {{threads: {threads}}}\n")
        track(run_dir, start(at), step(at + 1), FINISHED)
    assert the_run(run_dir).data.params == {"name": "a", "runtime.threads": "1"}
    assert curve(run_dir, "train/loss") == [(1, 1.0), (2, 0.5)]


def test_a_run_that_somebody_deleted_is_made_anew_with_all_of_it(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    track(run_dir, start(), step(1), step(2), FINISHED)
    first = the_run(run_dir).info.run_id
    client().delete_run(first)
    keep(run_dir, step(1), step(2))
    with pytest.warns(UserWarning, match=f"the MLflow run {first} is not on file.* any more: a new one"):
        track(run_dir, start(2), step(3), FINISHED)
    assert the_run(run_dir).info.run_id != first
    assert curve(run_dir, "train/loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_server_that_does_not_know_the_run_gets_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    track(run_dir, start(), step(1), FINISHED)
    keep(run_dir, step(1))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "other").as_uri())
    with pytest.warns(UserWarning, match="a new one gets the whole run"):
        track(run_dir, start(1), step(2), FINISHED)
    assert curve(run_dir, "train/loss") == [(1, 1.0), (2, 0.5)]


# --- what cannot be ----------------------------------------------------------------------------------------


def test_a_deleted_experiment_is_told_with_the_command(tmp_path: Path) -> None:
    track(tmp_path / "run", start(), FINISHED, experiment="old")
    number = client().get_experiment_by_name("old").experiment_id
    client().delete_experiment(number)
    with pytest.raises(RecipeError, match=rf"'old' on file.* is deleted\n  restore it .*-x {number}\)"):
        MLflow(MLflowConfig(experiment="old"), tmp_path / "run", "a")


def test_nothing_is_made_on_the_server_before_the_run_starts(tmp_path: Path) -> None:
    MLflow(MLflowConfig(), tmp_path / "run", "a").close()
    experiment = client().get_experiment_by_name("sslkit")
    assert client().search_runs([experiment.experiment_id]) == []


@pytest.mark.parametrize(("key", "value"), [("experiment", " "), ("flush_seconds", -1.0)])
def test_impossible_values_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"'{key}' is"):
        MLflowConfig(**{key: value})


def test_it_conforms() -> None:
    check_tracker(MLflow, MLflowConfig(experiment="conformance"))
