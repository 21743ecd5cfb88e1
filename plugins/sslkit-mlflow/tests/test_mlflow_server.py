"""The tracker on a real MLflow server, started here on a file store and on MLflow's default, a database."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from sslkit_mlflow.tracker import MLflow, MLflowConfig

import sslkit
from sslkit.core.tracker import Trackers
from sslkit.errors import RecipeError

RECIPE = Path(__file__).parent.parent / "recipes" / "mlflow.yaml"
SMALL = [
    *("data.name=folder", "data.workers=0", "optim.batch_size=8", "optim.epochs=3", "runtime.threads=1"),
    *("eval.resize=24", "eval.crop=24", "eval.evaluators.knn.k=[3]", "eval.evaluators.health=null"),
]
"""What makes the recipe a run of 9 steps in seconds."""


class Server:
    """`mlflow server` in a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder, self.store, self.log = folder, store, folder / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", self.store.format(self.folder)]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment["MLFLOW_ALLOW_FILE_STORE"] = (
            "true"  # else MLflow 3 refuses it, to move people to databases
        )
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, env=os.environ | environment, start_new_session=True
            )
        self._wait()

    def kill(self) -> None:
        os.killpg(self.process.pid, 9)
        self.process.wait()

    def _wait(self, seconds: float = 240.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urlopen(f"{self.uri}/health") as answer:
                    assert answer.status == 200
                    return
            except OSError:
                time.sleep(0.2)
        pytest.fail(f"the server did not start:\n{self.log.read_text()[-2000:]}")


STORES = {"file": "{}/mlruns", "database": "sqlite:///{}/mlflow.db"}


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("mlflow"), STORES[request.param])
    try:
        started.start()
        yield started
    finally:
        started.kill()


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Noisy images of two colours, in class folders."""
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = rng.integers(0, 120, (24, 24, 3), dtype=np.uint8)
        pixels[..., number % 2] += 100
        folder = tmp_path / "photos" / ("red", "green")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return tmp_path / "photos"


def trackers(uri: str, **config: Any) -> str:
    return f"trackers={json.dumps([{'name': 'mlflow', 'tracking_uri': uri, **config}])}"


def run_id(run_dir: Path) -> str:
    return (run_dir / "mlflow" / "run-id").read_text()


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def artifacts(at: Any, run: str, folder: str = "") -> Iterator[str]:
    for file in at.list_artifacts(run, folder):
        if file.is_dir:
            yield from artifacts(at, run, file.path)
        else:
            yield file.path


def curve(at: Any, run: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in at.get_metric_history(run, name)]


def kept(run_dir: Path, kind: str, key: str) -> list[tuple[int, float]]:
    """The same from the run's own record."""
    records = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [(r["step"], r.get("metrics", r)[key]) for r in records if r["kind"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize("server", ["file", "database"], indirect=True)
def test_a_run_and_its_resume_are_one_run_on_the_server(
    server: Server, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The packaged recipe, small: six steps of it, then the rest."""
    run_dir, at = tmp_path / "run", client(server.uri)
    words = [f"data.root={photos}", *SMALL, "checkpoint.every_steps=2"]
    first = trackers(server.uri, log_artifacts=False)
    sslkit.run(RECIPE, [*words, first, "runtime.max_steps=6"], out=run_dir, quiet=True)
    named = run_id(run_dir)
    assert at.get_run(named).info.status == "FINISHED"
    assert set(artifacts(at, named)) >= {"figures/crops.png", "figures/curves.png"}
    assert "backbone.safetensors" not in set(artifacts(at, named))

    rest = trackers(server.uri, log_artifacts=True)
    sslkit.run(RECIPE, [*words, rest], out=run_dir, resume=True, quiet=True)
    run = at.get_run(named)
    assert (run_id(run_dir), run.info.status, run.info.run_name) == (named, "FINISHED", "dino_on_mlflow")
    assert run.data.params["method.out_dim"] == "128"
    assert run.data.params["runtime.max_steps"] == "6"
    for name, kind, key in (("train/loss", "step", "loss"), ("knn/top1_k3", "eval", "top1_k3")):
        assert curve(at, named, name) == kept(run_dir, kind, key)
    assert set(artifacts(at, named)) >= {"backbone.safetensors", "recipe.yaml", "report.html"}
    fetched = Path(at.download_artifacts(named, "backbone.safetensors", str(tmp_path)))
    assert fetched.read_bytes() == (run_dir / "backbone.safetensors").read_bytes()
    assert capsys.readouterr().out == ""  # both runs were quiet


def step(number: int) -> dict[str, Any]:
    return {"kind": "step", "step": number, "epoch": 0, "loss": 1.0 / number}


@pytest.mark.slow
@pytest.mark.parametrize("server", ["database"], indirect=True)
def test_a_server_that_goes_away_ends_the_tracker_and_not_the_run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    config = MLflowConfig(tracking_uri=server.uri, flush_seconds=0.0)
    told = Trackers(others=[MLflow(config, tmp_path, "a")])
    told.log({"kind": "start", "start_step": 0})
    told.log(step(1))
    named = run_id(tmp_path)
    while not client(server.uri).get_metric_history(named, "train/loss"):
        time.sleep(0.1)

    server.kill()
    with pytest.warns(UserWarning, match="the tracker MLflow failed and is left out: API request"):
        log_until_it_is_left_out(told)
    told.close()

    server.start()
    assert client(server.uri).get_run(named).info.status == "RUNNING"
    lines = [json.dumps(step(number)) + "\n" for number in range(1, 9)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    again = MLflow(config, tmp_path, "a")
    for record in ({"kind": "start", "start_step": 8}, step(9), {"kind": "end", "status": "finished"}):
        again.log(record)
    again.close()
    assert curve(client(server.uri), named, "train/loss") == [(n, 1 / n) for n in range(1, 10)]
    assert client(server.uri).get_run(named).info.status == "FINISHED"


def log_until_it_is_left_out(told: Trackers, seconds: float = 120.0) -> None:
    """Steps go on being logged, and none of them waits for the server."""
    until, number, longest = time.monotonic() + seconds, 2, 0.0
    while told._others and time.monotonic() < until:
        began = time.monotonic()
        told.log(step(number))
        longest = max(longest, time.monotonic() - began)
        number += 1
        time.sleep(0.05)
    assert longest < 1.0


def test_a_server_that_does_not_answer_is_told_before_anything_starts(photos: Path, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        uri = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        words = [f"data.root={photos}", *SMALL, trackers(uri)]
        with pytest.raises(
            RecipeError, match=rf"(?s)cannot use {uri}: .*\n  start the server \(mlflow server\)"
        ):
            sslkit.run(RECIPE, words, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
